"""A run that continues keeps the σ that was calibrated when its name was reserved."""

from functools import cache

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.standing_noise import with_reserved_noise
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.planning.rules import best_of, caps, menu
from orchestrator.storage.paths import storage_of
from orchestrator.storage.results import write_config

CALIBRATED = ("privacy.noise_multiplier=null", "privacy.epsilon=3")
ENTRIES = (
    "[{epsilon: 1, expected_batch_size: 8, num_steps: 4}, {noise_multiplier: 4, expected_batch_size: 8, num_steps: 2}]"
)
RULES = {
    "caps": (caps, CALIBRATED),
    "best of": (best_of, (*CALIBRATED, "search.release=best", "search.sampler=random", "search.seed=null")),
    "menu": (menu, ("privacy.noise_multiplier=null", "privacy.epsilon=8", f"search.menu={ENTRIES}")),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_last_digits_of_a_calibration_may_change(settings, monkeypatch, rule):
    module, overrides = RULES[rule]
    config = load_sweep(settings, overrides)
    calibrate, storage = cache(module.calibrate), storage_of(config)

    def planned(factor):
        monkeypatch.setattr(module, "calibrate", lambda *arguments: factor * calibrate(*arguments))
        return make_plan(config)

    plan = planned(1 + 1e-7)
    assert with_reserved_noise(plan, storage) is plan  # nothing is reserved yet
    reserve_plan(plan, storage)
    write_config(storage, config)
    for factor, kept in ((1.0, True), (1 + 2e-7, True), (1.01, False)):
        later = planned(factor)
        again = with_reserved_noise(later, storage)
        assert (again.noise_multipliers == plan.noise_multipliers) is kept
        assert again.config == config
        if kept:
            assert (again.rule, later.rule == plan.rule) == (plan.rule, False)
            reserve_plan(again, storage)
        else:
            assert again is later
