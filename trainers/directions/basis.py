"""Directions in a public basis: z has few coordinates, drawn by the counter, along vectors that public data chose.

| kind            | basis of a matrix W [m, n]                        | z                             | coordinates |
|-----------------|---------------------------------------------------|-------------------------------|-------------|
| activation      | V [n, r], orthonormal columns: the layer's inputs | U Vᵀ, U [m, r]                | m · r       |
| public-gradient | G [r, m, n]: r gradients over all tensors, norm 1 | Σ_j a_j G_j, one a [r] of all | r           |

Coordinates are independent N(0, 1) values. A tensor without a part of the basis, such as the bias of a new head under
`activation`, gets independent N(0, 1) values.

Formal guarantees: a sum Σ_k c_k z_k first adds up the coordinates, then expands them one column (or gradient) after the
other, each product and each sum rounded in float32. Its bits depend on (terms, name, basis) only, so a replay with the
same basis rebuilds the weights on any machine.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from trainers.directions.backends.torch_rounding import store
from trainers.directions.blocks import by_block
from trainers.directions.counter import Direction, WeightedDirections, basis_coordinates, direction_values
from trainers.directions.rounding import Rounding


@dataclass(frozen=True)
class Basis:
    """A public basis: parameter name → V, float32 [n, r], or G, bfloat16 [r, *shape]."""

    parts: Mapping[str, torch.Tensor]

    def digest(self) -> str:
        """Return a SHA-256 of the names, shapes and bits."""
        digest = hashlib.sha256()
        for name, part in sorted(self.parts.items()):
            digest.update(f"{name} {part.dtype} {tuple(part.shape)}:".encode())
            digest.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def weighted_sum(terms: WeightedDirections, name: str, tensor: torch.Tensor, basis: Basis) -> torch.Tensor:
    """Return Σ coefficient · z of one parameter, float32 of the shape of `tensor`, on its device.

    Raises:
        ValueError: the basis has fewer vectors than the directions have coordinates, or another shape.
    """
    part, first = basis.parts.get(name), terms[0][0]
    if part is None:
        values = _sum(terms, lambda z: direction_values(z, name, tensor.shape))
        return torch.from_numpy(values).to(tensor.device).view(tensor.shape)
    if first.kind == "activation":
        coordinates = torch.from_numpy(_activation_coordinates(terms, name, tensor, part)).to(tensor.device)
        vectors = part.to(tensor.device)
        return _expanded(lambda r: coordinates[:, r : r + 1] * vectors[:, r], first.rank)
    _require_fit(name, tuple(part.shape), (first.rank, *tensor.shape))
    weights = _sum(terms, lambda z: basis_coordinates(z, "", 1))[0]
    return _expanded(lambda r: part[r].to(tensor.device).float().mul_(float(weights[r])), first.rank)


@torch.no_grad()
def add_in_basis(
    tensors: Mapping[str, torch.Tensor], terms: WeightedDirections, basis: Basis, rounding: Rounding | None = None
) -> None:
    """Add Σ coefficient · z to float32 or bfloat16 tensors in place; `rounding` rounds to bfloat16."""
    for moved, moving in by_block(tensors, terms):
        for name, tensor in moved.items():
            if rounding is None or tensor.dtype == torch.float32:
                _write_moved(tensor, tensor, moving, name, basis)
            else:
                total = torch.empty(tensor.shape, device=tensor.device)
                _write_moved(total, tensor, moving, name, basis)
                store(tensor, total, rounding, name)


@torch.no_grad()
def write_in_basis(
    live: Mapping[str, torch.Tensor], master: Mapping[str, torch.Tensor], terms: WeightedDirections, basis: Basis
) -> None:
    """Write live ← master + Σ coefficient · z, rounded to live's type, of tensors that all terms move."""
    for name, tensor in live.items():
        _write_moved(tensor, master[name], terms, name, basis)


def _write_moved(out: torch.Tensor, tensor: torch.Tensor, terms: WeightedDirections, name: str, basis: Basis) -> None:
    """Write out ← tensor + Σ coefficient · z, rounded to the type of `out`."""
    part = basis.parts.get(name)
    if part is None or terms[0][0].kind != "activation" or tensor.device.type != "cpu":
        out.copy_(weighted_sum(terms, name, tensor, basis).add_(tensor))
        return
    from trainers.directions.backends.cpu_basis import write_expanded  # numba loads slowly

    target = out if out.dtype == torch.float32 else torch.empty(out.shape)
    vectors = part.T.contiguous().numpy()
    write_expanded(target.numpy(), tensor.float().numpy(), _activation_coordinates(terms, name, tensor, part), vectors)
    if target is not out:
        out.copy_(target)


def _activation_coordinates(
    terms: WeightedDirections, name: str, tensor: torch.Tensor, part: torch.Tensor
) -> np.ndarray:
    rank = terms[0][0].rank
    _require_fit(name, tuple(part.shape), (tensor.shape[1], rank))
    return _sum(terms, lambda z: basis_coordinates(z, name, tensor.shape[0]))


def _sum(terms: WeightedDirections, coordinates: Callable[[Direction], np.ndarray]) -> np.ndarray:
    """Return Σ coefficient · coordinates, in the order of the terms, float32."""
    (first, coefficient), *others = terms
    total = coordinates(first) * np.float32(coefficient)
    for direction, coefficient in others:
        total = total + coordinates(direction) * np.float32(coefficient)
    return total


def _expanded(term: Callable[[int], torch.Tensor], rank: int) -> torch.Tensor:
    total = term(0)
    for r in range(1, rank):
        total += term(r)
    return total


def _require_fit(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise ValueError(f"the public basis of {name} has the shape {shape}, and these directions need {wanted}")
