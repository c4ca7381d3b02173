"""The configured method of one run: schedules, stages, directions, differences and updates.

A run calls `enter` before each step, fresh or replayed, and `update` with each release. Everything here is a function
of public values: configuration, plan, released vectors, and weights that releases made. So a replay passes through the
same states, and a run that is resumed in the middle of a stage finds its anchor and its mask again.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from trainers.config import MethodConfig
from trainers.config.auto import AutoClip, AutoRate
from trainers.directions import WeightedDirections
from trainers.directions.frames import raw_direction, scaled
from trainers.evaluators.base import LossEvaluator, Probe
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.release_log import Transcript
from trainers.methods.catalogue import METHODS
from trainers.methods.transforms.base import Chain, State, Update
from trainers.run.auto_clip import FollowedClip
from trainers.run.auto_rate import RateOfNoise
from trainers.run.blocks import BLOCK_ENERGY, BlockShares
from trainers.run.estimator import Estimator
from trainers.run.pruning import Pruning
from trainers.run.public_basis import PublicBasis
from trainers.workers.ranks import Ranks

_CLIP = "clip_norm"  # names the clip that follows releases in a snapshot


class Method:
    """The configured method over one evaluator.

    Args:
        plan: the run's mechanism; its clip_norm is that of step 0.
        log, ranks: record and share the public numbers of a mask.
        basis: makes the basis of directions that lie in one.

    Formal guarantees:
        `plan_at` changes the clip norm alone. σ is a multiple of the clip in force, and the grid has 2**30 units a
        clip, so at every step the event and the integer law of the noise are those of `plan`. The clip norm is a
        function of the step, or of the releases before it.
    """

    def __init__(
        self,
        config: MethodConfig,
        plan: MechanismPlan,
        evaluator: LossEvaluator,
        log: Transcript,
        ranks: Ranks | None = None,
        basis: PublicBasis | None = None,
    ) -> None:
        self._config, self._plan, self._evaluator = config, plan, evaluator
        self._auto_rate = None
        if isinstance(config.learning_rate, AutoRate):
            self._auto_rate = RateOfNoise(config.learning_rate, config.num_steps, evaluator.parameters)
        self._auto_clip = FollowedClip(config.clip_norm) if isinstance(config.clip_norm, AutoClip) else None
        self._estimator = Estimator(
            config.num_directions, config.difference, config.as_function(config.smoothing), self._directions
        )
        self._chain = Chain(METHODS[config.name].transforms(config))
        self._states = self._chain.init()
        self._drawn: tuple[int, WeightedDirections] | None = None
        self._basis = basis
        self._blocks = BlockShares(config, evaluator.parameters) if config.support == "layer" else None
        if config.mask is not None:
            self._pruning = Pruning(config, evaluator, log, ranks or Ranks())

    def enter(self, step: int) -> None:
        """Begin a step. The first one of a stage sets the anchor, and makes mask and basis without private data."""
        starts = self._config.stage_starts
        if step not in starts:
            return
        if self._basis is not None:
            self._basis.enter(starts.index(step))
        if self._chain.needs_anchor:
            self._evaluator.parameters.set_anchor()
        if self._config.mask is not None:
            self._pruning.enter(starts.index(step))

    def state(self) -> dict[str, State]:
        """Return the states of transforms, shares and a clip that follows; the rest is in θ, or follows from t."""
        clip = {} if self._auto_clip is None else {_CLIP: (self._auto_clip.norm,)}
        return {**self._states, **clip, **({} if self._blocks is None else self._blocks.state())}

    def can_restore(self, steps: int) -> bool:
        """Return whether what a stage began with is at hand, to take it up after so many steps."""
        return self._basis is None or self._basis.is_stored(self._stage_of(steps))

    def restore(self, state: Mapping[str, State], steps: int) -> None:
        """Take up the states after so many steps, in the middle of a stage or at its end."""
        self._states = {key: values for key, values in state.items() if key not in (_CLIP, BLOCK_ENERGY)}
        if self._auto_clip is not None:
            (self._auto_clip.norm,) = state[_CLIP]
        if self._blocks is not None:
            self._blocks.restore(state)
        if self._basis is not None:
            self._basis.enter(self._stage_of(steps))

    def _stage_of(self, steps: int) -> int:
        """Return the stage of the last of so many steps."""
        return sum(start < steps for start in self._config.stage_starts) - 1

    def plan_at(self, step: int) -> MechanismPlan:
        """Return the plan with the clip norm in force; one that follows releases is known for the next step alone."""
        if self._plan.clip_norm is None:
            return self._plan
        if self._auto_clip is not None:
            return dataclasses.replace(self._plan, clip_norm=self._auto_clip.norm)
        return dataclasses.replace(self._plan, clip_norm=self._config.as_function(self._config.clip_norm)(step))

    def propose(self, step: int) -> list[Probe]:
        return self._estimator.propose(step)

    def values(self, step: int, losses_PB: np.ndarray) -> np.ndarray:
        """Return each example's K-vector, float64 [B, K], from losses [P, B] in nats. Private."""
        return self._estimator.values(step, losses_PB)

    def update(self, step: int, noisy_K: np.ndarray) -> None:
        """Move θ by a release: θ ← θ − η (Σ_k g_k z_k + ρ (θ − θ_s)), post-processing; then a clip that follows it."""
        rate, plan = self._rate(step), self.plan_at(step)
        released = Update(noisy_K[: plan.num_directions] * plan.grid_unit / plan.expected_batch_size)
        if self._auto_clip is not None:
            self._auto_clip.follow(int(noisy_K[-1]), plan)
        update, self._states = self._chain.update(released, self._states, plan)
        if update.pull:
            self._evaluator.parameters.pull(rate * update.pull)
        weights = [-rate * (1.0 - update.momentum) * float(g) for g in update.values_K]
        moves = [(z, weight * scale) for weight, (z, scale) in zip(weights, self._directions(step), strict=True)]
        self._evaluator.apply(moves, momentum=update.momentum)
        if self._blocks is not None:
            self._blocks.learn(step, released.values_K, plan)

    def _rate(self, step: int) -> float:
        if self._auto_rate is not None:
            return self._auto_rate(self.plan_at(step))
        return self._config.as_function(self._config.learning_rate)(step)

    def _directions(self, step: int) -> WeightedDirections:
        """Return the K directions of a step with their scales; kept, since its probes and its update need the same."""
        if self._drawn is None or self._drawn[0] != step:
            config = self._config
            drawn = [(None, 1.0)] * config.num_directions if self._blocks is None else self._blocks.draw(step)
            directions = [
                raw_direction(config.direction, config.seed, step, k, config.direction_rank, block)
                for k, (block, _) in enumerate(drawn)
            ]
            raw = scaled(config.direction, directions, self._evaluator.parameters)
            self._drawn = (
                step,
                [(z, scale / math.sqrt(share)) for (z, scale), (_, share) in zip(raw, drawn, strict=True)],
            )
        return self._drawn[1]


def smallest_resolution(config: MethodConfig) -> tuple[float, float]:
    """Return (λ, C) of the step at which λ · C is smallest, so that rounding matters most; the least C it may reach."""
    least = config.clip_norm.range[0] if isinstance(config.clip_norm, AutoClip) else config.clip_norm
    smoothing, clip_norm = config.as_function(config.smoothing), config.as_function(least)
    pairs = ((smoothing(step), clip_norm(step)) for step in range(config.num_steps))
    return min(pairs, key=lambda pair: pair[0] * pair[1])
