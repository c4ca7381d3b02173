"""Where each Hugging Face parameter lives in vLLM's own: fused, transposed, split over devices, padded.

Directions go by Hugging Face name and flat index, so an engine that lays weights out in another way needs a table. It
is not written down by architecture but found out: each parameter's flat indices are given to the model's own
`load_weights` as if they were weights, and where they land is read off. Every element is looked at, so a table that is
made is right, and a layout that no table can say is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch


@dataclass(frozen=True)
class Segment:
    """A box of a Hugging Face parameter, and the same values as they lie in the engine's: a view of the box's shape."""

    box: tuple[slice, ...]
    view: torch.Tensor


@dataclass(frozen=True)
class Layout:
    """Live tensors of Hugging Face shape, to be written by name, and what must be copied on from those that are staged.

    `live` are views of the engine's storage where a parameter lies there whole and in order, else tensors of their own.
    """

    live: dict[str, torch.Tensor]
    staged: dict[str, tuple[Segment, ...]]

    def forward(self) -> None:
        """Copy what is staged to where the engine computes with it."""
        for name, segments in self.staged.items():
            for segment in segments:
                segment.view.copy_(self.live[name][segment.box])


def lay_out(model: Any, weights: Mapping[str, torch.Tensor]) -> Layout:
    """Return where the weights live in an engine's model that was loaded from them.

    Args:
        model: vLLM's; it is left with `weights` in it.
        weights: Hugging Face name → tensor of its shape, all that train.

    Raises:
        ValueError: the engine keeps a weight nowhere, packed, or in an order that no strides can say.
    """
    parameters = dict(model.named_parameters())
    if packed := [name for name, tensor in parameters.items() if not tensor.numel()]:
        raise ValueError(
            f"performance.evaluator vllm: the engine has packed {packed[0]} out of reach: no perturbation would change "
            "a loss. Use performance.evaluator transformers for this model."
        )
    live: dict[str, torch.Tensor] = {}
    staged: dict[str, tuple[Segment, ...]] = {}
    for name, weight in weights.items():
        (target,) = _where(model, parameters, name, weight)
        segments = _segments(model, parameters[target], name, weight)
        whole = len(segments) == 1 and segments[0].view.shape == weight.shape
        if whole and not segments[0].view.is_contiguous() and parameters[target].numel() == weight.numel():
            live[name] = _transposed(parameters[target], weight)
        elif whole and segments[0].view.is_contiguous():
            live[name] = segments[0].view
        else:
            live[name], staged[name] = weight.to(parameters[target].dtype, copy=True), segments
    return Layout(live, staged)


def _where(model: Any, parameters: Mapping[str, torch.Tensor], name: str, weight: torch.Tensor) -> list[str]:
    """Return the engine's name of what holds a weight, after loading it."""
    found = [of for of in model.load_weights([(name, weight)]) or () if of in parameters]
    if len(found) != 1:
        raise ValueError(
            f"performance.evaluator vllm: the engine keeps the parameter {name} in {len(found)} places, where one was "
            "expected. Use performance.evaluator transformers for this model."
        )
    return found


def _segments(model: Any, parameter: Any, name: str, weight: torch.Tensor) -> tuple[Segment, ...]:
    """Return the boxes of a weight that lie in a parameter."""
    # counted from 1: loaders fill a vocabulary's padding with zeros
    codes = torch.arange(1, weight.numel() + 1, dtype=torch.float64, device=weight.device).view(weight.shape)
    with _in_place_of(parameter, torch.zeros_like(parameter.data, dtype=torch.float64)) as landed:
        model.load_weights([(name, codes)])
    places = landed.flatten().nonzero()[:, 0]
    if not places.numel():  # all of it is another device's
        return ()
    found = landed.flatten()[places].long() - 1
    place_of = torch.empty_like(codes, dtype=torch.long).view(-1).scatter_(0, found, places).view(weight.shape)
    boxes = _boxes(found, weight.shape)
    if sum(math.prod(side.stop - side.start for side in box) for box in boxes) != places.numel():
        raise ValueError(_no_table(name))
    return tuple(_segment(parameter, name, place_of[box], box) for box in boxes)


def _boxes(found: torch.Tensor, shape: torch.Size) -> list[tuple[slice, ...]]:
    """Return the boxes that flat indices fill, if they fill boxes: the product of each dimension's runs."""
    runs = [_runs(coordinates.unique()) for coordinates in torch.unravel_index(found, tuple(shape))]
    return list(product(*runs))


def _runs(values: torch.Tensor) -> list[slice]:
    """Cut rising integers where one is left out."""
    gaps = (values.diff() != 1).nonzero()[:, 0] + 1
    return [slice(int(run[0]), int(run[-1]) + 1) for run in values.tensor_split(gaps.cpu())]


def _segment(parameter: Any, name: str, places: torch.Tensor, box: tuple[slice, ...]) -> Segment:
    """Return a box's view by the strides between its first elements, if they hold for all others too."""
    origin = (0,) * places.ndim
    first = int(places[origin])
    strides, expected = [], torch.full_like(places, first)
    for dim, size in enumerate(places.shape):
        after = (*origin[:dim], 1, *origin[dim + 1 :])
        strides.append(int(places[after]) - first if size > 1 else 1)
        along = torch.arange(size, device=places.device) * strides[-1]
        expected += along.view([size if of == dim else 1 for of in range(places.ndim)])
    if min(strides, default=1) < 0 or not torch.equal(places, expected):
        raise ValueError(_no_table(name))
    offset = parameter.data.storage_offset() + first
    return Segment(box, parameter.data.as_strided(places.shape, strides, offset))


def _transposed(parameter: Any, weight: torch.Tensor) -> torch.Tensor:
    """Let the engine compute with the transpose of a tensor in the weight's own order, and return that."""
    live = weight.to(parameter.dtype, copy=True)
    parameter.data = live.t()
    return live


@contextmanager
def _in_place_of(parameter: Any, scratch: torch.Tensor) -> Iterator[torch.Tensor]:
    kept = parameter.data
    parameter.data = scratch
    try:
        yield scratch
    finally:
        parameter.data = kept


def _no_table(name: str) -> str:
    return (
        f"performance.evaluator vllm: the engine lays the parameter {name} out in an order that is not known to dpzo. "
        "Use performance.evaluator transformers for this model."
    )
