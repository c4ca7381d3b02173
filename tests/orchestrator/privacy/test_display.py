"""What is shown is never better than what is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.privacy.display import round_up


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(7.9911, 3, 8.0), (8.0, 3, 8.0), (0.70001, 2, 0.71), (12.341, 3, 12.4), (99.95, 3, 100.0), (0.0, 3, 0.0)],
)
def test_examples(value, digits, shown):
    assert round_up(value, digits) == shown


def test_infinity_stays():
    assert round_up(math.inf, 3) == math.inf


@given(st.floats(1e-6, 1e6), st.integers(1, 6))
def test_never_below_and_never_far_above(value, digits):
    shown = round_up(value, digits)
    assert value <= shown <= value * (1 + 10.0 ** (1 - digits)) * (1 + 1e-12)
    assert float(f"{shown:.{digits}g}") == shown
