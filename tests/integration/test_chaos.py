"""Processes of a sweep are killed, one after the other; it finishes, and every step is accounted for.

DPZO_CHAOS_KILLS=30 python -m pytest tests/integration/test_chaos.py    # the long form; see benchmarks/chaos.py too
DPZO_CHAOS_WORKERS=2: with so many workers a trial, through Ray Train
"""

import os

from tests.support.chaos import KINDS, Chaos, require_all_accounted

KILLS = int(os.environ.get("DPZO_CHAOS_KILLS", "6"))
WORKERS = int(os.environ.get("DPZO_CHAOS_WORKERS", "1"))


def test_a_sweep_survives_the_kill_of_any_of_its_processes(tmp_path):
    chaos = Chaos(tmp_path, KILLS, num_steps=20 * KILLS, workers=WORKERS)
    require_all_accounted(chaos, chaos.run())
    assert chaos.killed.total() == KILLS
    assert set(chaos.killed) == set(KINDS)
