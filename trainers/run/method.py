"""One method at work: schedules, stages, directions, differences and updates of one run, step after step.

A run calls `enter` before each step, fresh or replayed, and `update` with each release. Everything here is a function
of public values (configuration, plan, released vectors, weights that releases made), so a replay from step 0 passes
through the same states, and a run that is taken up in the middle of a stage finds its anchor and its mask again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import numpy as np

from trainers.config import MethodConfig
from trainers.config.schedules import as_function, stage_starts
from trainers.directions import WeightedDirections
from trainers.directions.frames import raw_direction, scaled
from trainers.evaluators.base import LossEvaluator, Probe
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.release_log import Transcript
from trainers.run.estimator import Estimator
from trainers.run.pruning import Pruning
from trainers.run.released import ReleasedValues
from trainers.workers.ranks import Ranks


class Method:
    """The configured method over one evaluator.

    Args:
        config: the `method` section.
        plan: the run's mechanism; its clip_norm is that of step 0.
        evaluator: holds θ.
        log: takes the public numbers of a mask.
        ranks: which rank 0 tells them to.

    Formal guarantees:
        `plan_at` changes the clip norm alone; σ is a multiple of the clip in force and the grid has 2**30 units a clip,
        so the event and the integer law of the noise are those of `plan` at every step.
    """

    def __init__(
        self,
        config: MethodConfig,
        plan: MechanismPlan,
        evaluator: LossEvaluator,
        log: Transcript,
        ranks: Ranks | None = None,
    ) -> None:
        self._config, self._plan, self._evaluator = config, plan, evaluator
        self._starts = stage_starts(config.num_steps, config.stage_steps)
        schedule = partial(as_function, num_steps=config.num_steps, starts=self._starts)
        self._clip_norm, self._learning_rate = schedule(config.clip_norm), schedule(config.learning_rate)
        self._estimator = Estimator(
            config.num_directions, config.difference, schedule(config.smoothing), self._directions
        )
        self._released = ReleasedValues(config.shrinkage)
        self._drawn: tuple[int, WeightedDirections] | None = None
        if config.mask is not None:
            self._keep = schedule(config.mask.keep)
            self._pruning = Pruning(
                config.mask, config.direction, config.direction_rank, config.seed, evaluator, log, ranks or Ranks()
            )

    def enter(self, step: int) -> None:
        """Begin a step: at the first one of a stage, set the anchor and make the mask. No private data is read."""
        if step not in self._starts:
            return
        if self._config.proximal:
            self._evaluator.parameters.set_anchor()
        if self._config.mask is not None:
            self._pruning.enter(self._starts.index(step), step, self._keep(step))

    def state(self) -> dict[str, list[float]]:
        """Return what it remembers of released values; the rest is in the parameters, or follows from the step."""
        return self._released.state()

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Go on from a state."""
        self._released.restore(state)

    def plan_at(self, step: int) -> MechanismPlan:
        """Return the plan with the clip norm in force."""
        if self._plan.clip_norm is None:
            return self._plan
        return dataclasses.replace(self._plan, clip_norm=self._clip_norm(step))

    def propose(self, step: int) -> list[Probe]:
        """Return the probes of a step."""
        return self._estimator.propose(step)

    def values(self, step: int, losses_PB: np.ndarray) -> np.ndarray:
        """Return each example's K-vector, float64 [B, K], from losses [P, B] in nats. Private."""
        return self._estimator.values(step, losses_PB)

    def update(self, step: int, noisy_K: np.ndarray) -> None:
        """Move θ by a release: θ ← θ − η (Σ_k g_k z_k + ρ (θ − θ_s)), post-processing."""
        rate, momentum = self._learning_rate(step), self._config.momentum
        mean_K = self._released.mean(noisy_K, self.plan_at(step))
        if self._config.proximal:
            self._evaluator.parameters.pull(rate * self._config.proximal)
        weights = [-rate * (1.0 - momentum) * float(g) for g in mean_K]
        moves = [(z, weight * scale) for weight, (z, scale) in zip(weights, self._directions(step), strict=True)]
        self._evaluator.apply(moves, momentum=momentum)

    def _directions(self, step: int) -> WeightedDirections:
        """Return the K directions of a step with their scales; its probes and its update ask for the same ones."""
        if self._drawn is None or self._drawn[0] != step:
            config = self._config
            directions = [
                raw_direction(config.direction, config.seed, step, k, config.direction_rank)
                for k in range(config.num_directions)
            ]
            self._drawn = step, scaled(config.direction, directions, self._evaluator.parameters)
        return self._drawn[1]


def smallest_resolution(config: MethodConfig) -> tuple[float, float]:
    """Return (λ, C) of the step where rounding matters most: where λ · C is smallest."""
    starts = stage_starts(config.num_steps, config.stage_steps)
    smoothing = as_function(config.smoothing, config.num_steps, starts)
    clip_norm = as_function(config.clip_norm, config.num_steps, starts)
    pairs = ((smoothing(step), clip_norm(step)) for step in range(config.num_steps))
    return min(pairs, key=lambda pair: pair[0] * pair[1])
