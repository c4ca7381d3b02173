"""How long a hanging rank is waited for: enough for any step, and no length that tells how long a step was."""

from datetime import timedelta

import pytest

from tests.support.runs import open_run
from trainers.workers.patience import FIRST_S, FLOOR_S, MULTIPLE, Patience
from trainers.workers.ranks import Ranks


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def after_steps(*lengths_s: float, floor_s: float = FLOOR_S) -> Patience:
    clock = Clock()
    patience = Patience(floor_s, clock)
    for length_s in lengths_s:
        patience.begin()
        clock.now_s += length_s
        patience.end()
        clock.now_s += 5000.0  # a score, which is no step
    return patience


@pytest.mark.parametrize("floor_s", [FLOOR_S, 5.0, 10 * FIRST_S])
def test_the_first_step_of_every_run_may_take_long(floor_s):
    first = timedelta(seconds=max(FIRST_S, floor_s))
    patience = after_steps(1.0, floor_s=floor_s)
    assert Patience(floor_s).length == first
    patience.begin_run()
    assert patience.length == first


@pytest.mark.parametrize("floor_s", [FLOOR_S, 7.0])
@pytest.mark.parametrize("lengths_s", [(0.001,), (3.0, 1.0), (70.0, 2.0), (76.0,), (5000.0, 1.0)])
def test_what_is_waited_is_ample_and_shows_as_doublings_alone(lengths_s, floor_s):
    """A setting that steps exceed gives none of them up: that would show in the log which were large."""
    length_s = after_steps(*lengths_s, floor_s=floor_s).length.total_seconds()
    assert length_s >= max(floor_s, MULTIPLE * max(lengths_s))
    doublings = length_s / floor_s
    assert doublings == int(doublings)
    assert int(doublings).bit_count() == 1
    assert length_s == floor_s or length_s < 2 * MULTIPLE * max(lengths_s)


def test_a_run_begins_with_the_patience_of_a_first_step(tmp_path):
    """Workers of a lane take trial after trial: what the last one's steps took says nothing of the next one's first."""
    patience = after_steps(1.0)
    assert patience.length == timedelta(seconds=FLOOR_S)
    with open_run(tmp_path, ranks=Ranks(patience=patience)).log:
        assert patience.length == timedelta(seconds=FIRST_S)
