"""Which layers of a model's stack move (`model.layers`): by number, the last, the one where outliers begin, or none.

In many language models a few activations are thousands of times larger than the others, from one layer on (Sun et al.,
2024, arXiv:2402.17762). `outlier` is that layer: its output's peak is the largest multiple of its input's. It is found
by inference on made-up tokens; no row of data takes part.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch

from trainers.config import Head, Layers

_LAST = re.compile(r"last-(\d+)")
_MADE_UP_TOKENS = 16


def plain_stack(model: Any) -> tuple[str, torch.nn.ModuleList] | None:
    """Return the name of the list of a model's layers, and the list; None if it has none, or several."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = {name: of for name, of in model.named_modules() if isinstance(of, torch.nn.ModuleList)}
    stacks = [(name, of) for name, of in lists.items() if len(of) == count and len({type(one) for one in of}) == 1]
    return stacks[0] if len(stacks) == 1 and not model.config.is_encoder_decoder else None


def layer_stack(model: Any) -> tuple[str, torch.nn.ModuleList]:
    """Return what `plain_stack` does; ValueError if there is none."""
    stack = plain_stack(model)
    if stack is None:
        raise ValueError(
            f"model.layers: a {model.config.model_type} model has no single list of equal layers to choose from. Use "
            "layers: all"
        )
    return stack


def chosen_layers(model: Any, layers: Layers) -> list[int]:
    """Return the numbers of the layers that move, in increasing order; of `head` there are none.

    Raises:
        ValueError: the model has no plain list of layers, or not so many.
    """
    _, stack = layer_stack(model)
    if layers == "head":
        return []
    if layers == "outlier":
        return [_outlier_layer(model, stack)]
    last = _LAST.fullmatch(layers) if isinstance(layers, str) else None
    wanted = range(len(stack) - int(last[1]), len(stack)) if last else sorted(set(map(int, layers)))
    if wanted[0] < 0 or wanted[-1] >= len(stack):
        raise ValueError(f"model.layers: {layers} names layers that are not there; the model has 0 to {len(stack) - 1}")
    return list(wanted)


def names_in_layers(model: Any, names: Iterable[str], layers: Layers, head: Head) -> set[str]:
    """Return the names of the parameters in the chosen layers, and of a classification head, which trains whole."""
    stack, _ = layer_stack(model)
    if layers == "head":
        return _names_behind(model, stack)
    inside = tuple(f"{stack}.{number}." for number in chosen_layers(model, layers))
    return {
        name
        for name in names
        if name.startswith(inside) or (head == "sequence-classification" and _is_of_head(model, name))
    }


def lowest_layer(stack: str, names: Iterable[str]) -> int | None:
    """Return the number of the lowest layer of a stack that has a parameter among `names`, or None."""
    numbers = [int(name.removeprefix(f"{stack}.").partition(".")[0]) for name in names if name.startswith(f"{stack}.")]
    return min(numbers, default=None)


def _names_behind(model: Any, stack: str) -> set[str]:
    """Return the names of the parameters behind the layers; a head that is tied to the embeddings is not among them."""
    names = [name for name, _ in model.named_parameters()]
    last = max(place for place, name in enumerate(names) if name.startswith(f"{stack}."))
    if last + 1 == len(names):
        raise ValueError(f"model.layers: head names nothing: a {model.config.model_type} model has nothing behind them")
    return set(names[last + 1 :])


def _is_of_head(model: Any, name: str) -> bool:
    below = ("base_model.", f"{model.base_model_prefix}.")  # of an adapter, and of the model itself
    return "modules_to_save" in name.split(".") or ".pooler." in name or not name.startswith(below)


@torch.inference_mode()
def _outlier_layer(model: Any, stack: torch.nn.ModuleList) -> int:
    peaks: list[tuple[float, float]] = []

    def see(_module: torch.nn.Module, inputs: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        peaks.append((float(inputs[0].abs().max()), float(states.abs().max())))

    hooks = [layer.register_forward_hook(see) for layer in stack]
    try:
        first = next(model.parameters())
        ids = torch.arange(_MADE_UP_TOKENS, device=first.device) % model.config.get_text_config().vocab_size
        model(input_ids=ids[None])
    finally:
        for hook in hooks:
            hook.remove()
    return max(range(len(stack)), key=lambda number: peaks[number][1] / max(peaks[number][0], 1e-30))
