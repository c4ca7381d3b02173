import shutil
import sqlite3
from dataclasses import replace

import pytest

from orchestrator.budget.accounted_run import LedgerTokens, open_accounted_run
from orchestrator.budget.release_logs import holder_of, require_logs_known
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger.budget import BudgetTerms, Cost
from orchestrator.privacy.ledger.drawer import TokenDrawer
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import Storage
from tests.support.quadratic import Quadratic, example
from tests.support.runs import run_config
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import TokensExhausted
from trainers.run.context import Workspace

NUM_STEPS = 10
UNLIMITED = BudgetTerms(name="data", epsilon=None, delta=0.0, num_units=100)


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path, "test")


def reserve(storage, steps=NUM_STEPS, scores=0) -> Ledger:
    config = private_scores() if scores else run_config()
    tokens = make_plan(config).rule.tokens()
    caps = {"train_step": replace(tokens["train_step"], count=steps)}
    if scores:
        caps["evaluation"] = replace(tokens["evaluation"], count=scores)
    ledger = Ledger(storage.database_url)
    ledger.create_budget(UNLIMITED)
    ledger.reserve(storage.name, caps, budget=UNLIMITED.name, cost=Cost(1.0, 1e-5))
    return ledger


def open_run(storage, config=None, holder="run", folder=None):
    plan = make_plan(config or run_config())
    workspace = Workspace([example(n) for n in range(100)], [example(n) for n in range(20)], Quadratic())
    return open_accounted_run(workspace, plan, plan.trial({}), storage, holder, folder or storage.folder / holder)


def take_all(run) -> list:
    with run.log:
        return list(run.segments())


def test_every_step_draws_its_token_under_the_runs_name(storage):
    ledger = reserve(storage)
    assert take_all(open_run(storage)) == [(NUM_STEPS, None)]
    assert ledger.drawn("test", "train_step", "run") == NUM_STEPS
    ledger.verify("test")


def test_a_run_that_is_opened_again_draws_nothing_for_what_it_has(storage):
    ledger = reserve(storage)
    first = open_run(storage)
    take_all(first)
    again = open_run(storage)
    assert take_all(again) == [(NUM_STEPS, None)]
    assert ledger.drawn("test", "train_step") == NUM_STEPS
    assert again._workspace.evaluator.state_digest() == first._workspace.evaluator.state_digest()


def test_a_refused_token_ends_the_run_with_the_steps_it_has(storage, caplog):
    ledger = reserve(storage, steps=3)
    run = open_run(storage)
    assert take_all(run) == [(3, None)]
    assert (run.steps_taken, run.steps_charged, ledger.drawn("test", "train_step")) == (3, 3, 3)
    assert "ends after 3 steps. The cap of 3 'train_step' tokens of 'test' is used up" in caplog.text


def test_runs_share_one_cap(storage):
    reserve(storage, steps=NUM_STEPS + 4)
    assert take_all(open_run(storage, holder="trial-000")) == [(NUM_STEPS, None)]
    assert take_all(open_run(storage, holder="trial-001")) == [(4, None)]


def test_a_refusal_is_told_in_the_words_of_the_loop(storage):
    reserve(storage, steps=1)
    tokens = LedgerTokens(TokenDrawer(storage.database_url, "test", "train_step", "run"))
    tokens.draw(0)
    with pytest.raises(TokensExhausted, match="The cap of 1 'train_step' tokens of 'test' is used up"):
        tokens.draw(1)


def test_private_scores_draw_tokens_of_their_own_kind(storage):
    ledger = reserve(storage, scores=2)
    private = run_config(data__validation="private.jsonl", score__on="private", score__times=2, score__num_examples=20)
    scores = [score for _, score in take_all(open_run(storage, private))]
    assert all(isinstance(score, float) for score in scores)
    assert (ledger.drawn("test", "train_step"), ledger.drawn("test", "evaluation")) == (NUM_STEPS, 2)
    assert [score for _, score in take_all(open_run(storage, private))] == scores  # read in the log
    assert ledger.drawn("test", "evaluation") == 2


