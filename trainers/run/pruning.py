"""Data-free pruning masks: which parameters DP-ZOPO's directions move, from weights and a constant input alone.

Liu et al. (2024), arXiv:2402.07818, rank parameters with pruning scores that need no data. R is the model's mean output
for a row of one constant token. Its slopes are measured by differences along K′ public directions, so that a mask needs
forward passes only:

    magnitude   |θ_i|
    synflow     |θ_i · ∂R/∂θ_i| at |θ|, after Tanaka et al. (2020), arXiv:2006.05467

The K′ slopes are written to the release log as public values. With the public directions they give scores whose bits
are the same on every machine, so that a replay elsewhere finds the same mask although its forward passes round
differently. The log also holds the digest of the mask. A replay that finds another mask is refused.

Formal guarantees: nothing here takes an example. The mask depends on base weights, public key and past releases alone.
"""

import math
from collections.abc import Sequence
from functools import partial

from trainers.config import MethodConfig
from trainers.directions import Direction
from trainers.directions.frames import raw_direction
from trainers.evaluators.base import LossEvaluator, OutputPoint
from trainers.mechanism.release_log import Transcript
from trainers.methods.spec import MOST_DIRECTIONS
from trainers.workers.ranks import Ranks

FIRST_INDEX = MOST_DIRECTIONS  # after the directions of any step


class Pruning:
    """Makes the mask of each stage. Rank 0 measures the slopes for all ranks; `log` records them or has them."""

    def __init__(self, config: MethodConfig, evaluator: LossEvaluator, log: Transcript, ranks: Ranks) -> None:
        assert config.mask is not None, "a method without a mask has no pruning"
        self._config, self._mask = config, config.mask
        self._evaluator, self._log, self._ranks = evaluator, log, ranks

    def enter(self, stage: int) -> None:
        """Make the mask of a stage, if its strategy makes one there.

        ValueError if it would keep nothing, or nothing that the output depends on, or is not the mask in the log.
        """
        if stage > 0 and self._mask.strategy == "static":
            return
        of, first_step = self._config, self._config.stage_starts[stage]
        directions = [
            raw_direction(of.direction, of.seed, first_step, FIRST_INDEX + k, of.direction_rank)
            for k in range(self._mask.num_directions)
        ]
        is_new = stage >= len(self._log.public_values)
        measure = partial(self._finite_slopes, directions)
        slopes = self._ranks.broadcast(measure) if is_new else self._log.public_values[stage]
        self._evaluator.parameters.restrict(
            [(z, slope / len(directions)) for z, slope in zip(directions, slopes, strict=False)],
            keep=of.as_function(self._mask.keep)(first_step),
            per_tensor=self._mask.rank == "tensor",
            nested=self._mask.strategy == "incremental",
        )
        if is_new:  # written after the check, so that a refused run is refused again
            self._require_effect(directions[0])
            self._log.publish(stage, slopes, self._evaluator.parameters.mask_digest())
        else:
            self._require_same_mask(stage)

    def _require_same_mask(self, stage: int) -> None:
        known = self._log.public_digests[stage]
        if known is not None and known != self._evaluator.parameters.mask_digest():
            raise ValueError(
                f"method.mask: {self._log.path} was written with another mask at its stage {stage}: this machine, "
                "device or version rounds θ or the directions differently, and would silently give other weights. "
                "Continue where the run began, or give this run another name."
            )

    def _require_effect(self, direction: Direction) -> None:
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


def require_kept(method: MethodConfig, parameter_count: int) -> None:
    """Refuse a mask that would keep no parameter at some stage; ValueError with the smallest share that keeps one."""
    if method.mask is None:
        return
    smallest = min(map(method.as_function(method.mask.keep), method.stage_starts))
    if int(smallest * parameter_count) < 1:
        raise ValueError(
            f"method.mask: keep {smallest:g} keeps none of {parameter_count:,} parameters; use at least "
            f"{1 / parameter_count:.1e}"
        )
