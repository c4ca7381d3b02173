"""The law of the batches. Each test fails by chance less than once in 10^5 runs."""

import numpy as np
import pytest

from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.sampling import PoissonSampler


def sampler(sampling_prob: float, num_examples: int) -> PoissonSampler:
    return PoissonSampler(MechanismPlan(sampling_prob, 4.0, 1, 1, 1.0, 1.0), num_examples)


@pytest.mark.parametrize(("claimed", "accepted"), [(0.009, False), (0.01, True), (0.011, False)])
def test_rows_join_with_the_planned_probability(claimed, accepted):
    draw, rows, times = sampler(0.01, 10_000), 10_000, 400
    joined = sum(len(draw.draw()) for _ in range(times))
    deviation = abs(joined - rows * times * claimed) / np.sqrt(rows * times * claimed)
    assert (deviation < 4.5) == accepted


def test_batch_size_is_binomial_and_rows_are_independent():
    draw = sampler(0.1, 200)
    masks = np.zeros((4000, 200))
    for mask in masks:
        mask[draw.draw()] = 1
    sizes = masks.sum(axis=1)
    assert abs(sizes.var() / (200 * 0.1 * 0.9) - 1) < 4.5 * np.sqrt(2 / 4000)
    assert abs(np.corrcoef(masks[:, :-1].ravel(), masks[:, 1:].ravel())[0, 1]) < 4.5 / np.sqrt(masks.size)


def test_certain_and_impossible_rows():
    assert sampler(1.0, 7).draw().tolist() == list(range(7))
    assert sampler(0.5, 0).draw().tolist() == []


def test_two_samplers_never_draw_the_same():
    first, second = sampler(0.5, 256), sampler(0.5, 256)
    assert not np.array_equal(first.draw(), second.draw())
