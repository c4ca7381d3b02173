"""The model of any released trial, rebuilt from its release log."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.files import write_whole
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.storage.results import write_config
from tests.support.quadratic import Quadratic, example
from tests.support.statements import stated
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun

STATED = {"statement": stated(None).model_dump(mode="json")}
RATES = {0: 1e-3, 1: 5e-3, 2: 2e-3}
BEST = ("search.release=best", "search.sampler=random", "search.seed=null")


@pytest.fixture
def evaluator(monkeypatch):
    found = Quadratic()
    workspace = Workspace([], [], found)
    monkeypatch.setattr("orchestrator.sweep.rebuild.open_workspace", lambda config, private: workspace)
    return found


def take(evaluator, config, folder):
    """Take all steps of a run and return θ."""
    tokens = LocalTokens(config.method.num_steps)
    workspace = Workspace([example(n) for n in range(40)], [example(n) for n in range(10)], evaluator)
    plan = mechanism_plan(config, config.privacy.noise_multiplier)
    run = ZerothOrderRun(RunContext(workspace, config, plan, Tokens(tokens, tokens), folder))
    with run.log:
        list(run.segments())
    return evaluator.theta.copy()


@pytest.fixture
def sweep(settings, evaluator):
    """Leave behind what a sweep does whose trial 1 was the best, and return its folder and θ of each trial."""

    def finished(*overrides):
        plan = make_plan(with_absolute_paths(load_sweep(settings, overrides)))
        storage = storage_of(plan.config)
        write_config(storage, plan.config)
        rows, thetas = [], {}
        for number, rate in RATES.items():
            values = {"method.learning_rate": rate}
            thetas[number] = take(evaluator, plan.trial(values), storage.trial_folder(number))
            rows.append({"number": number, "values": values, "state": "complete", "steps": 4})
        rows.append({"number": 3, "values": {"method.learning_rate": 1e-3}, "state": "failed", "steps": 0})
        if not storage.releases_trials:
            rows = [rows[1]]
            (storage.trial_folder(1) / LOG_NAME).rename(storage.folder / LOG_NAME)
        write_whole(
            storage.result_file, json.dumps({"trials": rows, "best": rows[1] if len(rows) > 1 else rows[0], **STATED})
        )
        return storage.folder, thetas

    return finished


@pytest.fixture
def export(tmp_path):
    """Run the verb into an empty folder; return its result and the θ that it wrote."""
    to = tmp_path / "to"
    to.mkdir()

    def run(folder, *options):
        result = CliRunner().invoke(app, ["export", str(folder), "--to", str(to), *options])
        return result, np.load(to / "theta.npy") if (to / "theta.npy").exists() else None

    run.to = to
    return run


def refused(result):
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("number", RATES)
def test_any_trial_of_a_sweep_is_rebuilt_to_the_last_bit(sweep, export, number):
    folder, thetas = sweep()
    result, theta = export(folder, "--trial", str(number))
    assert (result.exit_code, result.stdout) == (0, "")
    assert np.array_equal(theta, thetas[number])


def test_without_a_number_the_best_trial_is_rebuilt(sweep, export, tmp_path):
    folder, thetas = sweep()
    folder = folder.rename(tmp_path / "moved")
    assert np.array_equal(export(folder)[1], thetas[1])


def test_a_winner_alone_is_rebuilt_from_what_was_released(sweep, export):
    folder, thetas = sweep(*BEST)
    for path in (folder / "operator-only" / "trials").rglob(LOG_NAME):
        path.unlink()  # who was given the folder has no more than this
    assert np.array_equal(export(folder)[1], thetas[1])


@pytest.mark.parametrize("number", ["0", "2", "99"])
def test_a_loser_of_release_best_is_refused_with_both_ways_out(sweep, export, number):
    folder, _ = sweep(*BEST)
    result, theta = export(folder, "--trial", number)
    line = refused(result)
    assert theta is None
    assert "Release 'best' publishes the winner alone" in line
    assert f"take its model in {folder / 'model'}, or run a sweep with release 'all'" in line


def test_one_run_is_rebuilt(settings, evaluator, export):
    config = with_absolute_paths(load_run(settings))
    storage = storage_of(config)
    write_config(storage, config)
    theta = take(evaluator, config, storage.folder)
    write_whole(storage.result_file, json.dumps({"steps": 4, **STATED}))
    assert "is one run, without trials" in refused(export(storage.folder, "--trial", "0")[0])
    assert np.array_equal(export(storage.folder)[1], theta)


def test_what_cannot_be_exported_is_one_line(sweep, export, tmp_path):
    folder, _ = sweep()
    assert "has the trials 0, 1, 2, 3" in refused(export(folder, "--trial", "4")[0])
    assert "it took no step (failed)" in refused(export(folder, "--trial", "3")[0])
    assert "there is no config.json" in refused(export(tmp_path)[0])
    (folder / "trials" / "002" / LOG_NAME).unlink()
    assert "there is no release log" in refused(export(folder, "--trial", "2")[0])
    assert not (folder / "trials" / "002" / LOG_NAME).exists()
    (folder / "result.json").unlink()
    assert "there is no result.json; this sweep is not finished" in refused(export(folder)[0])


def test_a_log_that_was_cut_gives_no_model(sweep, export):
    folder, _ = sweep()
    log = folder / "trials" / "001" / LOG_NAME
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-2]))
    result, theta = export(folder)
    assert "holds 3 of the 4 steps that test released: the log was lost or cut" in refused(result)
    assert theta is None


def test_a_folder_that_holds_something_is_refused(sweep, export, tmp_path):
    folder, _ = sweep()
    (tmp_path / "to" / "precious.txt").write_text("")
    assert "the folder is not empty" in refused(export(folder)[0])


def test_late_iterates_are_averaged_and_scaled(sweep, export):
    folder, thetas = sweep()
    result, theta = export(folder, "--average", "last-50%", "--scale", "0.5")
    assert result.exit_code == 0, result.output
    assert 0.3 < np.linalg.norm(theta) / np.linalg.norm(thetas[1]) < 0.5  # half of the mean of θ_3 and θ_4
    card = json.loads((export.to / "privacy_card.json").read_text())
    done = card["refinement"]
    assert (done["last_percent"], done["scale"], done["epsilon"]) == (50, 0.5, 0)
    assert done["chosen_on"].endswith("given by hand")
    assert any("given by hand" in line for line in card["statement"]["not_covered"])
    assert "if no private row was looked at to choose them" in (export.to / "README.md").read_text()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--average", "last-0%"), "expected a share of the last steps, such as last-20%"),
        (("--average", "20"), "expected a share of the last steps, such as last-20%"),
        (("--scale", "-1"), "expected a number above 0"),
        (("--scale", "nan"), "expected a number above 0"),
        (("--scale", "2", "--evaluator", "vllm"), "computed by transformers"),
    ],
)
def test_a_change_that_means_nothing_is_one_line(sweep, export, flags, says):
    assert says in refused(export(sweep()[0], *flags)[0])


@pytest.mark.parametrize("is_new", [True, False])
def test_a_failed_export_leaves_nothing(sweep, tmp_path, monkeypatch, is_new):
    folder, _ = sweep()
    to = tmp_path / "place" / "to"
    if not is_new:
        to.mkdir(parents=True)

    def full(part, *_, **__):
        assert list(part.iterdir())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.sweep.export.write_card", full)
    assert CliRunner().invoke(app, ["export", str(folder), "--to", str(to)]).exit_code == 1
    assert [str(path) for path in to.parent.rglob("*")] == ([] if is_new else [str(to)])
