"""How many trials a plan expects by what early stopping left over in earlier sweeps."""

from typer.testing import CliRunner

from orchestrator.budget.expected_trials import expected_trials
from orchestrator.cli.app import app
from orchestrator.config.loading import load_sweep, resolved_json
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import storage_of
from orchestrator.sweep.driver import run_sweep
from tests.support.inline import without_cluster

ASHA = ["search.early_stopping=asha"]
FIT = [*ASHA, "name=next", "search.num_trials=fit", "search.caps={steps: 21}"]


def test_what_earlier_sweeps_left_over_makes_more_trials(settings, monkeypatch, tmp_path):
    next_sweep = without_cluster(monkeypatch)
    plan = make_plan(load_sweep(settings, FIT))
    assert expected_trials(plan) is None
    next_sweep(stop_after={1: 1, 2: 1})
    run_sweep(make_plan(load_sweep(settings, ASHA)))  # 3 trials of 4 steps take 4 + 2 + 2
    next_sweep()
    run_sweep(make_plan(load_sweep(settings, ["name=without"])))
    found = expected_trials(plan)
    assert found == (21 * 12 // (8 * 4), 8 / 12, ("test",))
    assert str(found) == "about 7: trials of test took 67% of their steps"
    file = tmp_path / "next.json"
    file.write_text(resolved_json(plan.config))
    shown = CliRunner().invoke(app, ["plan", str(file), "--brief"])
    assert "about 7: trials of test took 67% of their steps" in shown.output, shown.output
    assert expected_trials(make_plan(load_sweep(settings, [*FIT, "search.early_stopping=median"]))) is None
    (storage_of(plan.config).root / "test" / "config.json").write_text('{"search": {"speed": 1}}')
    assert expected_trials(plan) is None
