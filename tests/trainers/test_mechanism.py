import math

import pytest
from dp_accounting import dp_event

from trainers.mechanism import UNITS_PER_CLIP, MechanismPlan

GOOD = {
    "sampling_prob": 0.016,
    "expected_batch_size": 64.0,
    "num_directions": 4,
    "num_steps": 100,
    "clip_norm": 5.0,
    "noise_multiplier": 1.3,
}


def test_event_says_what_is_drawn():
    plan = MechanismPlan(**GOOD)
    assert plan.event == dp_event.SelfComposedDpEvent(
        dp_event.PoissonSampledDpEvent(
            plan.sampling_threshold / 2**32, dp_event.GaussianDpEvent(plan.noise_scale_units / UNITS_PER_CLIP)
        ),
        100,
    )


def test_rates_are_rounded_to_the_private_side():
    plan = MechanismPlan(**GOOD)
    assert 0.016 <= plan.sampling_prob < 0.016 + 2**-32
    assert plan.noise_multiplier is not None
    assert 1.3 <= plan.noise_multiplier < 1.3 + 2 / UNITS_PER_CLIP
    again = MechanismPlan(**{**GOOD, "sampling_prob": plan.sampling_prob, "noise_multiplier": plan.noise_multiplier})
    assert again == plan


@pytest.mark.parametrize("field", ["sampling_prob", "expected_batch_size", "clip_norm", "noise_multiplier"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_numbers_must_be_finite_and_positive(field, value):
    with pytest.raises(ValueError, match=field):
        MechanismPlan(**{**GOOD, field: value})


@pytest.mark.parametrize(
    "change", [{"sampling_prob": 1.1}, {"num_steps": 0}, {"num_directions": 2.0}, {"clip_norm": None}]
)
def test_other_values_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        MechanismPlan(**{**GOOD, **change})


def test_without_privacy_the_event_is_not_private():
    plan = MechanismPlan(**{**GOOD, "clip_norm": None, "noise_multiplier": None})
    assert not plan.is_private
    assert plan.step_event == dp_event.NonPrivateDpEvent()
