"""Everything that an accountant would answer wrongly in silence is refused by name."""

from __future__ import annotations

import math

import dp_accounting as dp
import numpy as np
import pytest

from orchestrator.privacy.accountant.events import Release, pure_step, read

GAUSSIAN = dp.GaussianDpEvent(1.0)


class _FancyGaussian(dp.GaussianDpEvent):
    pass


@pytest.mark.parametrize(
    "value", [1, np.float32(1.0), math.nan, math.inf, 0.0, -1.0, True, "1.0", None, 1e-300, 1e300], ids=repr
)
@pytest.mark.parametrize("kind", [dp.GaussianDpEvent, dp.LaplaceDpEvent])
def test_noise_multipliers_that_are_no_positive_finite_floats_are_refused(kind, value):
    with pytest.raises(ValueError, match=r"event\.noise_multiplier"):
        read(kind(value))


@pytest.mark.parametrize("value", [1, np.float32(0.5), math.nan, math.inf, 0.0, -0.1, 1.0000001], ids=repr)
def test_sampling_probabilities_outside_0_1_are_refused(value):
    with pytest.raises(ValueError, match=r"event\.sampling_probability"):
        read(dp.PoissonSampledDpEvent(value, GAUSSIAN))


@pytest.mark.parametrize("value", [0, -1, 2.0, True, np.int64(3), math.nan], ids=repr)
def test_counts_that_are_no_positive_ints_are_refused(value):
    with pytest.raises(ValueError, match=r"event\.count"):
        read(dp.SelfComposedDpEvent(GAUSSIAN, value))


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
        read(dp.PoissonSampledDpEvent(0.1, inside))


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
        read(event)
    with pytest.raises(ValueError, match=r"event\.events\[1\]\.event is .*does not understand"):
        read(dp.ComposedDpEvent([GAUSSIAN, dp.SelfComposedDpEvent(event, 2)]))


@pytest.mark.parametrize("events", [[], (), None, iter([GAUSSIAN])], ids=["list", "tuple", "None", "iterator"])
def test_a_composition_of_nothing_is_refused(events):
    with pytest.raises(ValueError, match=r"event\.events must be a list"):
        read(dp.ComposedDpEvent(events))


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


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.7, 1.0, 16.49, 1e3, 1e6, 1e9])
def test_a_pure_step_is_read_back_with_hardly_more_than_its_epsilon(sigma):
    ((release, count),) = read(dp.PoissonSampledDpEvent(0.1, pure_step(sigma))).counts
    assert (release.noise, release.sampling_prob, count) == ("pure", 0.1, 1)
    excess = 1 / release.noise_multiplier - 1 / sigma
    assert 0 <= excess <= 1e-14 * (1 / sigma + 1)


@pytest.mark.parametrize(
    ("parameter", "buckets", "match"),
    [
        (0.5, 3, "num_buckets must be 2"),
        (0.5, 2.0, "num_buckets must be a Python int"),
        (1.0, 2, "noise_parameter must be in"),
        (0.0, 2, "noise_parameter must be finite and above 0"),
        (math.nan, 2, "noise_parameter must be finite"),
        (np.float32(0.5), 2, "noise_parameter must be a Python float"),
        (1e-301, 2, "noise_parameter must be in"),
    ],
)
def test_randomised_response_that_is_no_pure_step_is_refused(parameter, buckets, match):
    with pytest.raises(ValueError, match=match):
        read(dp.RandomizedResponseDpEvent(parameter, buckets))


@pytest.mark.parametrize("sigma", [0.0, 0.0019, 2e9, math.nan])
def test_pure_steps_out_of_range_are_refused(sigma):
    with pytest.raises(ValueError, match=r"must be in \[0.002, 1e9\]"):
        pure_step(sigma)
