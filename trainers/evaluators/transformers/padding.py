"""The padded layout: rows filled to a common length, for models that cannot be packed and for half precision.

A causal model reads rows that are padded on the left: the places that predict are at the end of every row, and logits
are computed there only. A masked model and a classification head read rows that are padded on the right.

`pad` cuts a batch to waste little. The neighbours of an example then choose the shapes of its matrix products, and so
the rounding of its loss: by 1e-6 nats in float32, but by 1e-2 in bfloat16, which over a batch would exceed the clip.
`pad_to_fixed_shapes` chooses the shape of a row by its own length, and fills a pass with rows that are not read:
neighbours change no bit of a loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainers.evaluators.rows import FIXED_TOKENS, Row, cut

MIN_SPLIT_TOKENS = 512  # below this, a new pass costs more overhead than it saves padding
MAX_PADDING = 0.15  # share of padding above which a new pass starts
LENGTH_STEP, PLACES_STEP = 16, 8  # fixed shapes are multiples of these


@dataclass(frozen=True)
class PaddedBatch:
    """Tensors of one forward pass over rows R of padded length L; extra rows are padding.

    If rows are padded on the left, `num_places` is how many of the last places of a row predict. If they are padded on
    the right, `places` are the places that predict, counted through all rows: r · L + place.
    """

    rows: tuple[Row, ...]
    num_places: int
    input_ids_RL: torch.Tensor
    attention_mask_RL: torch.Tensor
    position_ids_RL: torch.Tensor
    places: torch.Tensor

    def inputs(self, accepted: set[str]) -> dict[str, Any]:
        """Return the arguments of the model's forward pass; `accepted` are the names that it takes."""
        inputs: dict[str, Any] = {"input_ids": self.input_ids_RL, "attention_mask": self.attention_mask_RL}
        if "position_ids" in accepted:
            inputs["position_ids"] = self.position_ids_RL
        return inputs


@dataclass(frozen=True)
class Filling:
    """How rows are padded: the token, the side, and the position number of a row's first token."""

    pad_id: int
    left: bool
    first_position: int
    device: torch.device


def pad(rows: Sequence[Row], filling: Filling, *, max_tokens: int) -> list[PaddedBatch]:
    """Cut rows (longest first) into passes of at most `max_tokens` padded tokens. A longer row is a pass of its own."""

    def starts_new(group: Sequence[Row], row: Row) -> bool:
        longest, tokens = len(group[0].ids), sum(len(member.ids) for member in group)
        padded = longest * (len(group) + 1)
        wasteful = padded - (tokens + len(row.ids)) > MAX_PADDING * padded
        return padded > max_tokens or (wasteful and longest * len(group) >= MIN_SPLIT_TOKENS)

    return [padded(group, filling) for group in cut(rows, starts_new)]


def padded(rows: tuple[Row, ...], filling: Filling) -> PaddedBatch:
    """Return one forward pass over all rows, longest first."""
    return _tensors(rows, filling, len(rows[0].ids), len(rows), max(len(row.places) for row in rows))


def pad_to_fixed_shapes(rows: Sequence[Row], filling: Filling, *, max_tokens: int) -> list[PaddedBatch]:
    """Cut rows into passes of fixed shapes.

    Formal guarantees:
        The shape of a row's pass depends on the row's length, its number of places that predict, and `max_tokens`; it
        does not depend on other rows. Every row has padding, so that every pass needs a mask.
    """
    shapes: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        places = 1 if len(row.places) <= 1 else _next_multiple(len(row.places), PLACES_STEP)
        shapes.setdefault((_next_multiple(len(row.ids) + 1, LENGTH_STEP), places), []).append(row)
    batches = []
    for (length, places), members in shapes.items():
        size = max(1, min(max_tokens, FIXED_TOKENS) // length)
        groups = [tuple(members[start : start + size]) for start in range(0, len(members), size)]
        batches += [_tensors(group, filling, length, size, min(places, length)) for group in groups]
    return batches


def _next_multiple(number: int, step: int) -> int:
    return -(-number // step) * step


def _tensors(rows: tuple[Row, ...], filling: Filling, length: int, size: int, num_places: int) -> PaddedBatch:
    ids, mask, positions, places = [], [], [], []
    for number, row in enumerate([*rows, *rows[:1] * (size - len(rows))]):
        filled, padding = len(row.ids), length - len(row.ids)
        before, after = (padding, 0) if filling.left else (0, padding)
        first = filling.first_position
        ids.append([filling.pad_id] * before + list(row.ids) + [filling.pad_id] * after)
        mask.append([0] * before + [1] * filled + [0] * after)
        positions.append([0] * before + list(range(first, first + filled)) + [0] * after)
        places += [] if filling.left else [number * length + place for place in row.places]
    tensors = (
        torch.tensor(values, dtype=torch.long, device=filling.device) for values in (ids, mask, positions, places)
    )
    return PaddedBatch(rows, num_places, *tensors)
