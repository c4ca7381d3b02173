"""Groups: whose examples they are, which of them count, and their mean. False alarms: less than once in 10^5 runs."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from tests.support.quadratic import example
from trainers.mechanism.units import choose, unit_means, units_of

EXAMPLES = [example(number) for number in range(6)]


def numbers(group) -> list[int]:
    return [one.prompt_ids[0] for one in group]


def test_without_users_every_example_is_its_own_group():
    assert units_of(EXAMPLES, None) == [(one,) for one in EXAMPLES]
    assert units_of([], None) == units_of([], []) == []


def test_users_own_their_examples_in_order():
    groups = units_of(EXAMPLES, ["b", "a", "b", "c", "a", "b"])
    assert [numbers(group) for group in groups] == [[0, 2, 5], [1, 4], [3]]
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own words
        units_of(EXAMPLES, ["a"])


def test_every_pair_of_a_users_examples_is_equally_likely_and_fresh():
    group = tuple(EXAMPLES[:4])
    drawn = Counter(tuple(sorted(numbers(choose(group, 2)))) for _ in range(6000))
    assert len(drawn) == 6
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-6
    assert choose(group, 4) == choose(group, 9) == choose(group, None) == group


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, (7, 3), elements=st.floats(allow_nan=True, allow_infinity=True, width=64)))
def test_groups_of_one_are_left_bit_for_bit(values_BK):
    assert unit_means(values_BK, [1] * 7).tobytes() == values_BK.tobytes()


def test_means_count_what_is_not_finite_as_nothing():
    values_BK = np.array([[1.0, np.nan], [3.0, 4.0], [np.inf, 1.0], [-np.inf, 1.0], [1.0, 1.0], [7.0, 8.0]])
    expected = [[2.0, 2.0], [1 / 3, 1.0], [7.0, 8.0]]
    np.testing.assert_allclose(unit_means(values_BK, [2, 3, 1]), expected)
    assert unit_means(np.empty((0, 2)), []).shape == (0, 2)


def test_huge_values_do_not_overflow():
    largest = np.finfo(np.float64).max
    assert unit_means(np.full((4, 1), largest), [4]).tolist() == [[largest]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_a_groups_mean_depends_on_its_own_examples_alone(sizes, random):
    values_BK = np.array([[random.uniform(-9, 9)] for _ in range(sum(sizes))])
    alone = [unit_means(part, [len(part)])[0, 0] for part in np.split(values_BK, np.cumsum(sizes)[:-1])]
    np.testing.assert_allclose(unit_means(values_BK, sizes)[:, 0], alone, atol=1e-12)
