"""θ: the trainable parameters, as a master copy and as the live weights that a forward pass reads.

A probe writes `master + scale · z` into the live weights in one pass. Only updates change the master. Nothing is
restored by subtraction, which would let half-precision weights drift (docs/pitfalls.md#perturbations-that-drift).
A block-local direction is written into its block, and what an earlier probe moved is set back: the rest stays θ.

Memory bandwidth bounds these passes, so an update waits for the next probe and moves the master in the same pass. A
replay makes many updates and no probe: they wait together, and move the master many at a time. The bits are those of
updates that are made at once.

The master is float32 or bfloat16. A bfloat16 master adds every update in float32 and rounds stochastically, by public
bits of that update (`rounding`), so that updates far below its resolution add up in the mean. Each update is made at
once: rounding two together would give other bits.

Further copies of the parameters' size exist only if they are used: the base weights (after the first update) and an
anchor (after the first stage) in the master's type, and a velocity in float32.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import torch

from trainers.directions import Direction, WeightedDirections
from trainers.directions.apply import add_directions, add_rounded, checked, write_perturbed
from trainers.directions.backends.torch_rounding import store
from trainers.directions.basis import Basis, add_in_basis, write_in_basis
from trainers.directions.blocks import blocks_of
from trainers.directions.counter import Block
from trainers.directions.masks import choose, scores_of
from trainers.directions.norms import squared_norms
from trainers.directions.rounding import Rounding
from trainers.directions.sparse import Kept, add_kept, write_kept
from trainers.evaluators.base import OutputPoint
from trainers.evaluators.tensor_file import read_tensors, save_tensors, update_with_tensor

_NUM_MOVES = "moves"
MAX_WAITING = 32  # directions: more would lengthen one pass and save little memory traffic


class Parameters:
    """The named trainable tensors of a model.

    Args:
        live: Hugging Face parameter name → tensor that the model computes with, contiguous and floating-point.
        exact: the same weights in the master's type, float32 or bfloat16; kept, not copied. By default a float32 copy
            of `live`.
        seed: public key of the bits that round updates of a bfloat16 master.
    """

    def __init__(
        self, live: Mapping[str, torch.Tensor], exact: Mapping[str, torch.Tensor] | None = None, *, seed: int = 0
    ) -> None:
        self._live = dict(live)
        self._base = (
            {name: exact[name].detach() for name in live}
            if exact is not None
            else {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in live.items()}
        )
        self._is_rounded = any(tensor.dtype == torch.bfloat16 for tensor in self._base.values())
        self._seed = seed
        self._moved: set[str] = set()  # names of live tensors that are not θ
        self._live_is_theta_off_mask = True
        self._forget()

    def _forget(self) -> None:
        self._master = self._base  # shared until the first update: probes need no third copy
        self._waiting: tuple[tuple[Direction, float], ...] = ()  # θ = master + Σ coefficient · z of these
        self._kept: Kept | None = None
        self._basis = Basis({})
        self._anchor: Mapping[str, torch.Tensor] = self._base
        self._velocity: dict[str, torch.Tensor] | None = None
        self._num_moves = 0  # updates and pulls so far, each of which rounds a bfloat16 master

    @property
    def count(self) -> int:
        return sum(tensor.numel() for tensor in (self._kept or self._base).values())

    def blocks(self) -> list[Block]:
        """Return the blocks that block-local directions move, one each."""
        return blocks_of({name: tensor.numel() for name, tensor in self._base.items()})

    @property
    def is_masked(self) -> bool:
        return self._kept is not None

    def perturb(self, direction: Direction, scale: float) -> None:
        """Write θ + scale · z(direction) into the live weights, of a block-local direction into its block alone."""
        live = {name: tensor for name, tensor in self._live.items() if direction.moves(name)}
        if len(live) < len(self._live):
            self._update_master()
            self._settle(self._moved.difference(live))
        if self._kept is not None:
            if not self._live_is_theta_off_mask:
                self.settle()
            self._update_master()
            write_kept(live, self._master, self._kept, checked([(direction, scale)]))
        elif direction.is_in_a_basis:
            self._update_master()
            write_in_basis(live, self._master, checked([(direction, scale)]), self._basis)
        else:
            if any(term.block is not None for term, _ in self._waiting):
                self._update_master()
            write_perturbed(live, self._master, direction, scale, self._waiting)
            self._waiting = ()
        self._moved.update(live)

    def place(self, point: OutputPoint) -> None:
        """Write a point into the live weights, one tensor at a time."""
        terms = checked(point.terms)
        if point.base == "on the mask":
            ((direction, scale),) = terms
            self.perturb(direction, scale)
            return
        self._update_master()
        self._live_is_lost()
        for name, live in self._live.items():
            values = self._master[name].to(torch.float32, copy=True)
            if point.base == "magnitudes":
                values.abs_()
            add_directions({name: values}, terms)
            live.copy_(values)

    def settle(self) -> None:
        """Write θ into the live weights, unless they already hold it."""
        if self._moved:
            self._update_master()
            self._settle(set(self._moved))
            self._live_is_theta_off_mask = True

    def _settle(self, names: Set[str]) -> None:
        for name in names:
            self._live[name].copy_(self._master[name])
        self._moved -= names

    def _live_is_lost(self) -> None:
        self._moved, self._live_is_theta_off_mask = set(self._live), False

    def add(self, update: WeightedDirections, *, momentum: float = 0.0) -> None:
        """Move θ by Σ coefficient · z(direction), or by v ← momentum · v + Σ coefficient · z(direction)."""
        terms = checked(update)
        self._own_master()
        self._moved.update(name for name in self._live if momentum or any(z.moves(name) for z, _ in terms))
        if momentum:
            self._add_with_velocity(terms, momentum)
            return
        if self._is_rounded or _in_a_basis(terms):
            self._add_terms(self._master, terms, self._next_rounding())
            return
        if len(self._waiting) + len(terms) > MAX_WAITING:
            self._update_master()
        self._waiting = (*self._waiting, *terms)

    def set_anchor(self) -> None:
        """Make the current θ the anchor of `pull`: a copy, unless θ is still the base."""
        self._update_master()
        copies = {name: tensor.clone() for name, tensor in self._master.items() if self._master is not self._base}
        self._anchor = copies or self._base

    @torch.inference_mode()
    def pull(self, share: float) -> None:
        """Move θ by a share of the way to the anchor: θ ← θ − share · (θ − anchor). Each operation rounds."""
        self._own_master()
        self._update_master()
        self._moved.update(self._live)
        rounding = self._next_rounding()
        for name, tensor in self._master.items():
            values = tensor.float()  # the tensor itself, if it is float32
            values.sub_((values - self._anchor[name]).mul_(float(np.float32(share))))
            if values is not tensor:
                store(tensor, values, rounding, name)

    def use_basis(self, basis: Basis) -> None:
        """Draw directions in this public basis from now on, until a reset; θ is unchanged."""
        self._basis = basis

    def base_norm(self) -> float:
        sums = [float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2 for tensor in self._base.values()]
        return float(f"{math.sqrt(math.fsum(sums)):.2e}")

    def squared_norms(self, directions: Sequence[Direction]) -> np.ndarray:
        return squared_norms(self._base, directions, self._kept)

    def restrict(
        self, scores: WeightedDirections, *, keep: float, per_tensor: bool = False, nested: bool = False
    ) -> None:
        """Set the mask to the parameters of highest score (`ParameterSpace.restrict`).

        In a tensor of zeros, such as the second factor of a new adapter, every score |θ_i · s_i| is 0: |s_i| is the
        score there.
        """
        self._update_master()
        ranked = {name: scores_of(name, tensor.float(), checked(scores)) for name, tensor in self._master.items()}
        kept = choose(ranked, keep, per_tensor=per_tensor, previous=self._kept if nested else None)
        self.settle()
        self._kept, self._velocity = kept, None

    def mask_digest(self) -> str:
        """Return a SHA-256 of the names and flat indices in the mask, or of nothing if there is no mask."""
        digest = hashlib.sha256()
        for name, indices in sorted((self._kept or {}).items()):
            digest.update(f"{name} {indices.numel()}:".encode())
            digest.update(indices.cpu().numpy().data)
        return digest.hexdigest()

    def reset(self) -> None:
        self._forget()
        self._live_is_lost()

    def theta(self) -> dict[str, torch.Tensor]:
        """Return name → θ in the master's type. Only read the tensors, and only until the next update."""
        self._update_master()
        return dict(self._master)

    def assign(self, values: Mapping[str, torch.Tensor]) -> None:
        """Set θ to tensors of the master's type, kept, not copied. A caller that changes them assigns them again."""
        assert {name: tensor.dtype for name, tensor in values.items()} == {n: t.dtype for n, t in self._base.items()}
        self._master, self._waiting = dict(values), ()
        self._live_is_lost()

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        self._update_master()
        anchor = self._anchor if self._anchor is not self._base else {}
        parts = {"theta": self._master, "kept": self._kept or {}, "anchor": anchor, "velocity": self._velocity or {}}
        named = {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
        save_tensors({**named, _NUM_MOVES: torch.tensor(self._num_moves)}, metadata, path)

    def load(self, path: Path) -> None:
        parts: dict[str, dict[str, torch.Tensor]] = {"theta": {}, "kept": {}, "anchor": {}, "velocity": {}}
        num_moves = 0  # files of earlier versions lack it: their master is float32
        for key, tensor in read_tensors(path):
            part, _, name = key.partition("/")
            if key == _NUM_MOVES:
                num_moves = int(tensor)
            else:
                parts[part][name] = tensor.to(self._base[name].device, copy=True)
        self._forget()
        self._num_moves = num_moves
        self._master, self._kept = parts["theta"], parts["kept"] or None
        self._anchor, self._velocity = parts["anchor"] or self._base, parts["velocity"] or None
        self._live_is_lost()

    def digest(self) -> str:
        """Return a SHA-256 of the names, shapes and bits of θ."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.theta().items()):
            update_with_tensor(digest, name, tensor)
        return digest.hexdigest()

    def _own_master(self) -> None:
        if self._master is self._base:
            self._master = {name: tensor.clone() for name, tensor in self._base.items()}

    def _update_master(self) -> None:
        if self._waiting:
            self._add_terms(self._master, self._waiting)
            self._waiting = ()

    @torch.inference_mode()  # the master may be an inference tensor, which cannot be changed outside of this mode
    def _add_terms(
        self, tensors: Mapping[str, torch.Tensor], terms: WeightedDirections, rounding: Rounding | None = None
    ) -> None:
        if _in_a_basis(terms):
            add_in_basis(tensors, terms, self._basis, rounding)
        elif self._kept is not None:
            add_kept(tensors, self._kept, terms, rounding)
        elif rounding is not None:
            add_rounded(tensors, terms, rounding)
        else:
            add_directions(tensors, terms)

    @torch.inference_mode()
    def _add_with_velocity(self, terms: WeightedDirections, momentum: float) -> None:
        self._update_master()
        if self._velocity is None:
            self._velocity = {name: torch.zeros_like(of, dtype=torch.float32) for name, of in self._master.items()}
        for velocity in self._velocity.values():
            velocity.mul_(float(np.float32(momentum)))
        self._add_terms(self._velocity, terms)
        rounding = self._next_rounding()
        for name, tensor in self._master.items():
            values = tensor.float().add_(self._velocity[name])
            if values is not tensor:
                store(tensor, values, rounding, name)

    def _next_rounding(self) -> Rounding:
        """Return new bits: the bits of an earlier move would round the same elements up again."""
        self._num_moves += 1
        return Rounding(self._seed, self._num_moves - 1)


def _in_a_basis(terms: WeightedDirections) -> bool:
    return bool(terms) and terms[0][0].is_in_a_basis
