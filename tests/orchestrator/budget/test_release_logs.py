"""A ledger that was lost or set back is found by the release logs beside it, whatever the next run is called."""

import shutil

import pytest
from typer.testing import CliRunner

from orchestrator.budget.budget import Budget
from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.cli.app import app
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import storage_of
from orchestrator.storage.results import write_config
from trainers.mechanism.release_log import LOG_NAME, ReleaseLog

BEST = ("search.release=best", "search.sampler=random", "search.seed=null")
FILTER = (
    "privacy.noise_multiplier=null",
    "privacy.epsilon=2",
    "search.filter={order: 16, space: {privacy.noise_multiplier: {low: 3.0, high: 8.0}}}",
)


@pytest.fixture
def reserve(settings):
    """Reserve a run, or a sweep, of a name."""

    def make(name, *overrides, load=load_run):
        plan = make_plan(load(settings, [f"name={name}", *overrides]))
        storage = storage_of(plan.config)
        reserved = reserve_plan(plan, storage)
        write_config(storage, plan.config)
        return plan, storage, reserved

    return make


@pytest.fixture
def release(reserve):
    """Reserve it, and release three steps: tokens in the ledger, and a log in its folder or in that of a trial."""

    def make(name, *overrides, load=load_run, trial=None, kind="train_step", draws=3):
        _, storage, reserved = reserve(name, *overrides, load=load)
        folder = storage.folder if trial is None else storage.trial_folder(trial)
        with ReleaseLog(folder / LOG_NAME, {"name": name}) as log:
            for step in range(3):
                if step < draws:
                    holder = "run" if trial is None else f"trial-{trial:03d}"
                    reserved.ledger.draw(name, kind, holder, step)
                log.reserve("step", step)
        reserved.ledger.dispose()
        return storage

    return make


def lose(storage):
    for path in storage.root.glob("dpzo.db*"):
        path.unlink()


def test_after_the_ledger_was_lost_no_other_name_starts_from_zero(release, reserve):
    lose(release("one"))
    with pytest.raises(
        LedgerCorruptError, match=r"'run' has drawn 3 'train_step' tokens of 'one' by .*, and only 0 by"
    ):
        reserve("two")


def test_an_older_copy_is_refused_by_the_log_that_it_does_not_know(release, reserve, tmp_path):
    storage = release("one")
    shutil.copy(storage.ledger_file, tmp_path / "backup.db")
    release("two")
    lose(storage)
    shutil.copy(tmp_path / "backup.db", storage.ledger_file)
    with pytest.raises(LedgerCorruptError, match="tokens of 'two' by"):
        reserve("three")
    with pytest.raises(LedgerCorruptError, match="tokens of 'two' by"):
        Budget("private", storage.root).verify()


def test_verify_and_status_refuse_a_lost_ledger(release):
    storage = release("one")
    runner = CliRunner()
    assert runner.invoke(app, ["status", str(storage.root)]).exit_code == 0
    assert runner.invoke(app, ["budget", "verify", "--ledger", str(storage.root)]).exit_code == 0
    lose(storage)
    for place in (storage.root, storage.folder):
        status = runner.invoke(app, ["status", str(place)])
        assert (status.exit_code, "There is no ledger at" in status.stderr) == (3, True)
        assert "one" in status.stdout
    Ledger(storage.database_url).dispose()  # an empty one
    for verb in (["status", str(storage.root)], ["budget", "verify", "--ledger", str(storage.root)]):
        done = runner.invoke(app, verb)
        assert (done.exit_code, "and only 0 by the ledger at" in done.stderr) == (3, True)


@pytest.mark.parametrize("overrides", [(), BEST])
def test_the_logs_of_trials_count_too(release, reserve, overrides):
    lose(release("one", *overrides, load=load_sweep, trial=2))
    with pytest.raises(LedgerCorruptError, match="'trial-002' has drawn 3 'train_step' tokens of 'one'"):
        reserve("two")


def test_the_published_log_of_a_winner_is_that_of_a_trial(release, reserve):
    storage = release("one", *BEST, load=load_sweep, trial=2)
    storage.trial_folder(2).rename(storage.folder / "published")
    (storage.folder / "published" / LOG_NAME).rename(storage.folder / LOG_NAME)
    reserve("two")
    lose(storage)
    with pytest.raises(LedgerCorruptError, match="'the winner' has drawn 3 'train_step' tokens of 'one'"):
        reserve("two")


def test_under_a_filter_steps_and_scores_draw_from_one_cap(release, reserve):
    storage = release("one", *FILTER, load=load_sweep, trial=0, kind="renyi_units")
    reserve("two")
    with ReleaseLog(storage.trial_folder(0) / LOG_NAME, {"name": "one"}) as log:
        log.reserve("score", 0)
    with pytest.raises(LedgerCorruptError, match="'trial-000' has drawn 4 'renyi_units' tokens of 'one'"):
        reserve("two")


def test_one_token_less_than_a_log_records_is_found(release, reserve):
    release("one", load=load_sweep, trial=0)
    release("two", load=load_sweep, trial=1, draws=2)
    with pytest.raises(
        LedgerCorruptError, match=r"'trial-001' has drawn 3 'train_step' tokens of 'two' by .*, and only 2"
    ):
        reserve("three")


def test_trials_on_public_rows_draw_nothing(release, reserve, settings):
    release("one", f"search.tune_on={settings['data']['validation']}", load=load_sweep, trial=0, draws=0)
    reserve("two")


def test_a_run_is_known_by_the_name_in_its_log(release, reserve):
    storage = release("one")
    storage.folder.rename(storage.root / "kept")
    reserve("two")
    lose(storage)
    with pytest.raises(LedgerCorruptError, match="tokens of 'one' by"):
        reserve("two")


def test_runs_that_another_ledger_counts_are_named_in_the_statement(release, reserve, tmp_path):
    other = f"budget.ledger=sqlite:///{tmp_path / 'other.db'}"
    storage = release("one", other)
    plan, _, reserved = reserve("two")
    note = "Runs beside this one that another ledger counts: one."
    assert note in run_statement(plan, reserved).not_covered
    plan, _, reserved = reserve("three", other)
    assert note not in run_statement(plan, reserved).not_covered
    (tmp_path / "other.db").unlink()
    with pytest.raises(LedgerCorruptError, match="tokens of 'one' by"):
        reserve("four", f"budget.ledger=sqlite:///{storage.root}/../other.db")


def test_a_log_that_cannot_be_read_is_refused_by_its_name(release, reserve):
    path = release("one").folder / LOG_NAME
    path.write_bytes(path.read_bytes() + b'{"type": "RESE')  # a kill
    reserve("two")
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(ValueError, match=f"{path} line 5 is no entry of a release log"):
        reserve("three")
