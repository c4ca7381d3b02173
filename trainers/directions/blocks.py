"""Block-local directions: each moves one block of the parameters, drawn by a public counter.

A block is a layer: the tensors whose names agree up to their first number. Tensors without a number (embeddings, norms,
heads) are one block if they stand before the layers, and another behind them.

With public shares p_b of the blocks, a direction moves block b with probability p_b, by z_b / √p_b in its probes and in
the update. Since E[z zᵀ] = Σ_b p_b · I_b / p_b = I, the estimate has the mean of one along isotropic directions,
whatever the shares. Its energy is Σ_b d_b ‖∇_b‖² / p_b, least at p_b ∝ √d_b ‖∇_b‖.

Formal guarantees: shares and draws are float64 operations in a fixed order, each of which IEEE 754 (and `fsum`) rounds
in one way only. So they are the same on every machine.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from trainers.directions.counter import Block, Direction, uniform_of_step

_LAYER = re.compile(r"(?:[^.]+\.)*?\d+\.")
FLOOR = 0.2  # of the share by size: what a learned share keeps
PRIOR = 4.0  # observations: how many of the mean energy each block begins with
Tensor = TypeVar("Tensor")
Coefficient = TypeVar("Coefficient")


def blocks_of(counts: Mapping[str, int]) -> list[Block]:
    """Return the blocks of parameters, given as name → number of elements, in the order of their names there."""
    members: dict[str, list[str]] = {}
    is_behind = False
    for name in counts:
        layer = _LAYER.match(name)
        is_behind |= layer is not None
        members.setdefault(layer[0] if layer else "behind" if is_behind else "before", []).append(name)
    return [Block(tuple(names), sum(counts[name] for name in names)) for names in members.values()]


def shares_by_size(blocks: Sequence[Block]) -> list[float]:
    """Return p_b ∝ √d_b, the best shares where the gradient has the same energy in each block."""
    return _shares([math.sqrt(block.count) for block in blocks])


def learned_shares(blocks: Sequence[Block], totals: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return p_b ∝ √d_b times the root of the energy that was observed in block b, with a floor.

    Args:
        blocks: of the parameters.
        totals: sum of the observations of ‖∇_b‖² in each block, weighted; any sign, since noise was subtracted.
        weights: sum of their weights.
    """
    by_size, observed = shares_by_size(blocks), math.fsum(weights)
    mean = math.fsum(totals) / observed if observed else 0.0
    if mean <= 0:
        return by_size
    energies = [
        max(0.0, (total + PRIOR * mean) / (weight + PRIOR)) for total, weight in zip(totals, weights, strict=True)
    ]
    roots = [share * math.sqrt(energy) for share, energy in zip(by_size, energies, strict=True)]
    if not any(roots):
        return by_size
    return [(1.0 - FLOOR) * own + FLOOR * share for own, share in zip(_shares(roots), by_size, strict=True)]


def drawn(seed: int, step: int, shares: Sequence[float], count: int) -> list[int]:
    """Return the number of a block for each direction of a step: one in (k + u) / K of the shares, u public.

    The K places are evenly spaced and share one u. Each block has its share in the mean, and is drawn ⌊K p⌋ or ⌈K p⌉
    times.
    """
    offset, numbers, number, reached = uniform_of_step(seed, step), [], 0, shares[0]
    for k in range(count):
        while (k + offset) / count >= reached and number < len(shares) - 1:
            number += 1
            reached += shares[number]
        numbers.append(number)
    return numbers


def by_block(
    tensors: Mapping[str, Tensor], terms: Sequence[tuple[Direction, Coefficient]]
) -> list[tuple[dict[str, Tensor], list[tuple[Direction, Coefficient]]]]:
    """Return tensors in groups, each with the terms that move it; without the tensors that no term moves."""
    groups: dict[tuple[int, ...], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        moving = tuple(k for k, (direction, _) in enumerate(terms) if direction.moves(name))
        if moving:
            groups.setdefault(moving, {})[name] = tensor
    return [(group, [terms[k] for k in moving]) for moving, group in groups.items()]


def _shares(parts: Sequence[float]) -> list[float]:
    total = math.fsum(parts)
    return [part / total for part in parts]
