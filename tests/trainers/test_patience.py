"""How long a hanging rank is waited for: enough for any step, and no length that tells how long a step was."""

from datetime import timedelta

import pytest

from trainers.patience import FIRST_S, FLOOR_S, MULTIPLE, Patience


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def after_steps(*lengths_s: float, fixed_s: float | None = None) -> Patience:
    clock = Clock()
    patience = Patience(fixed_s, clock)
    for length_s in lengths_s:
        patience.begin()
        clock.now_s += length_s
        patience.end()
        clock.now_s += 5000.0  # a score, which is no step
    return patience


@pytest.mark.parametrize("fixed_s", [None, 5.0, 10 * FIRST_S])
def test_the_first_step_of_every_run_may_take_long(fixed_s):
    first = timedelta(seconds=max(FIRST_S, fixed_s or 0.0))
    patience = after_steps(1.0, fixed_s=fixed_s)
    assert Patience(fixed_s).length == first
    patience.begin_run()
    assert patience.length == first


@pytest.mark.parametrize("lengths_s", [(0.001,), (3.0, 1.0), (70.0, 2.0), (76.0,), (5000.0, 1.0)])
def test_what_is_learned_is_ample_and_shows_as_doublings_alone(lengths_s):
    length_s = after_steps(*lengths_s).length.total_seconds()
    assert length_s >= max(FLOOR_S, MULTIPLE * max(lengths_s))
    doublings = length_s / FLOOR_S
    assert doublings == int(doublings)
    assert int(doublings).bit_count() == 1
    assert length_s == FLOOR_S or length_s < 2 * MULTIPLE * max(lengths_s)


def test_a_setting_is_taken_as_it_stands():
    assert after_steps(1.0, 1000.0, fixed_s=7.0).length == timedelta(seconds=7)
