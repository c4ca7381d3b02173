"""Stubs of an audit: a linear loss in place of a model, given batches in place of a sampler, and no noise.

The loss of row i at θ + s·z_k is base_i + s·K·slope_ik, so that the estimate of row i is slope_i at every θ. Slopes and
scales are dyadic: the estimate is exact in floating point, and the auditor knows a batch's sum without the tested code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from trainers.directions import WeightedDirections
from trainers.errors import DpzoError
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.mechanism.plan import MechanismPlan
from trainers.run.context import Workspace

if TYPE_CHECKING:
    from trainers.evaluators.base import LossEvaluator
    from trainers.evaluators.parameters import Parameters

SMOOTHING = 2.0**-7
HUGE = 1e6  # in multiples of C


class Killed(DpzoError):
    """The run was killed between a reservation and its release."""


def row_example(row: int) -> Example:
    return Example(prompt_ids=(row,), option_ids=(), label=0)


def quiet_slopes(num_rows: int, num_directions: int) -> np.ndarray:
    """Return slopes [N, K] that neither an L1 nor an L2 clip changes: small dyadic values of both signs."""
    row_N, k_K = np.arange(num_rows)[:, None], np.arange(num_directions)[None, :]
    share = 2.0 ** -int(np.ceil(np.log2(num_directions)))
    return ((row_N * 7 + k_K * 3) % 13 - 6) / 64.0 * share


class LinearLosses:
    """The part of a `LossEvaluator` that a run without scores uses; `batches` holds the rows of every step.

    Args:
        slopes_NK: the estimate of each row, in multiples of C; may be infinite or NaN.
        bases_N: the loss of each row at θ, nats; 0 when None.
        killed_at: the step whose first attempt raises `Killed`.
    """

    def __init__(self, slopes_NK: np.ndarray, bases_N: np.ndarray | None = None, killed_at: int | None = None) -> None:
        self.batches: dict[int, list[int]] = {}
        self._slopes_NK = slopes_NK * slopes_NK.shape[1]
        self._bases_N = np.zeros(len(slopes_NK)) if bases_N is None else bases_N
        self._killed_at = killed_at
        self._parameters: Parameters | None = None

    @property
    def parameter_count(self) -> int:
        return 1

    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        step = probes[0].direction.step
        if step == self._killed_at:
            self._killed_at = None
            raise Killed
        rows = self.batches[step] = [example.prompt_ids[0] for example in batch]
        directions, scales = [probe.direction.index for probe in probes], np.array([probe.scale for probe in probes])
        with np.errstate(invalid="ignore", over="ignore"):
            return self._bases_N[rows] + scales[:, None] * self._slopes_NK[rows][:, directions].T

    @property
    def parameters(self) -> Parameters:
        """A θ for methods that pull or mask it; no loss depends on it."""
        if self._parameters is None:
            import torch

            from trainers.evaluators.parameters import Parameters

            self._parameters = Parameters({"theta": torch.ones(4)})
        return self._parameters

    def public_outputs(self, points: Sequence[OutputPoint]) -> list[float]:
        """Return a number that depends on every term."""
        return [sum(coefficient for _, coefficient in point.terms) for point in points]

    def public_answers(self) -> list[float]:
        """Return two numbers, as of a model that works."""
        return [0.0, 1.0]

    def apply(self, update: WeightedDirections, *, momentum: float = 0.0) -> None:
        """Do nothing: no loss depends on θ."""

    def reset(self) -> None:
        """Do nothing: θ has not moved."""

    def state_digest(self) -> str:
        return "linear"


def stub_workspace(rows: Iterable[int], evaluator: LinearLosses, users: list[str] | None = None) -> Workspace:
    """Return a workspace whose training examples are the given rows of the evaluator, each of a user if given."""
    return Workspace([row_example(row) for row in rows], [], cast("LossEvaluator", evaluator), users=users)


class GivenBatches:
    """A sampler that returns the given batches one after the other."""

    def __init__(self, batches: Iterable[Sequence[int]]) -> None:
        self._batches = iter(batches)

    def draw(self) -> np.ndarray:
        return np.array(next(self._batches), dtype=np.int64)


class NoNoise:
    """No noise, so that a step releases its exact sum. The data of a replay is not private."""

    def draw(self, plan: MechanismPlan) -> np.ndarray:
        return np.zeros(plan.num_coordinates, dtype=np.int64)
