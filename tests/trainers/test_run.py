import numpy as np
import pytest

from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.quadratic import Quadratic
from tests.support.runs import open_run, run_config
from trainers.config import RunConfig
from trainers.tokens import LocalTokens, TokensExhausted


def finish(run) -> list:
    with run.log:
        return list(run.segments())


def test_a_run_takes_its_steps_and_no_more(tmp_path):
    run = open_run(tmp_path)
    assert [steps for steps, _ in finish(run)] == [10]
    assert (run.steps_taken, run.steps_charged) == (10, 10)


def test_loss_falls_without_noise(tmp_path):
    evaluator = Quadratic()
    config = run_config(method__num_steps=200, method__clip_norm=50.0, privacy__noise_multiplier=1e-6)
    finish(open_run(tmp_path, config, evaluator=evaluator))
    assert np.linalg.norm(evaluator.theta - 2.0) < 0.5 * np.linalg.norm(np.zeros(8) - 2.0)


def test_the_log_replays_to_the_same_bits(tmp_path):
    first, second = Quadratic(), Quadratic()
    finish(open_run(tmp_path, evaluator=first))
    again = open_run(tmp_path, evaluator=second, tokens=LocalTokens(0))
    with again.log:
        again.replay()
    assert again.steps_taken == 10
    assert first.state_digest() == second.state_digest()


def test_an_interrupted_step_stays_charged_and_a_fresh_one_is_taken(tmp_path):
    config = run_config(privacy__spare_steps=0)
    batches = [[row] for row in range(20)]
    broken = open_run(tmp_path, config, sampler=FrozenSampler(batches[:4]), tokens=LocalTokens(10))
    with pytest.raises(RuntimeError), broken.log:  # the fifth batch never comes: reserved, not released
        list(broken.segments())
    assert (broken.steps_taken, broken.steps_charged) == (4, 5)
    again = open_run(tmp_path, config, tokens=LocalTokens(10, already_drawn=5))
    assert [steps for steps, _ in finish(again)] == [9]
    assert (again.steps_taken, again.steps_charged) == (9, 10)


def test_a_restarted_run_passes_its_earlier_scores_with_the_same_theta(tmp_path):
    config = run_config(score__times=2)
    first, second = Quadratic(), Quadratic()

    def thetas(evaluator, tokens):
        run = open_run(tmp_path, config, evaluator=evaluator, tokens=tokens)
        with run.log:
            return [(steps, evaluator.state_digest()) for steps, _ in run.segments()]

    assert thetas(first, LocalTokens(10)) == thetas(second, LocalTokens(0))


def test_a_finished_run_takes_no_further_token(tmp_path):
    finish(open_run(tmp_path))
    again = open_run(tmp_path, tokens=LocalTokens(0))
    assert [steps for steps, _ in finish(again)] == [10]


def test_a_token_is_drawn_before_anything_is_read(tmp_path):
    run = open_run(tmp_path, sampler=FrozenSampler([]), tokens=LocalTokens(0))
    with run.log:
        assert [steps for steps, _ in run.segments()] == [0]  # the empty sampler was never asked
    assert run.steps_charged == 0


def test_tokens_refuse_one_step_too_many():
    tokens = LocalTokens(2)
    tokens.draw(0)
    tokens.draw(1)
    with pytest.raises(TokensExhausted, match="step 2 was refused: all 2 planned"):
        tokens.draw(2)


def test_scores_are_evenly_spaced_and_end_at_the_last_step(tmp_path):
    run = open_run(tmp_path, run_config(score__times=3, method__num_steps=10))
    run.close()
    assert run.score_points() == [4, 7, 10]


def test_frozen_masks_and_noise_give_the_same_log(tmp_path):
    def releases(folder):
        run = open_run(tmp_path / folder, sampler=FrozenSampler([[1, 2, 3]] * 10), noise=FrozenNoise(3))
        finish(run)
        return [values.tolist() for values in run.log.releases["step"]]

    assert releases("a") == releases("b")


def test_mezo_clips_nothing_and_adds_nothing(tmp_path):
    config = run_config(method__name="mezo", method__num_directions=1, privacy__noise_multiplier=None)
    run = open_run(tmp_path, config, sampler=FrozenSampler([[1, 2]] * 10))
    finish(run)
    assert all(np.abs(values).max() > 0 for values in run.log.releases["step"])
    assert isinstance(run.config, RunConfig)
