"""Public bases of directions, made from public rows: of a layer's inputs, or of gradients.

The gradient of a linear layer's weight is Σ δ xᵀ over tokens: each row of it lies in the span of the layer's inputs x.
Inputs of language models lie in few dimensions, much the same ones for every text. AGZO (arXiv:2601.17261) takes them
from the training batch, which leaks it; here public text takes its place. Gradients of public rows as directions are
PAZO's (arXiv:2511.10859).

Formal guarantees: nothing here takes a private example; callers pass public ones, and θ is public.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from trainers.directions import uniform_values
from trainers.directions.basis import Basis
from trainers.evaluators.lora_factors import first_factors_of

OVERSAMPLING = 8
NUM_PASSES = 2  # over the text: each one brings the sketch nearer to the dominant inputs (block power iteration)


def input_basis(
    layers: Mapping[str, torch.nn.Module], batches: Sequence[Any], read: Callable[[Any], object], rank: int
) -> Basis:
    """Return an orthonormal basis of the inputs with the largest energy Σ (vᵀx)², by forward passes only.

    It is a randomised range finder with block power iteration (Halko et al., 2011, arXiv:0909.4061), which holds
    [n, rank + 8] numbers a layer. The inputs are not centred: their mean is part of a gradient.

    Args:
        layers: name of a parameter → the layer whose inputs, [..., n], the basis is for.
        batches: of public text, packed or padded.
        read: reads a batch through the live weights.
        rank: number of basis vectors r.

    Raises:
        ValueError: the rank is above a layer's width, or inputs are not finite.
    """
    vectors: dict[str, torch.Tensor] = {}
    images: dict[str, torch.Tensor] = {}
    for _ in range(NUM_PASSES):
        vectors = {name: torch.linalg.qr(image.double())[0].float() for name, image in images.items()}
        images = {}
        for batch in batches:
            with _inputs_seen(layers, batch, partial(_add_image, vectors, images, rank)):
                read(batch)
    return Basis({name: _dominant(name, images[name], rank) for name in layers})


def layers_in_a_basis(model: Any, trained: Mapping[str, torch.nn.Parameter]) -> Mapping[str, torch.nn.Module]:
    """Return name → layer of what an activation basis is for: linear weights that train, or A of a LoRA adapter.

    Raises:
        ValueError: a weight is kept as [inputs, outputs], as GPT-2 does.
    """
    if first_factors := first_factors_of(model):
        return first_factors
    owners = {id(module.weight): module for module in model.modules() if isinstance(module, (torch.nn.Linear, Conv1D))}
    layers = {name: owners[id(tensor)] for name, tensor in trained.items() if id(tensor) in owners}
    if any(isinstance(layer, Conv1D) for layer in layers.values()):
        raise ValueError(
            "method.direction: activation reads no layers whose weights are [inputs, outputs], as GPT-2's are. Use "
            "model.lora: {init: activation, train: b}"
        )
    return layers


def gradient_basis(gradients: Sequence[Mapping[str, torch.Tensor]]) -> Basis:
    """Return the gradients, each of norm 1 over all parameters, rounded to bfloat16.

    Raises:
        ValueError: a gradient is zero or not finite.
    """
    norms = [float(sum(float(part.double().square().sum()) for part in of.values())) ** 0.5 for of in gradients]
    if not all(0 < norm < float("inf") for norm in norms):
        raise ValueError("data.public: a gradient of public rows is zero or not finite. Use other rows, or float32")
    return Basis(
        {
            name: torch.stack([(of[name].float() / norm).bfloat16() for of, norm in zip(gradients, norms, strict=True)])
            for name in gradients[0]
        }
    )


def _add_image(
    vectors: dict[str, torch.Tensor], images: dict[str, torch.Tensor], rank: int, name: str, inputs_TN: torch.Tensor
) -> None:
    """Add Σ x xᵀ V over the inputs to the image of a layer; V begins at random, by a public key."""
    width = inputs_TN.shape[1]
    if rank > width:
        raise ValueError(f"the rank {rank} of the activation basis is above the {width} inputs of {name}: lower it")
    if name not in vectors:
        columns = min(rank + OVERSAMPLING, width)
        start = uniform_values(0, f"activation basis of {name}", width * columns, 1.0).reshape(width, columns)
        vectors[name] = torch.from_numpy(start).to(inputs_TN.device)
    inputs = inputs_TN.float()
    image = inputs.T @ (inputs @ vectors[name])
    images[name] = images[name] + image if name in images else image


def _dominant(name: str, image: torch.Tensor, rank: int) -> torch.Tensor:
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"data.public: the inputs of {name} are not finite on public text. Use float32")
    left, _, _ = torch.linalg.svd(image.double(), full_matrices=False)
    return left[:, :rank].float().contiguous()


@contextmanager
def _inputs_seen(
    layers: Mapping[str, torch.nn.Module], batch: Any, see: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Call `see` with the inputs of each layer at the places that are tokens, within a block."""
    filled = getattr(batch, "attention_mask_RL", None)  # packed rows have no padding

    def hook(name: str, _module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0]
        see(name, x[filled.bool()] if filled is not None and x.shape[:2] == filled.shape else x.flatten(0, -2))

    hooks = [layer.register_forward_pre_hook(partial(hook, name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()
