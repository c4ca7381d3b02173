"""From examples to tensors: one row a sequence, sorted by length into micro-batches with little padding.

A causal model reads rows padded on the left, so that the tokens to be predicted stand at the end of every row and
logits are computed for those places only. A classification head reads rows padded on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.evaluators.base import Example

MIN_SPLIT_TOKENS = 256  # smaller forward passes cost more in overhead than they save in padding
MAX_PADDING = 0.10  # padded share of a micro-batch above which a new one starts


@dataclass(frozen=True)
class Row:
    """A sequence to be read: which example it serves, its token ids, and the tokens it must predict at its end.

    `targets` holds one candidate continuation, or, where every option is a single token, all options side by side
    (`options_share_row`): they are predicted at the same place.
    """

    example: int
    option: int
    ids: tuple[int, ...]
    targets: tuple[int, ...]
    options_share_row: bool


@dataclass(frozen=True)
class MicroBatch:
    """Tensors of one forward pass over rows R of padded length L."""

    rows: tuple[Row, ...]
    input_ids_RL: torch.Tensor
    attention_mask_RL: torch.Tensor
    position_ids_RL: torch.Tensor


def rows_of(examples: Sequence[Example]) -> list[Row]:
    """Return the rows that the examples need: one where the options share a place, else one an option."""
    return [row for number, example in enumerate(examples) for row in _rows_of_one(number, example)]


def micro_batches(
    rows: Sequence[Row], *, max_tokens: int, pad_id: int, pad_left: bool, device: torch.device
) -> list[MicroBatch]:
    """Sort rows by length and cut them into passes of at most `max_tokens` padded tokens; a longer row goes alone."""
    ordered = sorted(rows, key=lambda row: len(row.ids), reverse=True)
    groups: list[list[Row]] = []
    tokens = 0
    for row in ordered:
        if not groups or _starts_new_group(groups[-1], tokens, row, max_tokens):
            groups.append([])
            tokens = 0
        groups[-1].append(row)
        tokens += len(row.ids)
    return [_tensors(tuple(group), pad_id, pad_left, device) for group in groups]


def _rows_of_one(number: int, example: Example) -> list[Row]:
    options = example.option_ids
    if not options:
        return [Row(number, 0, example.prompt_ids, (), options_share_row=False)]
    if len(options) > 1 and all(len(option) == 1 for option in options):
        return [Row(number, 0, example.prompt_ids, tuple(option[0] for option in options), options_share_row=True)]
    return [
        Row(number, index, (*example.prompt_ids, *option[:-1]), option, options_share_row=False)
        for index, option in enumerate(options)
    ]


def _starts_new_group(group: Sequence[Row], tokens: int, row: Row, max_tokens: int) -> bool:
    longest = len(group[0].ids)
    padded = longest * (len(group) + 1)
    if padded > max_tokens:
        return True
    return longest * len(group) >= MIN_SPLIT_TOKENS and padded - (tokens + len(row.ids)) > MAX_PADDING * padded


def _tensors(rows: tuple[Row, ...], pad_id: int, pad_left: bool, device: torch.device) -> MicroBatch:
    length = len(rows[0].ids)
    ids, mask, positions = [], [], []
    for row in rows:
        filled, padding = len(row.ids), length - len(row.ids)
        before, after = (padding, 0) if pad_left else (0, padding)
        ids.append([pad_id] * before + list(row.ids) + [pad_id] * after)
        mask.append([0] * before + [1] * filled + [0] * after)
        positions.append([0] * before + list(range(filled)) + [0] * after)
    return MicroBatch(
        rows,
        torch.tensor(ids, dtype=torch.long, device=device),
        torch.tensor(mask, dtype=torch.long, device=device),
        torch.tensor(positions, dtype=torch.long, device=device),
    )
