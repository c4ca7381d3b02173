"""The packed layout: rows end to end in one long sequence, without padding outside of the attention.

Embeddings, projections, norms and MLPs compute each token once, in one large matrix product each. The attention must
keep the rows apart. It is registered with transformers under its own name, folds the sequence into a few rectangles of
rows of similar length, and passes each to the library's scaled-dot-product attention, which handles grouped queries,
scales and causality. Logits are computed at the places that predict only. An encoder looks both ways, so its rectangles
have a mask that excludes the empty places of shorter rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from trainers.evaluators.rows import Row, cut

ATTENTION = "dpzo_packed"
ENCODERS = {"bert", "roberta", "xlm-roberta", "camembert"}  # absolute positions, and no bias in the attention
SHORTEST_IN_RECTANGLE = 0.5  # of the longest row of a rectangle; a shorter row starts a new rectangle


@dataclass(frozen=True)
class PackedBatch:
    """Tensors of one forward pass over rows laid end to end, T tokens in all.

    Each of `rectangles`, [rows, longest], holds positions in the packed sequence; the empty places of a shorter row
    repeat its first position. `filled`, bool [rows, 1, 1, longest], marks the places that are not empty; it is None if
    none is empty, or if the model never looks at them. `unfold_T` is the place of each token in the rectangles laid
    end to end.
    """

    rows: tuple[Row, ...]
    input_ids_1T: torch.Tensor
    position_ids_1T: torch.Tensor
    places: torch.Tensor
    rectangles: tuple[torch.Tensor, ...]
    filled: tuple[torch.Tensor | None, ...]
    unfold_T: torch.Tensor

    def inputs(self, accepted: set[str]) -> dict[str, Any]:
        """Return the arguments of the model's forward pass; `accepted` are the names that it takes."""
        inputs: dict[str, Any] = {"input_ids": self.input_ids_1T, "position_ids": self.position_ids_1T}
        if "logits_to_keep" in accepted:
            inputs |= {"logits_to_keep": self.places, "use_cache": False}
        return inputs

    @contextmanager
    def layout(self) -> Iterator[None]:
        """Show the attention where the rows are, within a block."""
        token = _BATCH.set(self)
        try:
            yield
        finally:
            _BATCH.reset(token)


_BATCH: ContextVar[PackedBatch] = ContextVar("packed_batch")


def can_pack(model: PreTrainedModel, accepted: set[str], *, causal: bool) -> bool:
    """Return whether rows of this model can be packed; if so, replace its attention.

    A causal model qualifies if transformers can replace its attention, every layer attends to all earlier places, and
    positions and logits can be chosen. An encoder must be in `ENCODERS`.
    """
    config = model.config.get_text_config()
    layers = getattr(config, "layer_types", None)
    windowed = (
        getattr(config, "sliding_window", None) is not None if layers is None else set(layers) != {"full_attention"}
    )
    if causal and (windowed or not {"position_ids", "logits_to_keep"} <= accepted):
        return False
    if not causal and (config.model_type not in ENCODERS or config.is_decoder):
        return False
    AttentionInterface.register(ATTENTION, _attention)
    model.set_attn_implementation(ATTENTION)
    return model.config._attn_implementation == ATTENTION


def pack(
    rows: Sequence[Row], *, max_tokens: int, causal: bool, first_position: int, device: torch.device
) -> list[PackedBatch]:
    """Cut rows (longest first) into passes of at most `max_tokens` tokens. A longer row is a pass of its own."""

    def starts_new(group: Sequence[Row], row: Row) -> bool:
        return sum(len(member.ids) for member in group) + len(row.ids) > max_tokens

    return [_tensors(group, causal, first_position, device) for group in cut(rows, starts_new)]


def _tensors(rows: tuple[Row, ...], causal: bool, first_position: int, device: torch.device) -> PackedBatch:
    def tensor(values: list[Any]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    starts = [0]
    for row in rows:
        starts.append(starts[-1] + len(row.ids))
    rectangles: list[torch.Tensor] = []
    filled: list[torch.Tensor | None] = []
    unfold: list[int] = []
    first, offset = 0, 0
    for group in cut(rows, lambda group, row: len(row.ids) < SHORTEST_IN_RECTANGLE * len(group[0].ids)):
        longest = len(group[0].ids)
        positions = []
        for number, row in enumerate(group):
            start, length = starts[first + number], len(row.ids)
            positions.append([*range(start, start + length), *[start] * (longest - length)])
            unfold += range(offset + number * longest, offset + number * longest + length)
        rectangles.append(tensor(positions))
        filled.append(None if causal else _filled([len(row.ids) for row in group], device))
        first, offset = first + len(group), offset + longest * len(group)
    return PackedBatch(
        rows=rows,
        input_ids_1T=tensor([[token for row in rows for token in row.ids]]),
        position_ids_1T=tensor([[first_position + place for row in rows for place in range(len(row.ids))]]),
        places=tensor([start + place for start, row in zip(starts, rows, strict=False) for place in row.places]),
        rectangles=tuple(rectangles),
        filled=tuple(filled),
        unfold_T=tensor(unfold),
    )


def _filled(lengths: Sequence[int], device: torch.device) -> torch.Tensor | None:
    """Return which places of a rectangle's rows (longest first) are filled, or None if all are."""
    if lengths[-1] == lengths[0]:
        return None
    places_L = torch.arange(lengths[0], device=device)
    return (places_L < torch.tensor(lengths, device=device)[:, None])[:, None, None]


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    **arguments: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each row; query, key and value are [1, heads, T, width], the result is [1, T, heads, width]."""
    batch = _BATCH.get()
    answers = []
    for rectangle, filled in zip(batch.rectangles, batch.filled, strict=True):
        q, k, v = (tensor[0][:, rectangle].transpose(0, 1) for tensor in (query, key, value))
        # the empty places follow the end of a row, where a causal row never looks: it needs no mask
        answer, _ = sdpa_attention_forward(module, q, k, v, filled, **arguments)
        answers.append(answer.flatten(0, 1))
    return torch.cat(answers)[batch.unfold_T][None], None
