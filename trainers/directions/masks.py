"""Chooses a mask: the flat indices of the parameters with the highest scores.

The choice depends on the bits of the scores only. Equal scores are ordered by name and index, so that a replay finds
the same mask on any machine.
"""

from collections.abc import Mapping

import numpy as np
import torch

from trainers.directions.apply import add_directions
from trainers.directions.counter import WeightedDirections
from trainers.directions.sparse import Kept


def choose(
    scores: Mapping[str, torch.Tensor], keep: float, *, per_tensor: bool = False, previous: Kept | None = None
) -> dict[str, torch.Tensor]:
    """Return the flat indices of the share `keep` of highest scores; ValueError if one is not finite or none is kept.

    Args:
        scores: parameter name → float32 scores of its shape.
        keep: share of all parameters, in (0, 1].
        per_tensor: keep this share of each tensor.
        previous: a mask to grow or to shrink: the new mask contains it if it is larger, and otherwise lies in it.
    """
    names = sorted(scores)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in scores.values()):
        raise ValueError("method.mask: the scores of the parameters are not finite; choose mask.scores: magnitude")
    before = {name: _flags(scores[name], previous[name] if previous else None) for name in names}
    groups = [[name] for name in names] if per_tensor else [names]
    chosen: dict[str, np.ndarray] = {}
    for group in groups:
        values = np.concatenate([scores[name].reshape(-1).cpu().numpy() for name in group])
        flags = _highest(values, keep, np.concatenate([before[name] for name in group]) if previous else None)
        ends = np.cumsum([scores[name].numel() for name in group])[:-1]
        chosen |= dict(zip(group, np.split(flags, ends), strict=True))
    if not any(flags.any() for flags in chosen.values()):
        total = sum(tensor.numel() for tensor in scores.values())
        raise ValueError(f"method.mask: keep {keep:g} keeps none of {total:,} parameters. Raise mask.keep")
    return {name: torch.from_numpy(np.flatnonzero(flags)).to(scores[name].device) for name, flags in chosen.items()}


def scores_of(name: str, weights: torch.Tensor, terms: WeightedDirections) -> torch.Tensor:
    """Return |θ_i · s_i| of one parameter, s = Σ terms; |θ_i| without terms, and |s_i| where all weights are 0."""
    if not terms:
        return weights.abs()
    slopes = torch.zeros_like(weights)
    add_directions({name: slopes}, terms)
    return (weights * slopes if weights.any() else slopes).abs()


def _flags(tensor: torch.Tensor, indices: torch.Tensor | None) -> np.ndarray:
    flags = np.zeros(tensor.numel(), dtype=bool)
    if indices is not None:
        flags[indices.cpu().numpy()] = True
    return flags


def _highest(values: np.ndarray, keep: float, before: np.ndarray | None) -> np.ndarray:
    """Return which ⌊keep · size⌋ values are highest; those of `before` come first, or are the only candidates."""
    count = int(keep * values.size)
    candidates, flags = np.ones(values.size, dtype=bool), np.zeros(values.size, dtype=bool)
    if before is not None and count >= before.sum():
        flags, candidates = before.copy(), ~before
        count -= int(before.sum())
    elif before is not None:
        candidates = before
    places = np.flatnonzero(candidates)
    if count:
        order = values[places]
        threshold = np.partition(order, order.size - count)[order.size - count]
        flags[places[order > threshold]] = True
        ties = places[order == threshold]
        flags[ties[: count - int((order > threshold).sum())]] = True
    return flags
