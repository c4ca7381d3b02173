import math
import pickle
import threading
from pickle import UnpicklingError
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError, RayTaskError

from orchestrator.cluster.nodes import UnfitNode
from orchestrator.privacy.errors import ClockBehind, LedgerCorruptError, LedgerUnreachable
from orchestrator.sweep.board import MAX_LOSSES, TrialBoard, TrialRow, fatal_cause
from orchestrator.sweep.monitor import SilentMonitor
from trainers.mechanism.release_log import LogUnwritable


def trial(number, rate=1e-3):
    """What Tune hands to its callbacks, as far as the board looks."""
    return SimpleNamespace(config={"number": number, "method.learning_rate": rate}, trial_id=f"tune-{number}")


def start(board, *numbers):
    for number in numbers:
        board.on_trial_start(iteration=0, trials=[], trial=trial(number))


def report(board, number, iteration, score, *, finished=False, charged=None):
    steps = 10 * iteration
    result = {"training_iteration": iteration, "score": score, "steps": steps, "finished": finished}
    result |= {"steps_charged": steps if charged is None else charged, "epsilon": steps / 8, "num_steps": 4}
    return board(f"tune-{number}", result)


def end(board, number, *scores):
    """Report the scores, the last one as final, and complete the trial."""
    for iteration, score in enumerate(scores, start=1):
        report(board, number, iteration, score, finished=iteration == len(scores))
    board.on_trial_complete(iteration=0, trials=[], trial=trial(number))


@pytest.fixture
def board():
    return TrialBoard()


def test_tune_pickles_the_board_without_its_monitor():
    monitor = SilentMonitor()
    monitor.lock = threading.RLock()  # as a live view on a terminal holds one
    board = TrialBoard((), monitor)
    start(board, 0)
    assert [row.number for row in pickle.loads(pickle.dumps(board)).rows] == [0]


def test_a_trial_is_entered_when_it_starts(board):
    start(board, 3)
    assert board.rows == [TrialRow(3, {"method.learning_rate": 1e-3}, "running")]
    assert board.rows[0].score is None


def test_rows_are_in_the_order_of_their_numbers():
    board = TrialBoard([TrialRow(2, {}, "complete"), TrialRow(0, {}, "failed")])
    start(board, 3, 1)
    assert [row.number for row in board.rows] == [0, 1, 2, 3]


def test_a_result_moves_the_row(board):
    start(board, 0)
    report(board, 0, 1, 0.5)
    report(board, 0, 2, 0.75, charged=22)
    (row,) = board.rows
    assert row == TrialRow(0, {"method.learning_rate": 1e-3}, "running", 20, 22, [0.5, 0.75], 2.5, 4)
    assert row.score == 0.75


def test_a_restarted_trial_repeats_its_scores_without_doubling_them(board):
    start(board, 0)
    report(board, 0, 1, 0.5)
    report(board, 0, 2, 0.6)
    start(board, 0)
    for iteration, score in ((1, 0.5), (2, 0.6), (3, 0.7)):
        report(board, 0, iteration, score)
    assert board.rows[0].scores == [0.5, 0.6, 0.7]
    assert len(board.rows) == 1


def test_states_are_told_apart(board):
    start(board, 0, 1, 2, 3)
    end(board, 0, 0.5, 0.6)
    report(board, 1, 1, 0.4)
    board.on_trial_complete(iteration=0, trials=[], trial=trial(1))
    report(board, 2, 1, 0.4)
    board.on_trial_error(iteration=0, trials=[], trial=trial(2))
    assert [row.state for row in board.rows] == ["complete", "stopped early", "failed", "running"]


def test_a_score_that_is_not_finite_is_left_out(board):
    start(board, 0)
    report(board, 0, 1, math.nan)
    assert (board.rows[0].scores, board.rows[0].steps) == ([], 10)
    report(board, 0, 2, 0.5)
    assert board.rows[0].scores == [0.5]


def test_the_best_trial_is_complete_and_has_the_highest_last_score(board):
    start(board, 0, 1, 2, 3)
    end(board, 0, 0.9, 0.5)  # was better once
    end(board, 1, 0.4, 0.6)
    report(board, 2, 1, 0.95)  # stopped early
    board.on_trial_complete(iteration=0, trials=[], trial=trial(2))
    report(board, 3, 1, 0.99)  # still running
    assert board.best().number == 1


