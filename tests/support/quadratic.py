"""A model small enough to reason about: example x has the loss ½‖θ − a_x‖², with an a_x of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.directions import Direction, direction_values
from trainers.evaluators.base import Example, Probe

DIMENSION = 8


def example(number: int) -> Example:
    """Return the example with number `number`; its token id is its number."""
    return Example(prompt_ids=(number,), option_ids=(), label=0)


class Quadratic:
    """A `LossEvaluator` over θ ∈ R^8. `losses_of` overrides the loss of chosen examples (NaN, inf, …)."""

    def __init__(self, losses_of: dict[int, float] | None = None, scale: float = 1.0) -> None:
        self.theta = np.zeros(DIMENSION)
        self.updates: list[list[tuple[Direction, float]]] = []
        self._special = losses_of or {}
        self._scale = scale

    @property
    def parameter_count(self) -> int:
        return DIMENSION

    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        points = [self.theta + probe.scale * _z(probe.direction) for probe in probes]
        return np.array([[self._loss(one, theta, sign) for one in batch] for sign, theta in enumerate(points)]).reshape(
            len(probes), len(batch)
        )

    def losses(self, batch: Sequence[Example]) -> np.ndarray:
        return np.array([self._loss(one, self.theta, 0) for one in batch])

    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        return np.zeros(len(batch), dtype=np.int64)

    def apply(self, update: Sequence[tuple[Direction, float]]) -> None:
        self.updates.append(list(update))
        for direction, coefficient in update:
            self.theta = self.theta + coefficient * _z(direction)

    def reset(self) -> None:
        self.theta = np.zeros(DIMENSION)

    def state_digest(self) -> str:
        return hashlib.sha256(self.theta.tobytes()).hexdigest()

    def export(self, folder: Path) -> None:
        np.save(folder / "theta.npy", self.theta)

    def _loss(self, one: Example, theta: np.ndarray, probe: int) -> float:
        number = one.prompt_ids[0]
        if number in self._special:
            return self._special[number] * (1 if probe % 2 == 0 else -1)
        target = np.random.default_rng(number).standard_normal(DIMENSION) + 2.0
        return float(self._scale * 0.5 * ((theta - target) ** 2).sum())


def _z(direction: Direction) -> np.ndarray:
    return direction_values(direction, "theta", DIMENSION).astype(np.float64)
