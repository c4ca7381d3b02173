"""Which pairs of data sets must be indistinguishable. A module of its own: a ledger knows it without the accountant."""

from typing import Literal, get_args

Adjacency = Literal["add-or-remove-one", "replace-one"]


def require_adjacency(adjacency: str) -> None:
    """Refuse an unknown adjacency with a ValueError."""
    if adjacency not in get_args(Adjacency):
        raise ValueError(f"adjacency must be one of {', '.join(get_args(Adjacency))}; got {adjacency!r}.")
