"""The table of rules: the same ε as the rules themselves, and counts that fit and hardly could be larger."""

from __future__ import annotations

import math

import pytest

from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.comparison import RULE_NAMES, compare, cost, curve
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.rules.repetitions import Repetitions

DELTA = 1e-5
PLAN = PlannedSweep(
    num_trials=6,
    steps_per_trial=200,
    sampling_prob=0.05,
    noise_multiplier=5.0,
    evaluations_per_trial=2,
    evaluation_noise_multiplier=20.0,
)


def test_each_row_is_the_rules_own_epsilon():
    found = {row.rule: row.epsilon for row in compare(PLAN, DELTA)}
    caps, trial = PLAN.caps(), PLAN.trial_caps()
    assert tuple(found) == RULE_NAMES
    assert found["caps"] == caps.epsilon(DELTA)
    assert found["disjoint"] == caps.model_copy(update={"disjoint": True}).epsilon(DELTA) < found["caps"]
    assert found["menu"] == Menu(entries=(trial,), num_trials=6).epsilon(DELTA) == found["caps"]  # no spare tokens
    assert 1.02 * found["caps"] < found["filter"] < 1.2 * found["caps"]
    for law in ("geometric", "logarithmic", "poisson"):
        assert found[f"best, {law}"] == BestOf(trial=trial, number=Repetitions(law=law, mean=6.0)).epsilon(DELTA)
    alone = PLAN.changed(num_trials=1, evaluations_per_trial=0).caps().epsilon(DELTA)
    assert found["public tuning"] == alone == min(found.values())


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_counts_fit_and_hardly_could_be_larger(rule):
    budget = 2.5
    (row,) = compare(PLAN, DELTA, budget, rules=(rule,))
    for field in ("num_trials", "steps_per_trial", "evaluations_per_trial"):
        count = getattr(row, field)
        if count is None:
            assert rule == "public tuning"
            assert field != "steps_per_trial"
            continue
        assert cost(rule, PLAN.changed(**{field: count}), DELTA) <= budget
        if count < 10_000:
            more = count + 1 if count <= 200 else math.ceil(count * 1.0051)
            assert cost(rule, PLAN.changed(**{field: more}), DELTA) > budget


def test_where_nothing_fits_there_is_no_count():
    rows = {row.rule: row for row in compare(PLAN, DELTA, 0.05, rules=("caps", "filter", "best, geometric"))}
    for row in rows.values():
        assert (row.num_trials, row.steps_per_trial, row.evaluations_per_trial) == (None, None, None)
        assert row.epsilon is not None


def test_rules_that_do_not_apply_have_no_epsilon():
    public = PLAN.changed(evaluations_per_trial=0, evaluation_noise_multiplier=None)
    assert compare(public, DELTA, rules=("disjoint",))[0].epsilon is None
    for row in compare(public, DELTA, 1.0, "replace-one", rules=("disjoint", "filter")):
        assert (row.epsilon, row.steps_per_trial) == (None, None)
    swapped = compare(public, DELTA, 2.0, "replace-one", rules=("caps",))[0]
    assert swapped.epsilon is not None
    assert swapped.epsilon > public.caps().epsilon(DELTA)
    assert swapped.num_trials is not None


def test_pure_budgets_compare_laplace_plans():
    plan = PlannedSweep(
        num_trials=5,
        steps_per_trial=100,
        sampling_prob=0.016,
        noise_multiplier=10.0,
        noise="laplace",
        num_coordinates=8,
    )
    trial = plan.trial_caps().epsilon(0.0)
    found = {row.rule: row for row in compare(plan, 0.0, 4 * trial)}
    assert found["caps"].epsilon == found["menu"].epsilon == pytest.approx(5 * trial)
    assert found["caps"].num_trials in (3, 4)  # 4 to the last bit
    assert found["filter"].epsilon is None
    assert found["best, geometric"].epsilon == pytest.approx(3 * trial)
    assert found["best, logarithmic"].epsilon == pytest.approx(2 * trial)
    assert found["best, geometric"].num_trials == 10_000
    assert {row.epsilon for row in compare(PLAN, 0.0)} == {None}  # Gaussian noise has no pure ε


def test_curves_rise_and_cross_where_selection_becomes_cheaper():
    counts = [1, 4, 16]
    found = curve(PLAN, DELTA, counts)
    for rule in RULE_NAMES:
        values = [value for value in found[rule] if value is not None]
        assert len(values) == len(counts)
        assert values == sorted(values)
    assert found["caps"][0] < found["best, poisson"][0]
    assert found["caps"][2] > 1.5 * found["best, geometric"][2] > found["best, logarithmic"][2]
    assert len(set(found["public tuning"])) == 1
