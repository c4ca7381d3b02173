"""Fault histories, each from a seed. Whatever fails, nothing is read without a token, and nothing is released twice.

DPZO_SIMULATED_HISTORIES=5000 python -m pytest tests/simulation/test_histories.py    # the long form, of each kind
DPZO_SIMULATED_FROM=123456: the first seed
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.history import History, wrong_in
from tests.simulation.lanes import LaneHistory
from tests.simulation.workers import WorkerHistory

FIRST = int(os.environ.get("DPZO_SIMULATED_FROM", "0"))
NUM_HISTORIES = {History: 60, WorkerHistory: 36, LaneHistory: 12}  # of each kind
if "DPZO_SIMULATED_HISTORIES" in os.environ:
    NUM_HISTORIES = dict.fromkeys(NUM_HISTORIES, int(os.environ["DPZO_SIMULATED_HISTORIES"]))

# seeds that failed once, with what they found
FAILED = {
    History: {
        20: "a line of a process that was killed before its fsync was used by the next one before it was durable"
    },
    LaneHistory: {
        57: "trials that a clock behind the ledger had ended stayed failed when the clock was right again",
        200021: "the study made a trial and its answer was lost: it was made twice, and one of the two never ran",
    },
}


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind, seeds in FAILED.items() for seed in seeds])
def test_a_history_that_failed_once_goes_well(kind, seed, place):
    assert wrong_in(seed, place, kind=kind) == []


@pytest.mark.parametrize("kind", NUM_HISTORIES)
def test_every_history_goes_well(kind, place):
    seeds = range(FIRST, FIRST + NUM_HISTORIES[kind])
    assert {seed: found for seed in seeds if (found := wrong_in(seed, place, kind=kind))} == {}
