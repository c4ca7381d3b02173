"""Every example configuration loads and can be planned from a clone, before any data is there."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from orchestrator import Sweep
from orchestrator.config.loading import load_run
from trainers.methods.catalogue import METHODS

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_example_loads_and_is_planned(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = Sweep(path)
    plan, epsilon, method = sweep.plan(), sweep.config.privacy.epsilon, sweep.config.method
    if METHODS[method.name].private:
        assert epsilon is not None
        assert 0.98 * epsilon < plan.epsilon <= epsilon
    else:
        assert plan.epsilon == math.inf
    if METHODS[method.name].order == "zeroth":
        assert plan.estimate.forward_passes == plan.num_trials * method.num_probes * method.num_steps
    assert load_run(path).method == method


def test_every_method_has_an_example():
    assert {load_run(path).method.name for path in CONFIGS} == set(METHODS)


def test_delta_is_below_one_over_the_number_of_examples():
    for path in CONFIGS:
        config = load_run(path)
        assert config.privacy.delta < 1 / config.data.num_examples, path
