"""A model small enough to reason about: example x has the loss ½‖θ − a_x‖², with an a_x of its own."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from trainers.directions import Direction, WeightedDirections
from trainers.directions.basis import Basis
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.parameters import Parameters

SHAPES = {"theta": (8,)}
MATRICES = {"layers.0.weight": (6, 5), "layers.1.weight": (4, 6), "head.bias": (4,)}


def example(number: int) -> Example:
    """Return the example with number `number`; its token id is its number."""
    return Example(prompt_ids=(number,), option_ids=(), label=0)


class Quadratic:
    """A `LossEvaluator` over a few parameters. `losses_of` overrides the loss of chosen examples (NaN, inf, …).

    `shapes` names its tensors, `start` is the value that all of them begin with, `master` what updates keep them in.
    """

    def __init__(
        self,
        losses_of: dict[int, float] | None = None,
        scale: float = 1.0,
        shapes: Mapping[str, tuple[int, ...]] = SHAPES,
        start: float = 0.0,
        master: torch.dtype = torch.float32,
    ) -> None:
        self._live = {name: torch.full(shape, start) for name, shape in shapes.items()}
        if start:  # weights that differ, so that scores rank them
            for number, tensor in enumerate(self._live.values()):
                generator = torch.Generator().manual_seed(number)
                tensor.mul_(1.0 + 0.5 * torch.randn(tensor.shape, generator=generator))
        exact = {name: tensor.to(master, copy=True) for name, tensor in self._live.items()}
        for name, tensor in self._live.items():
            tensor.copy_(exact[name])
        self.parameters = Parameters(self._live, exact, seed=3)
        self.updates: list[list[tuple[Direction, float]]] = []
        self._special = losses_of or {}
        self._scale = scale
        self.closed = False

    @property
    def theta(self) -> np.ndarray:
        """θ, float64, tensor after tensor in the order of their names."""
        self.parameters.settle()
        return self._values()

    @property
    def parameter_count(self) -> int:
        return self.parameters.count

    @property
    def model_size(self) -> int:
        return self.parameter_count

    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        losses_PB = np.empty((len(probes), len(batch)))
        for index, probe in enumerate(probes):
            self.parameters.perturb(probe.direction, probe.scale)
            theta = self._values()
            losses_PB[index] = [self._loss(one, theta, index) for one in batch]
        return losses_PB

    def losses(self, batch: Sequence[Example]) -> np.ndarray:
        theta = self.theta
        return np.array([self._loss(one, theta, 0) for one in batch])

    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        return np.zeros(len(batch), dtype=np.int64)

    def public_outputs(self, points: Sequence[OutputPoint]) -> list[float]:
        outputs = []
        for point in points:
            self.parameters.place(point)
            outputs.append(float((self._values() ** 3).mean()))
        return outputs

    def public_answers(self) -> list[float]:
        (output,) = self.public_outputs([OutputPoint(())])
        return [output, output + 1.0]

    def apply(self, update: WeightedDirections, *, momentum: float = 0.0) -> None:
        self.updates.append(list(update))
        self.parameters.add(update, momentum=momentum)

    def activation_basis(self, public: Sequence[Example], rank: int) -> Basis:
        """Return an orthonormal basis of what θ and the public rows make of each matrix."""
        theta, seen = self.parameters.theta(), sum(one.prompt_ids[0] for one in public)
        parts = {name: tensor.float() for name, tensor in theta.items() if tensor.ndim > 1}
        generator = torch.Generator().manual_seed(seen)
        mixed = {
            name: part.T @ torch.randn(part.shape, generator=generator) + 3.0 * torch.eye(part.shape[1])
            for name, part in parts.items()
        }
        return Basis({name: torch.linalg.qr(part)[0][:, :rank].contiguous() for name, part in mixed.items()})

    def gradient_basis(self, batches: Sequence[Sequence[Example]]) -> Basis:
        theta, size = self.parameters.theta(), sum(tensor.numel() for tensor in self._live.values())
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in theta}
        for batch in batches:
            aim = np.mean([target(one.prompt_ids[0], size) for one in batch], axis=0)
            gradient = {name: theta[name].double().numpy().ravel() for name in sorted(theta)}
            moved = np.concatenate(list(gradient.values())) - aim
            moved /= np.linalg.norm(moved)
            start = 0
            for name in sorted(theta):
                stop = start + theta[name].numel()
                parts[name].append(torch.from_numpy(moved[start:stop]).view(theta[name].shape).bfloat16())
                start = stop
        return Basis({name: torch.stack(part) for name, part in parts.items()})

    def use_basis(self, basis: Basis) -> None:
        self.parameters.use_basis(basis)

    def reset(self) -> None:
        self.parameters.reset()

    def state_digest(self) -> str:
        return self.parameters.digest()

    def export(self, folder: Path) -> None:
        np.save(folder / "theta.npy", self.theta)

    def close(self) -> None:
        self.closed = True

    def _values(self) -> np.ndarray:
        return np.concatenate([tensor.numpy().ravel() for _, tensor in sorted(self._live.items())]).astype(np.float64)

    def _loss(self, one: Example, theta: np.ndarray, probe: int) -> float:
        number = one.prompt_ids[0]
        if number in self._special:
            return self._special[number] * (1 if probe % 2 == 0 else -1)
        return float(self._scale * 0.5 * ((theta - target(number, theta.size)) ** 2).sum())


@functools.cache
def target(number: int, size: int = 8) -> np.ndarray:
    """Return a_x of an example: scattered about 2 in every coordinate."""
    return np.random.default_rng(number).standard_normal(size) + 2.0
