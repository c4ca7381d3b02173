"""A plan in two lines, as a table, as HTML and as values."""

import json

from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan


def test_a_plan_shows_itself(settings):
    plan = make_plan(load_sweep(settings, ["name=a"]))
    first, second = repr(plan).splitlines()
    assert first == "Plan of the sweep 'a': DP-AggZO, 3 trials × 4 steps, σ = 4"
    assert second == f"ε = {second[4:]}"
    assert " at δ = 1e-05" in second
    labels = [line.split("  ")[0] for line in plan.table().splitlines()]
    assert labels[:4] == ["total ε", "method", "steps", "one trial's ε"]
    assert str(plan) == plan.table()
    assert plan._repr_html_().count("<tr>") == len(labels)


def test_a_plan_says_what_a_clip_that_follows_norms_takes(settings):
    fixed, auto = (make_plan(load_sweep(settings, changes)) for changes in ([], ["method.clip_norm=auto"]))
    assert "follows the norms from 5, 0.25 to 500; their measure takes 0.8% more noise" in auto.table()
    assert (auto.epsilon, auto.noise_multiplier) == (fixed.epsilon, fixed.noise_multiplier)
    assert "follows the norms" not in fixed.table()


def test_a_plan_without_privacy_says_so(settings):
    plan = make_plan(
        load_run(settings, ["method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null"])
    )
    assert repr(plan).endswith("ε = ∞ (not private)")
    assert plan.to_dict()["epsilon"] is None
    json.dumps(plan.to_dict())


def test_a_plan_is_drawn_with_its_rule(settings):
    figure = make_plan(load_sweep(settings)).plot()
    assert figure.axes[0].get_ylabel() == "total ε at δ = 1e-05"
