"""Which block each direction of a step moves (`method.support: layer`), and what releases teach about the shares.

A released g_k along z_k of block b is (1/K) ⟨∇_b, z_k⟩ / √p_b + noise, so p_b K² (g_k² − E noise²) has the mean ‖∇_b‖².
`block_shares: learned` keeps a fading mean of that for each block.

Formal guarantees: shares depend on public constants and earlier releases alone. They are post-processing, which costs
no privacy, and a replay of the release log finds the same ones.
"""

from collections.abc import Mapping

import numpy as np

from trainers.config import MethodConfig
from trainers.directions.blocks import drawn, learned_shares, shares_by_size
from trainers.directions.counter import Block
from trainers.evaluators.base import ParameterSpace
from trainers.mechanism.plan import MechanismPlan
from trainers.methods.transforms.base import State
from trainers.methods.transforms.shrinkage import noise_variance

DECAY = 0.98  # of an observation, a step
BLOCK_ENERGY = "block energy"
"""Key of the state in a snapshot: the sums of all blocks, then the sums of their weights."""


class BlockShares:
    """The shares of the blocks at each step of a run, and the draws by them."""

    def __init__(self, config: MethodConfig, parameters: ParameterSpace) -> None:
        self._config, self._blocks = config, parameters.blocks()
        self._totals = [0.0] * len(self._blocks)
        self._weights = [0.0] * len(self._blocks)

    def draw(self, step: int) -> list[tuple[Block, float]]:
        """Return the block of each direction and its share; before `learn` of the same step."""
        shares = self._shares()
        numbers = drawn(self._config.seed, step, shares, self._config.num_directions)
        return [(self._blocks[number], shares[number]) for number in numbers]

    def learn(self, step: int, values_K: np.ndarray, plan: MechanismPlan) -> None:
        """Take in the release of a step: g, float64 [K], nats per parameter unit."""
        if self._config.block_shares == "size":
            return
        shares, size = self._shares(), float(len(values_K))
        numbers = drawn(self._config.seed, step, shares, len(values_K))
        noise = 0.0 if plan.clip_norm is None else noise_variance(plan) * plan.clip_norm**2
        self._totals = [DECAY * total for total in self._totals]
        self._weights = [DECAY * weight for weight in self._weights]
        for number, value in zip(numbers, map(float, values_K), strict=True):
            self._totals[number] += shares[number] * size * size * (value * value - noise)
            self._weights[number] += 1.0

    def state(self) -> dict[str, State]:
        return {BLOCK_ENERGY: [*self._totals, *self._weights]} if self._config.block_shares == "learned" else {}

    def restore(self, state: Mapping[str, State]) -> None:
        """Take up what `state` returned."""
        if BLOCK_ENERGY in state:
            count = len(self._blocks)
            self._totals, self._weights = list(state[BLOCK_ENERGY][:count]), list(state[BLOCK_ENERGY][count:])

    def _shares(self) -> list[float]:
        if self._config.block_shares == "size":
            return shares_by_size(self._blocks)
        return learned_shares(self._blocks, self._totals, self._weights)
