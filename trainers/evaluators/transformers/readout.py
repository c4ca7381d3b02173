"""Passes the hidden states of the places that predict, and no others, to a model's head.

A head over the vocabulary costs as much as several layers; of a masked model's row it is needed at the mask only. A
classification head reads the first place of a row, which in the packed layout is not the first of the sequence. One
hook behind the layers serves both: it replaces all states by those at the chosen places, [rows, 1, width].
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Readout:
    """Selects the hidden states that leave a model's layers.

    Args:
        layers: module whose output holds the last hidden state, [rows, places, width].
    """

    def __init__(self, layers: torch.nn.Module) -> None:
        self._places: torch.Tensor | None = None
        layers.register_forward_hook(self._choose)

    @contextmanager
    def at(self, places: torch.Tensor) -> Iterator[None]:
        """Select the states at `places`, counted through all rows, within a block."""
        self._places = places
        try:
            yield
        finally:
            self._places = None

    def _choose(self, _module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
        if self._places is not None:
            output["last_hidden_state"] = output["last_hidden_state"].flatten(0, 1)[self._places][:, None]
        return output


def layers_of(base: Any, *, packed: bool) -> torch.nn.Module:
    """Return the module for a `Readout`: the layers if a pooler follows them, otherwise the model without its head.

    Only encoders whose layers are called `encoder` have packed rows.
    """
    return base.base_model.encoder if packed else base.base_model


def first_position(base: torch.nn.Module) -> int:
    """Return the position number of a row's first token. Models like RoBERTa start after the padding token's id."""
    for name, module in base.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("embeddings.position_embeddings") and isinstance(padding, int):
            return padding + 1
    return 0


def last_places(number: int, model: Any) -> int | torch.Tensor:
    """Return the last places of each row in the form of transformers' argument `logits_to_keep`.

    A number makes the model slice its states. The slice is strided, and its product with the vocabulary in half
    precision is 50 to 150 times slower on a CPU than that of a contiguous tensor. Indices make the model copy the
    states. In float32 the slice costs little, and keeps the bits of losses and exported weights as they always were.
    """
    if model.dtype == torch.float32:
        return number
    return torch.arange(-number, 0, device=model.device)
