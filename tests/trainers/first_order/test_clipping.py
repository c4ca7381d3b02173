import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainers.first_order.conftest import ONE_TOKEN, UNEQUAL_OPTIONS
from trainers.first_order.clipping import MARGIN, add_clipped
from trainers.first_order.gradients import UnitGradients

NAMES = {"a": (3, 2), "b": (5,)}


def clipped(passes, clip_norm, shapes=None):
    total = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in (shapes or NAMES).items()}
    add_clipped(total, passes, clip_norm)
    return total


def norm(total) -> float:
    """The L2 norm, exactly rounded."""
    return math.sqrt(math.fsum(float(value) ** 2 for tensor in total.values() for value in tensor.flatten()))


def one_unit(values: list[float]):
    both = torch.tensor(values, dtype=torch.float32)
    return {"a": both[:6].view(1, 3, 2), "b": both[6:].view(1, 5)}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=11, max_size=11),
    st.floats(1e-6, 1e6),
)
def test_no_unit_contributes_more_than_the_clip(values, clip_norm):
    total = clipped([one_unit(values)], clip_norm)
    assert norm(total) <= clip_norm
    if not all(map(math.isfinite, values)):
        assert norm(total) == 0


@pytest.mark.parametrize("dimension", [1, 1000, 300_000])
def test_the_bound_holds_in_many_dimensions(dimension):
    gradient = {"a": torch.rand(1, dimension, generator=torch.Generator().manual_seed(1)) + 0.5}
    total = clipped([gradient], 0.1, {"a": (dimension,)})
    assert 0.1 * (1 - 2 * MARGIN) < norm(total) <= 0.1


def test_a_small_gradient_stays_as_it_is():
    gradient = one_unit([0.01 * number for number in range(11)])
    total = clipped([gradient], 1.0)
    assert torch.equal(total["a"], gradient["a"][0].double())
    assert torch.equal(total["b"], gradient["b"][0].double())


def test_units_are_clipped_each_by_itself():
    two = {"a": torch.stack([torch.full((3, 2), 100.0), torch.full((3, 2), -1e-3)]), "b": torch.zeros(2, 5)}
    total = clipped([two], 1.0)
    assert torch.allclose(total["a"], torch.full((3, 2), 1 / math.sqrt(6) - 1e-3, dtype=torch.float64), atol=1e-6)


def test_one_unit_that_is_not_finite_takes_no_other_with_it():
    two = {"a": torch.ones(2, 3, 2), "b": torch.ones(2, 5)}
    two["b"][1, 4] = torch.nan
    for clip_norm in (0.5, None):
        total = clipped([two], clip_norm)
        alone = clipped([{name: gradient[:1] for name, gradient in two.items()}], clip_norm)
        assert all(torch.equal(total[name], alone[name]) for name in total)


def test_without_a_clip_gradients_are_added_as_they_are():
    assert norm(clipped([one_unit([30.0] * 11), one_unit([30.0] * 11)], None)) == pytest.approx(60 * math.sqrt(11))


@pytest.mark.parametrize("by_opacus", [True, False])
def test_one_example_more_moves_the_sum_by_at_most_the_clip(evaluator_of, by_opacus):
    """The sensitivity, of real gradients over full parameters with a tied embedding."""
    evaluator = evaluator_of("llama-tied")
    gradients = UnitGradients(evaluator, 4096, by_opacus=by_opacus)
    others = [[one] for one in [*ONE_TOKEN, *UNEQUAL_OPTIONS]]
    shapes = {name: tuple(theta.shape) for name, theta in evaluator.parameters.theta().items()}
    for clip_norm in (1e-3, 0.5, 1e3):
        for canary in ([ONE_TOKEN[1]], [UNEQUAL_OPTIONS[1]]):
            without = clipped(gradients(others), clip_norm, shapes)
            with_it = clipped(gradients([*others, canary]), clip_norm, shapes)
            moved = norm({name: with_it[name] - without[name] for name in shapes})
            # the neighbours' gradients may change in their last digits with the pass that they share
            assert 0 < moved <= clip_norm * (1 + 1e-5)
