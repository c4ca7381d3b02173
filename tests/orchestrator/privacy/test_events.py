"""Everything that an accountant would answer wrongly in silence is refused by name."""

from __future__ import annotations

import math

import dp_accounting as dp
import numpy as np
import pytest

from orchestrator.privacy.events import Release, read, validate

GAUSSIAN = dp.GaussianDpEvent(1.0)


class _FancyGaussian(dp.GaussianDpEvent):
    pass


@pytest.mark.parametrize(
    "value", [1, np.float32(1.0), math.nan, math.inf, 0.0, -1.0, True, "1.0", None, 1e-300, 1e300], ids=repr
)
@pytest.mark.parametrize("kind", [dp.GaussianDpEvent, dp.LaplaceDpEvent])
def test_noise_multipliers_that_are_no_positive_finite_floats_are_refused(kind, value):
    with pytest.raises(ValueError, match=r"event\.noise_multiplier"):
        validate(kind(value))


@pytest.mark.parametrize("value", [1, np.float32(0.5), math.nan, math.inf, 0.0, -0.1, 1.0000001], ids=repr)
def test_sampling_probabilities_outside_0_1_are_refused(value):
    with pytest.raises(ValueError, match=r"event\.sampling_probability"):
        validate(dp.PoissonSampledDpEvent(value, GAUSSIAN))


@pytest.mark.parametrize("value", [0, -1, 2.0, True, np.int64(3), math.nan], ids=repr)
def test_counts_that_are_no_positive_ints_are_refused(value):
    with pytest.raises(ValueError, match=r"event\.count"):
        validate(dp.SelfComposedDpEvent(GAUSSIAN, value))


@pytest.mark.parametrize(
    "inside",
    [
        dp.SelfComposedDpEvent(GAUSSIAN, 10),
        dp.ComposedDpEvent([GAUSSIAN, GAUSSIAN]),
        dp.PoissonSampledDpEvent(0.5, GAUSSIAN),
        dp.NoOpDpEvent(),
        dp.NonPrivateDpEvent(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_anything_but_one_release_inside_poisson_sampling_is_refused(inside):
    with pytest.raises(ValueError, match="compose outside the sampling"):
        validate(dp.PoissonSampledDpEvent(0.1, inside))


@pytest.mark.parametrize(
    "event",
    [
        dp.UnsupportedDpEvent(),
        dp.ZCDpEvent(0.1),
        dp.dp_event.DiscreteLaplaceDpEvent(1.0, 1),
        dp.SampledWithoutReplacementDpEvent(100, 10, GAUSSIAN),
        dp.dp_event.RepeatAndSelectDpEvent(GAUSSIAN, 10.0, 1.0),
        _FancyGaussian(1.0),
        "gaussian",
        None,
    ],
    ids=lambda event: type(event).__name__,
)
def test_unknown_events_are_refused_wherever_they_hide(event):
    with pytest.raises(ValueError, match="does not understand"):
        validate(event)
    with pytest.raises(ValueError, match=r"event\.events\[1\]\.event is .*does not understand"):
        validate(dp.ComposedDpEvent([GAUSSIAN, dp.SelfComposedDpEvent(event, 2)]))


@pytest.mark.parametrize("events", [[], (), None, iter([GAUSSIAN])], ids=["list", "tuple", "None", "iterator"])
def test_a_composition_of_nothing_is_refused(events):
    with pytest.raises(ValueError, match=r"event\.events must be a list"):
        validate(dp.ComposedDpEvent(events))


def test_reading_merges_equal_releases_and_multiplies_nested_counts():
    step = dp.PoissonSampledDpEvent(0.1, GAUSSIAN)
    event = dp.ComposedDpEvent(
        [
            dp.SelfComposedDpEvent(dp.ComposedDpEvent([step, step, dp.LaplaceDpEvent(2.0)]), 3),
            dp.NoOpDpEvent(),
            dp.SelfComposedDpEvent(step, 4),
            dp.PoissonSampledDpEvent(1.0, GAUSSIAN),
        ]
    )
    releases = read(event)
    assert releases.private
    assert releases.counts == (
        (Release("gaussian", 0.1, 1.0), 10),
        (Release("gaussian", 1.0, 1.0), 1),
        (Release("laplace", 1.0, 2.0), 3),
    )


def test_one_bare_release_makes_everything_non_private():
    event = dp.ComposedDpEvent([GAUSSIAN, dp.SelfComposedDpEvent(dp.NonPrivateDpEvent(), 5)])
    assert not read(event).private
