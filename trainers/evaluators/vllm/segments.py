"""Where each Hugging Face parameter lies in vLLM's parameters: fused, transposed, split over devices, padded.

Directions are addressed by Hugging Face name and flat index, so an engine with another layout needs a table. The table
is not written down per architecture, but measured: the model's own `load_weights` gets each parameter's flat indices as
if they were weights, and the places where they land are read. Every element is checked, so a table is right or is
refused.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch


@dataclass(frozen=True)
class Segment:
    """A box of a Hugging Face parameter, and a view of the same shape onto the engine's copy of it."""

    box: tuple[slice, ...]
    view: torch.Tensor


@dataclass(frozen=True)
class Layout:
    """Live tensors of Hugging Face shape, by name, and the segments into which staged ones are copied.

    A live tensor is a view of the engine's storage if the parameter lies there whole and in order. Otherwise it is
    staged: a tensor of its own.
    """

    live: dict[str, torch.Tensor]
    staged: dict[str, tuple[Segment, ...]]

    def forward(self) -> None:
        """Copy the staged tensors into the engine's parameters."""
        for name, segments in self.staged.items():
            for segment in segments:
                segment.view.copy_(self.live[name][segment.box])


def lay_out(model: Any, weights: Mapping[str, torch.Tensor]) -> Layout:
    """Return the layout of the weights in an engine's model.

    Args:
        model: of vLLM; this loads `weights` into it.
        weights: Hugging Face name → tensor, for all trainable parameters.

    Raises:
        ValueError: the engine drops a weight, packs it, or keeps it in an order that strides cannot describe.
    """
    parameters = dict(model.named_parameters())
    if packed := [name for name, tensor in parameters.items() if not tensor.numel()]:
        raise ValueError(
            f"performance.evaluator vllm: the engine computes with a packed copy of {packed[0]}, so no perturbation "
            "would change a loss. Use performance.evaluator transformers for this model."
        )
    live: dict[str, torch.Tensor] = {}
    staged: dict[str, tuple[Segment, ...]] = {}
    for name, weight in weights.items():
        target = _load(model, parameters, name, weight)
        segments = _segments(model, parameters[target], name, weight)
        whole = len(segments) == 1 and segments[0].view.shape == weight.shape
        if whole and not segments[0].view.is_contiguous() and parameters[target].numel() == weight.numel():
            live[name] = _transposed(parameters[target], weight)
        elif whole and segments[0].view.is_contiguous():
            live[name] = segments[0].view
        else:
            live[name], staged[name] = weight.to(parameters[target].dtype, copy=True), segments
    return Layout(live, staged)


def _load(model: Any, parameters: Mapping[str, torch.Tensor], name: str, weight: torch.Tensor) -> str:
    """Load a weight, and return the name of the engine's parameter that holds it."""
    targets = [target for target in model.load_weights([(name, weight)]) or () if target in parameters]
    if len(targets) != 1:
        raise ValueError(
            f"performance.evaluator vllm: the engine keeps the parameter {name} in {len(targets)} of its parameters; "
            "expected one. Use performance.evaluator transformers for this model."
        )
    return targets[0]


def _segments(model: Any, parameter: Any, name: str, weight: torch.Tensor) -> tuple[Segment, ...]:
    """Return the boxes of a weight that lie in a parameter."""
    # the indices count from 1: loaders fill the padding of a vocabulary with zeros
    codes = torch.arange(1, weight.numel() + 1, dtype=torch.float64, device=weight.device).view(weight.shape)
    with _in_place_of(parameter, torch.zeros_like(parameter.data, dtype=torch.float64)) as landed:
        model.load_weights([(name, codes)])
    places = landed.flatten().nonzero()[:, 0]
    if not places.numel():  # the weight is on other devices
        return ()
    indices = landed.flatten()[places].long() - 1
    place_of = torch.empty_like(codes, dtype=torch.long).view(-1).scatter_(0, indices, places).view(weight.shape)
    boxes = _boxes(indices, weight.shape)
    if sum(math.prod(side.stop - side.start for side in box) for box in boxes) != places.numel():
        raise ValueError(_no_table(name))
    return tuple(_segment(parameter, name, place_of[box], box) for box in boxes)


def _boxes(indices: torch.Tensor, shape: torch.Size) -> list[tuple[slice, ...]]:
    """Return the boxes that flat indices fill, if they fill boxes: the product of each dimension's runs."""
    runs = [_runs(coordinates.unique()) for coordinates in torch.unravel_index(indices, tuple(shape))]
    return list(product(*runs))


def _runs(values: torch.Tensor) -> list[slice]:
    """Cut increasing integers into runs of consecutive ones."""
    gaps = (values.diff() != 1).nonzero()[:, 0] + 1
    return [slice(int(run[0]), int(run[-1]) + 1) for run in values.tensor_split(gaps.cpu())]


def _segment(parameter: Any, name: str, places: torch.Tensor, box: tuple[slice, ...]) -> Segment:
    """Return the view of a box by the strides of its first elements, if all other elements have them too."""
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
    """Make the engine compute with the transpose of a tensor in the weight's own order; return that tensor."""
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
        f"performance.evaluator vllm: dpzo does not know the order in which the engine lays out the parameter {name}. "
        "Use performance.evaluator transformers for this model."
    )