def test_the_first_of_equals_is_the_best(board):
    start(board, 0, 1)
    end(board, 1, 0.6)
    end(board, 0, 0.6)
    assert board.best().number == 0


@pytest.mark.parametrize("scores", [(0.0,), (-0.02, -0.01)])
def test_a_noisy_score_may_be_zero_or_below_it(board, scores):
    for number, score in enumerate(scores):
        start(board, number)
        end(board, number, score)
    assert board.best().score == max(scores)


def test_there_is_no_best_among_none(board):
    assert board.best() is None
    start(board, 0)
    board.on_trial_error(iteration=0, trials=[], trial=trial(0))
    assert board.best() is None


def test_a_trial_that_ended_in_an_earlier_process_can_be_the_best():
    board = TrialBoard([TrialRow(0, {}, "complete", scores=[0.5, 0.9])])
    start(board, 1)
    end(board, 1, 0.8)
    assert board.best().number == 0


def test_a_trial_that_ends_without_a_score_has_failed(board):
    """As in the study: its last score stands for no model, though an earlier one was good."""
    start(board, 0, 1)
    end(board, 0, 0.9, math.nan)
    end(board, 1, 0.6, 0.5)
    assert [row.state for row in board.rows] == ["failed", "complete"]
    assert board.best().number == 1


@pytest.mark.parametrize(
    "word",
    [
        LedgerUnreachable("away"),
        LedgerCorruptError("set back"),
        ClockBehind("behind"),
        LogUnwritable("full"),
        UnfitNode("other code"),
    ],
)
def test_a_trial_that_the_ledger_or_a_full_disk_ended_ends_the_sweep(word):
    wrapped = RayTaskError("step", "a long traceback", word).as_instanceof_cause()
    failed = SimpleNamespace(get_pickled_error=lambda: wrapped)
    with pytest.raises(type(word)) as said:
        TrialBoard().on_trial_recover(iteration=0, trials=[], trial=failed)
    assert str(said.value) == str(word)


@pytest.mark.parametrize("failure", [EOFError(), UnpicklingError("pickle data was truncated"), OSError(28, "full")])
def test_a_disk_too_full_for_what_a_trial_failed_of_ends_the_sweep(failure):
    def truncated():
        raise failure

    failed = SimpleNamespace(get_pickled_error=truncated, config={"number": 3})
    with pytest.raises(LogUnwritable, match="trial 3 failed, and Ray Tune could not write why"):
        TrialBoard().on_trial_recover(iteration=0, trials=[], trial=failed)


def test_the_word_is_found_in_what_tune_makes_of_it():
    made, word = RuntimeError("a long traceback"), LedgerUnreachable("away")
    made.__context__ = word
    assert fatal_cause(made) is word
    assert fatal_cause(RuntimeError("another")) is None


def failing(error) -> SimpleNamespace:
    return SimpleNamespace(get_pickled_error=lambda: error, config={"number": 3}, max_failures=MAX_LOSSES)


def test_a_trial_that_fails_by_itself_is_tried_again_three_times():
    board, trial = (
        TrialBoard(),
        failing(RayTaskError("step", "a long traceback", ValueError("no")).as_instanceof_cause()),
    )
    for left in (MAX_LOSSES, MAX_LOSSES, 0):
        board.on_trial_recover(iteration=0, trials=[], trial=trial)
        assert trial.max_failures == left


def test_a_trial_whose_lane_was_lost_is_tried_again_many_times():
    board, trial = TrialBoard(), failing(RayActorError())
    for _ in range(MAX_LOSSES):
        board.on_trial_recover(iteration=0, trials=[], trial=trial)
    assert trial.max_failures == MAX_LOSSES


def test_a_winner_leaves_as_if_it_had_been_alone():
    row = TrialRow(7, {"a": 1}, "complete", 10, 13, [0.1, 0.2], 3.0, 10)
    assert row.as_winner(2.5) == TrialRow(0, {"a": 1}, "complete", 10, 10, [0.1, 0.2], 2.5, 10)
