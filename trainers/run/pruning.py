"""Data-free pruning masks: which parameters DP-ZOPO's directions move, from weights and a constant input alone.

Liu et al. (2024), arXiv:2402.07818, rank parameters with pruning scores that need no data. R is the model's mean output
for a row of one constant token. Its slopes are measured as everything here is, by differences along K′ public
directions, so that a mask needs forward passes only:

    magnitude   |θ_i|
    synflow     |θ_i · ∂R/∂θ_i| at |θ|, after Tanaka et al. (2020), arXiv:2006.05467

What is measured is K′ numbers. They are written to the release log as public values: with the public directions they
give scores whose bits are the same anywhere, so a replay on another machine finds the same mask although its forward
passes round differently. The mask's digest stands beside them: a replay that finds another one, as where a device
rounds normal values in its own way, is refused.

Formal guarantees: nothing here takes an example; the mask is a function of the base weights, the public key and what
was released before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from trainers.config.mask import MaskConfig
from trainers.directions import Direction
from trainers.directions.frames import DirectionLaw, raw_direction
from trainers.evaluators.base import LossEvaluator, OutputPoint
from trainers.mechanism.release_log import Transcript
from trainers.workers.ranks import Ranks

FIRST_INDEX = 4096  # beyond the directions of any step


class Pruning:
    """Makes the mask of each stage.

    Args:
        mask: how.
        law, rank, seed: of the run's directions.
        evaluator: asked for the answer to its constant input.
        log: where the measured numbers are written, and read when they are there.
        ranks: which rank 0 tells what it measured, so that all of them make one mask.
    """

    def __init__(
        self,
        mask: MaskConfig,
        law: DirectionLaw,
        rank: int,
        seed: int,
        evaluator: LossEvaluator,
        log: Transcript,
        ranks: Ranks,
    ) -> None:
        self._law: DirectionLaw = law
        self._mask, self._rank, self._seed = mask, rank, seed
        self._evaluator, self._log, self._ranks = evaluator, log, ranks

    def enter(self, stage: int, first_step: int, keep: float) -> None:
        """Make the mask of a stage, if its strategy makes one there.

        Raises:
            ValueError: it would keep nothing, or nothing that the model's output depends on, or it is not the mask that
                the log was written with.
        """
        if stage > 0 and self._mask.strategy == "static":
            return
        directions = [
            raw_direction(self._law, self._seed, first_step, FIRST_INDEX + k, self._rank)
            for k in range(self._mask.num_directions)
        ]
        is_new = stage >= len(self._log.public_values)
        measure = partial(self._finite_slopes, directions)
        slopes = self._ranks.broadcast(measure) if is_new else self._log.public_values[stage]
        self._evaluator.parameters.restrict(
            [(z, slope / len(directions)) for z, slope in zip(directions, slopes, strict=False)],
            keep=keep,
            per_tensor=self._mask.rank == "tensor",
            nested=self._mask.strategy == "incremental",
        )
        if is_new:  # written when it is known to serve: a run that was refused is refused again
            self._require_a_say(directions[0])
            self._log.publish(stage, slopes, self._evaluator.parameters.mask_digest())
        else:
            self._require_same_mask(stage)

    def _require_same_mask(self, stage: int) -> None:
        known = self._log.mask_digests[stage]
        if known is not None and known != self._evaluator.parameters.mask_digest():
            raise ValueError(
                f"method.mask: {self._log.path} was written with another mask at its stage {stage}: this machine, "
                "device or version rounds θ or the directions otherwise, and the weights would silently be others. Go "
                "on where the run began, or give this one another name."
            )

    def _require_a_say(self, direction: Direction) -> None:
        """Refuse a mask that the output does not depend on: the run would add up noise."""
        points = [OutputPoint(((direction, sign * self._mask.smoothing),), "on the mask") for sign in (1.0, -1.0)]
        one, other = self._evaluator.public_outputs(points)
        if one == other:
            raise ValueError(
                "method.mask: the model's output does not depend on the parameters that are kept (of a fresh adapter "
                "only the first factors, perhaps). Use mask.scores: synflow, mask.rank: tensor, or a larger mask.keep"
            )

    def _finite_slopes(self, directions: Sequence[Direction]) -> list[float]:
        slopes = self._slopes(directions)
        if not all(math.isfinite(slope) for slope in slopes):
            raise ValueError(
                "method.mask: the model's output for a constant input is not finite; choose mask.scores: magnitude"
            )
        return slopes

    def _slopes(self, directions: Sequence[Direction]) -> list[float]:
        """Return the slope of R along each direction, at |θ|."""
        if self._mask.scores == "magnitude":
            return []
        radius = self._mask.smoothing
        points = [OutputPoint(((z, sign * radius),), "magnitudes") for z in directions for sign in (1.0, -1.0)]
        outputs = self._evaluator.public_outputs(points)
        return [(plus - minus) / (2.0 * radius) for plus, minus in zip(outputs[0::2], outputs[1::2], strict=True)]