def test_a_ledger_that_was_set_back_is_noticed(storage, tmp_path):
    reserve(storage).dispose()
    backup = tmp_path / "backup.db"
    with sqlite3.connect(tmp_path / "dpzo.db") as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    source.close()
    copy.close()
    take_all(open_run(storage))
    Ledger(storage.database_url).dispose()
    for path in tmp_path.glob("dpzo.db*"):
        path.unlink()
    shutil.copy(backup, tmp_path / "dpzo.db")
    with pytest.raises(LedgerCorruptError, match="'run' has drawn 10 'train_step' tokens of 'test' by its own log"):
        open_run(storage)


def test_a_run_is_not_opened_without_a_reservation(storage, tmp_path):
    with pytest.raises(ValueError, match="There is no ledger"):
        open_run(storage)
    reserve(Storage(tmp_path, "other"))
    with pytest.raises(ValueError, match=r"'test' is reserved for \{\}"):
        open_run(storage, holder="another")


def test_a_folder_with_the_log_of_another_run_is_refused(storage):
    reserve(storage)
    take_all(open_run(storage))
    log = (storage.folder / "run" / LOG_NAME).read_bytes()
    with pytest.raises(
        ValueError, match=r"belongs to a run with other settings \(method.learning_rate: 0.05 in the log"
    ):
        open_run(storage, run_config(method__learning_rate=0.06))
    assert (storage.folder / "run" / LOG_NAME).read_bytes() == log


def private_scores():
    return run_config(data__validation="private.jsonl", score__on="private", score__times=2, score__num_examples=20)


def test_a_run_whose_scores_are_used_up_goes_on_without_them(storage, caplog):
    """A kill between a score's token and its release; the score is lost, the model is not."""
    ledger = reserve(storage, scores=2)
    ledger.draw("test", "evaluation", "run", 0)
    found = take_all(open_run(storage, private_scores()))
    assert [steps for steps, _ in found] == [5, NUM_STEPS]
    assert isinstance(found[0][1], float)
    assert found[1][1] is None
    assert "no score after 10 steps. The cap of 2 'evaluation' tokens of 'test' is used up" in caplog.text


def test_a_ledger_that_lost_the_scores_is_noticed(storage):
    reserve(storage, scores=4)
    take_all(open_run(storage, private_scores()))
    with sqlite3.connect(storage.root / "dpzo.db") as database:
        database.execute("DELETE FROM draws WHERE kind = 'evaluation'")
    database.close()
    with pytest.raises(LedgerCorruptError, match="'run' has drawn 2 'evaluation' tokens of 'test' by its own log"):
        open_run(storage, private_scores())


@pytest.mark.parametrize("change", [{"privacy__expected_batch_size": 30}, {"score__noise_multiplier": 5.0}])
def test_another_law_than_the_reserved_one_is_never_drawn(storage, change):
    reserve(storage, scores=2)
    config = private_scores().model_dump()
    for key, value in change.items():
        section, name = key.split("__")
        config[section][name] = value
    with pytest.raises(ValueError, match=r"is reserved for .* this run would draw"):
        open_run(storage, type(private_scores()).model_validate(config))


def test_a_ledger_older_than_the_trials_logs_is_refused_at_the_start(storage):
    ledger = reserve(storage, steps=2 * NUM_STEPS)
    trial = storage.trial_folder(3)
    take_all(open_run(storage, holder=holder_of(3), folder=trial))
    require_logs_known(ledger, storage.root)
    with sqlite3.connect(storage.root / "dpzo.db") as database:
        database.execute("DELETE FROM draws")
    database.close()
    with pytest.raises(LedgerCorruptError, match="'trial-003' has drawn 10 'train_step' tokens"):
        require_logs_known(ledger, storage.root)


def test_the_ledger_keeps_no_time_of_a_step(storage):
    """How long a step takes depends on the secret batch, so the ledger holds the day alone."""
    reserve(storage).draw("test", "train_step", "run", 0)
    with sqlite3.connect(storage.root / "dpzo.db") as database:
        ((drawn_at,),) = database.execute("SELECT drawn_at FROM draws").fetchall()
    database.close()
    assert len(drawn_at) == len("2026-01-31")
