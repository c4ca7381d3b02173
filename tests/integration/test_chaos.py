"""Processes of a sweep are killed, one after the other; it finishes, and every step is accounted for.

DPZO_CHAOS_KILLS=30 python -m pytest tests/integration/test_chaos.py    # the long form; see benchmarks/chaos.py too
DPZO_CHAOS_WORKERS=2: this many workers a trial, through Ray Train
DPZO_CHAOS_ELASTIC=3000: also a run of this many steps that goes from one worker to two and back; about five minutes
"""

import os

import pytest

from tests.support.chaos import KINDS, Chaos, require_all_accounted
from tests.support.elastic import Elastic, require_elastic

KILLS = int(os.environ.get("DPZO_CHAOS_KILLS", "2"))
WORKERS = int(os.environ.get("DPZO_CHAOS_WORKERS", "1"))
ELASTIC = int(os.environ.get("DPZO_CHAOS_ELASTIC", "0"))


def test_a_sweep_survives_the_kill_of_any_of_its_processes(tmp_path):
    """In its short form of those that no other test kills: test_sweep kills a driver, test_workers a worker."""
    kinds = KINDS if len(KINDS) <= KILLS else ("node", "rank 0")
    chaos = Chaos(tmp_path, KILLS, num_steps=20 * KILLS, workers=WORKERS, kinds=kinds)
    require_all_accounted(chaos, chaos.run())
    assert chaos.killed.total() == KILLS
    assert set(chaos.killed) == set(kinds)


def test_a_sweep_whose_head_is_lost_stops_with_one_line_and_goes_on_elsewhere(tmp_path):
    chaos = Chaos(tmp_path, 1, num_steps=10, workers=WORKERS)
    require_all_accounted(chaos, chaos.run_through_a_lost_head())
    said = [line for line in (tmp_path / "err").read_text().splitlines() if line.startswith("Stopped:")]
    assert len(said) == 1
    assert "is gone" in said[0]
    assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.skipif(not ELASTIC, reason="long; set DPZO_CHAOS_ELASTIC")
def test_a_run_grows_and_shrinks_with_its_cluster(tmp_path):
    elastic = Elastic(tmp_path, ELASTIC)
    require_elastic(elastic, elastic.run())
