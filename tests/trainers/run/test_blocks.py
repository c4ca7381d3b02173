"""Shares of blocks that are learned from releases: noise subtracted, no private number, the same on replay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.quadratic import MATRICES, Quadratic
from tests.support.runs import open_run, plan_of, run_config
from trainers.config import RunConfig
from trainers.directions.blocks import FLOOR, shares_by_size
from trainers.mechanism.tokens import LocalTokens
from trainers.methods.transforms.shrinkage import noise_variance
from trainers.run.blocks import BlockShares

K = 4


def config_of(**method: Any) -> RunConfig:
    changes = {"num_directions": K, "support": "layer", "block_shares": "learned", "num_steps": 8, **method}
    return run_config(**{f"method__{name}": value for name, value in changes.items()})


def quadratic() -> Quadratic:
    return Quadratic(shapes=MATRICES, start=1.0)


def learned_from(signal_of: dict[int, float], steps: int = 300) -> tuple[list[float], list[float]]:
    """Return learned shares and those by size, after releases of ±signal / (K √p) of each block and noise."""
    config, parameters, random = config_of(), quadratic().parameters, np.random.default_rng(0)
    shares, plan, blocks = BlockShares(config.method, parameters), plan_of(config), parameters.blocks()
    assert plan.clip_norm is not None
    noise = np.sqrt(noise_variance(plan)) * plan.clip_norm
    for step in range(steps):
        drawn = shares.draw(step)
        values = [
            signal_of.get(blocks.index(block), 0.0) * random.choice([-1, 1]) / (K * np.sqrt(share))
            for block, share in drawn
        ]
        shares.learn(step, np.array(values) + noise * random.standard_normal(K), plan)
    return shares._shares(), shares_by_size(blocks)


def test_shares_grow_where_releases_show_energy_beyond_the_noise():
    shares, by_size = learned_from({1: 5.0})
    assert sum(shares) == pytest.approx(1.0)
    assert shares[1] > 1.5 * by_size[1]
    assert all(FLOOR * least <= share for share, least in zip(shares, by_size, strict=True))


def test_equal_energy_keeps_the_shares_by_size():
    """Also where the shares differ: what a block's share does to g is undone."""
    shares, by_size = learned_from({0: 5.0, 1: 5.0, 2: 5.0})
    assert shares == pytest.approx(by_size, rel=0.05)


def test_a_release_as_large_as_its_noise_shows_no_energy():
    config = config_of()
    shares, plan = BlockShares(config.method, quadratic().parameters), plan_of(config)
    assert plan.clip_norm is not None
    noise = np.sqrt(noise_variance(plan)) * plan.clip_norm
    shares.learn(0, np.full(K, noise), plan)
    assert shares._totals == pytest.approx(np.zeros(len(shares._totals)), abs=1e-9 * noise**2)
    shares.learn(1, np.full(K, 2 * noise), plan)
    assert sum(shares._totals) > 0


def test_learned_shares_are_a_function_of_the_log(tmp_path):
    """A run, its replay, and a run on other private rows with these releases draw the same blocks."""
    config, first = config_of(), quadratic()
    run = open_run(tmp_path, config, evaluator=first, sampler=FrozenSampler([range(9)] * 8), noise=FrozenNoise(3))
    with run.log:
        list(run.segments())
    again = quadratic()
    replayed = open_run(tmp_path, config, evaluator=again, tokens=LocalTokens(0), num_examples=0)
    with replayed.log:
        replayed.replay()
    assert again.updates == first.updates
    assert again.state_digest() == first.state_digest()
    method, other = run._context.method, replayed._context.method
    assert method.state() == other.state()
    assert method._blocks is not None
    assert method._blocks._shares() != shares_by_size(first.parameters.blocks())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"support": "all"}, "block_shares: learned needs support: layer"),
        ({"direction": "public-gradient", "direction_rank": 2}, "support: layer cuts a direction down to a layer"),
        ({"name": "dp-zopo", "stage_steps": 2, "mask": {"keep": 0.5}}, "support: layer and mask both say"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, line):
    with pytest.raises(ValueError, match=line):
        config_of(**settings)
