import math

import numpy as np
import pytest

from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, MechanismPlan

GOOD = {
    "sampling_prob": 0.016,
    "expected_batch_size": 64.0,
    "num_directions": 4,
    "num_steps": 100,
    "clip_norm": 5.0,
    "noise_multiplier": 1.3,
}


def test_rates_are_rounded_to_the_private_side():
    plan = MechanismPlan(**GOOD)
    assert 0.016 <= plan.sampling_prob < 0.016 + 2**-32
    assert plan.noise_multiplier is not None
    assert 1.3 <= plan.noise_multiplier < 1.3 + 2 / GRID_UNITS_PER_CLIP
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


@pytest.mark.parametrize("scale", [1, 3, 20])
@pytest.mark.parametrize("shift", [1, 5, 40])
def test_the_discrete_laplace_law_is_as_private_as_promised(scale, shift):
    """Pure ε exactly; as a profile, above the continuous law by less than 1/(8 b²)."""
    n = np.arange(-40 * scale - 2 * shift, 40 * scale + 2 * shift + 1)
    mass = np.exp(-np.abs(n) / scale)
    moved = np.exp(-np.abs(n - shift) / scale)
    total = mass.sum()
    assert np.abs(np.log(mass / moved)).max() <= shift / scale * (1 + 1e-12)
    leak = 1 - 1 / np.cosh(1 / (2 * scale))
    assert leak < 1 / (8 * scale**2)
    for epsilon in np.linspace(-0.99, 0.99, 31) * shift / scale:
        found = np.maximum(mass - np.exp(epsilon) * moved, 0).sum() / total
        continuous = 1 - np.exp((epsilon - shift / scale) / 2)
        assert found <= leak + (1 - leak) * continuous + 1e-12


@pytest.mark.parametrize("change", [{"noise": "cauchy"}, {"adjacency": "one-more"}])
def test_unknown_laws_and_relations_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be one of"):
        MechanismPlan(**{**GOOD, **change})


def test_replace_one_is_refused_for_laplace():
    assert MechanismPlan(**{**GOOD, "adjacency": "replace-one"}) != MechanismPlan(**GOOD)
    with pytest.raises(ValueError, match="add-or-remove-one only"):
        MechanismPlan(**{**GOOD, "adjacency": "replace-one", "noise": "laplace"})


def test_without_clip_and_noise_a_plan_is_not_private():
    plan = MechanismPlan(**{**GOOD, "clip_norm": None, "noise_multiplier": None})
    assert not plan.is_private
    assert plan.noise_scale_grid_units == 0


def test_extremes_that_floats_or_64_bits_do_not_hold_are_refused():
    with pytest.raises(ValueError, match="clip_norm 5e-324 is too small"):  # C / sqrt(3) rounds to C: no clip at all
        MechanismPlan(**{**GOOD, "clip_norm": 5e-324})
    with pytest.raises(ValueError, match=r"noise_multiplier must be at most 2\*\*28"):
        MechanismPlan(**{**GOOD, "noise_multiplier": 1e10})
    MechanismPlan(**{**GOOD, "clip_norm": 1e-290, "noise_multiplier": 2.0**28})
