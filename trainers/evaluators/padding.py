"""The padded layout: rows filled up to a common length, for classification heads and models that cannot be packed.

A causal model reads rows padded on the left, so that the places which predict stand at the end of every row and logits
are computed for those alone. A classification head reads rows padded on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainers.evaluators.batching import Row, cut

MIN_SPLIT_TOKENS = 512  # a smaller forward pass costs more in overhead than it saves in padding
MAX_PADDING = 0.15  # padded share above which a new pass starts


@dataclass(frozen=True)
class PaddedBatch:
    """Tensors of one forward pass over rows R of padded length L."""

    rows: tuple[Row, ...]
    input_ids_RL: torch.Tensor
    attention_mask_RL: torch.Tensor
    position_ids_RL: torch.Tensor

    def inputs(self, accepted: set[str]) -> dict[str, Any]:
        """Return the arguments of the model's forward pass, as far as it takes them."""
        inputs: dict[str, Any] = {"input_ids": self.input_ids_RL, "attention_mask": self.attention_mask_RL}
        if "position_ids" in accepted:
            inputs["position_ids"] = self.position_ids_RL
        return inputs


def pad(rows: Sequence[Row], *, max_tokens: int, pad_id: int, left: bool, device: torch.device) -> list[PaddedBatch]:
    """Cut rows (longest first) into passes of at most `max_tokens` padded tokens; a longer row goes alone."""

    def starts_new(group: Sequence[Row], row: Row) -> bool:
        longest, tokens = len(group[0].ids), sum(len(member.ids) for member in group)
        padded = longest * (len(group) + 1)
        wasteful = padded - (tokens + len(row.ids)) > MAX_PADDING * padded
        return padded > max_tokens or (wasteful and longest * len(group) >= MIN_SPLIT_TOKENS)

    return [padded(group, pad_id, left, device) for group in cut(rows, starts_new)]


def padded(rows: tuple[Row, ...], pad_id: int, left: bool, device: torch.device) -> PaddedBatch:
    """Return one forward pass over all rows, longest first."""
    length = len(rows[0].ids)
    ids, mask, positions = [], [], []
    for row in rows:
        filled, padding = len(row.ids), length - len(row.ids)
        before, after = (padding, 0) if left else (0, padding)
        ids.append([pad_id] * before + list(row.ids) + [pad_id] * after)
        mask.append([0] * before + [1] * filled + [0] * after)
        positions.append([0] * before + list(range(filled)) + [0] * after)
    return PaddedBatch(
        rows,
        torch.tensor(ids, dtype=torch.long, device=device),
        torch.tensor(mask, dtype=torch.long, device=device),
        torch.tensor(positions, dtype=torch.long, device=device),
    )
