"""A token whose embedding is NaN: the self-test reads it in one row, and looks whether it reaches another."""

from collections.abc import Container, Iterable
from itertools import count

import torch
from torch.utils.hooks import RemovableHandle


def token_outside(spared: Container[int]) -> int:
    """Return a token id that is in none of the spared rows."""
    return next(token for token in count(1) if token not in spared)


def poison(embeddings: Iterable[torch.nn.Module], token: int) -> list[RemovableHandle]:
    """Make the embedding of a token NaN until the handles are removed. No weight changes.

    Args:
        embeddings: modules that read token ids and return vectors.
        token: id of the token.
    """

    def hook(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return output.masked_fill((inputs[0] == token)[..., None], torch.nan)

    return [module.register_forward_hook(hook) for module in embeddings]
