"""Rule 2: a menu costs its pointwise worst entry, every time."""

from __future__ import annotations

import math

import pytest

from orchestrator.privacy.accountant.bounds import ALL_ORDERS, from_renyi
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap
from orchestrator.privacy.rules.menu import Menu

DELTA = 1e-5


def entry(q, sigma, num_steps, scores=0, **fields):
    evaluation = EvaluationCap(noise_multiplier=10.0, count=scores) if scores else None
    step = StepCap(sampling_prob=q, noise_multiplier=sigma, num_steps=num_steps, **fields)
    return SweepCaps(train_step=step, evaluation=evaluation)


# σ calibrated by PLD to ε = 1 at δ = 1e-5
CALIBRATED = (
    entry(0.016, 2.06215, 1_000),
    entry(0.016, 6.0259, 10_000),
    entry(0.064, 23.9009, 10_000),
    entry(0.016, 16.3818, 75_000),
)
HEAVY_TAILED, LIGHT_TAILED = (
    entry(0.01, 0.2, 1, noise="laplace", num_coordinates=2),
    entry(1.0, 12.0, 10),
)  # their profiles cross


def test_golden_rule_two():
    # four entries each calibrated to ε = 1, K = 10: 3.619, the same as the worst single entry ten times
    for one in CALIBRATED:
        assert one.epsilon(DELTA) == pytest.approx(1.0, abs=5e-4)
    menu = Menu(entries=CALIBRATED, num_trials=10)
    worst = max(Menu(entries=(one,), num_trials=10).epsilon(DELTA) for one in CALIBRATED)
    assert menu.epsilon(DELTA) == pytest.approx(3.619, rel=1e-3)
    assert menu.epsilon(DELTA) == pytest.approx(worst, abs=1e-3)
    assert menu.certificate(DELTA).method.startswith("PLD of the pointwise worst")


def test_crossing_entries_cost_more_than_any_one_of_them():
    # The wrong law: the largest of the entries' own totals is not what an adaptive choice between them costs.
    menu = Menu(entries=(HEAVY_TAILED, LIGHT_TAILED), num_trials=6)
    alone = [Menu(entries=(one,), num_trials=6).epsilon(DELTA) for one in menu.entries]
    assert menu.epsilon(DELTA) > 1.1 * max(alone)
    assert menu.epsilon(DELTA) < sum(alone)


def test_one_trial_costs_the_dearest_entry():
    menu = Menu(entries=(HEAVY_TAILED, LIGHT_TAILED), num_trials=1)
    dearest = max(one.epsilon(DELTA) for one in menu.entries)
    assert dearest - 1e-9 <= menu.epsilon(DELTA) <= dearest + 1e-4


def test_an_entry_that_another_dominates_costs_nothing_more():
    strong, weak = entry(0.1, 3.0, 50), entry(0.1, 6.0, 50)
    both, alone = (Menu(entries=entries, num_trials=8) for entries in ((strong, weak), (strong,)))
    assert both.epsilon(DELTA) == pytest.approx(alone.epsilon(DELTA), rel=1e-4)
    assert both.epsilon(DELTA) >= alone.epsilon(DELTA) - 1e-9
    assert alone.epsilon(DELTA) == entry(0.1, 3.0, 400).epsilon(DELTA)


def test_order_changes_nothing_and_more_costs_more():
    menu = Menu(entries=(HEAVY_TAILED, LIGHT_TAILED), num_trials=3)
    turned = Menu(entries=(LIGHT_TAILED, HEAVY_TAILED), num_trials=3)
    assert menu.epsilon(DELTA) == turned.epsilon(DELTA)
    assert menu.model_copy(update={"num_trials": 4}).epsilon(DELTA) > menu.epsilon(DELTA)
    longer = Menu(entries=(*menu.entries, entry(0.1, 3.0, 80)), num_trials=3)
    assert longer.epsilon(DELTA) > menu.epsilon(DELTA)


def test_pure_budgets_take_the_dearest_sum():
    menu = Menu(entries=(entry(0.1, 10.0, 5, noise="laplace"), entry(0.2, 10.0, 4, noise="laplace")), num_trials=3)
    assert menu.epsilon(0.0) == pytest.approx(3 * max(one.epsilon(0.0) for one in menu.entries), rel=1e-12)


def test_renyi_takes_the_dearest_at_each_order():
    menu = Menu(entries=(HEAVY_TAILED, LIGHT_TAILED), num_trials=3)
    for order in (2.0, 20.0):
        assert menu.renyi(order) == 3 * max(one.renyi(order) for one in menu.entries)
    assert from_renyi(ALL_ORDERS, [menu.renyi(order) for order in ALL_ORDERS], DELTA) > menu.epsilon(DELTA)


def test_what_does_not_fit_a_grid_is_bounded_by_renyi():
    menu = Menu(entries=(entry(0.5, 0.05, 100), entry(0.5, 0.06, 100)), num_trials=3)
    assert menu.certificate(DELTA).method.startswith("RDP of the worst entry")
    assert menu.certificate(DELTA).epsilon < menu.certificate(DELTA, "replace-one").epsilon < math.inf


def test_replace_one_costs_more():
    menu = Menu(entries=(entry(0.1, 6.0, 20), entry(1.0, 20.0, 5)), num_trials=2)
    assert menu.epsilon(DELTA, "replace-one") > 1.5 * menu.epsilon(DELTA)


def test_disjoint_entries_are_compared_side_by_side():
    def split(q, sigma, num_steps, scores):
        return entry(q, sigma, num_steps, scores).model_copy(update={"disjoint": True})

    menu = Menu(entries=(split(0.1, 5.0, 50, 1), split(0.2, 5.0, 50, 4)), num_trials=3)
    together = Menu(entries=(entry(0.1, 5.0, 50, 1), entry(0.2, 5.0, 50, 4)), num_trials=3)
    dearest_steps = Menu(entries=(entry(0.2, 5.0, 50),), num_trials=3).epsilon(DELTA)
    assert dearest_steps - 1e-9 <= menu.epsilon(DELTA) < together.epsilon(DELTA)
    with pytest.raises(ValueError, match="or none does"):
        Menu(entries=(menu.entries[0], together.entries[0]), num_trials=3)


def test_a_trial_may_draw_one_entry_and_the_caps_hold_all_trials():
    menu = Menu(entries=(entry(0.1, 5.0, 50, 2), entry(0.2, 5.0, 70)), num_trials=3)
    assert {kind: cap.per_holder for kind, cap in menu.tokens().items()} == {
        "train_step/0": 50,
        "evaluation/0": 2,
        "train_step/1": 70,
    }
    assert {kind: cap.count for kind, cap in menu.tokens().items()} == {
        "train_step/0": 150,
        "evaluation/0": 6,
        "train_step/1": 210,
    }
    assert menu.max_holders == 3
    assert "At most 3 trials" in menu.describe()
    with pytest.raises(ValueError, match="entries"):
        Menu(entries=(), num_trials=3)
