"""Every example configuration loads and can be planned from a clone, before any data is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import Sweep
from orchestrator.config import load_run

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_example_loads_and_is_planned(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = Sweep(path)
    epsilon = sweep.config.privacy.epsilon
    assert epsilon is not None
    assert 0.98 * epsilon < sweep.plan().epsilon <= epsilon
    assert sweep.plan().estimate.forward_passes == sweep.plan().num_trials * (
        2 * sweep.config.method.num_directions * sweep.config.method.num_steps
    )
    assert load_run(path).method == sweep.config.method


def test_delta_is_below_one_over_the_number_of_examples():
    for path in CONFIGS:
        config = load_run(path)
        assert config.privacy.delta < 1 / config.data.num_examples, path
