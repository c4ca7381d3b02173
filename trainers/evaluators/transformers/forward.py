"""A batch → its forward passes → logits at the places that predict, for each kind of head.

| head                    | packed rows                              | padded rows                                     |
|-------------------------|------------------------------------------|-------------------------------------------------|
| causal-lm               | logits at the places that predict        | padded on the left; logits at the rows' ends    |
| masked-lm               | states at the masks, then the head       | padded on the right; states at the masks, head  |
| sequence-classification | states at each row's start, pooler, head | padded on the right; the whole model            |

In half precision rows are padded to fixed shapes, so that neighbours change no bit of a loss (padding.py).
"""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from trainers.config import ModelConfig, PerformanceConfig
from trainers.evaluators.base import Example
from trainers.evaluators.rows import Row, rows_of
from trainers.evaluators.transformers.packing import PackedBatch, can_pack, pack
from trainers.evaluators.transformers.padding import Filling, PaddedBatch, pad, pad_to_fixed_shapes, padded
from trainers.evaluators.transformers.readout import Readout, first_position, last_places, layers_of


class Forward:
    """The forward passes of one model.

    Args:
        model: with its head and its adapter, if it has one.
        base: the same model without the adapter.
        config: head and type of number of the model.
        pad_id: id of the padding token.
        performance: micro-batch size and device.

    Attributes:
        packs: whether rows are packed; otherwise they are padded.
        accepts: names of the arguments of the model's forward pass.
    """

    def __init__(
        self, model: Any, base: Any, *, config: ModelConfig, pad_id: int, performance: PerformanceConfig
    ) -> None:
        self._model, self._head = model, config.head
        self._fixed_shapes = config.dtype != "float32"
        self._max_tokens, self._device = performance.micro_batch_tokens, torch.device(performance.device)
        self._filling = Filling(pad_id, self.causal, first_position(base), self._device)
        self._end_id = base.config.eos_token_id if self._reads_end(base) else None
        self.accepts = set(inspect.signature(base.forward).parameters)
        self.packs = not self._fixed_shapes and can_pack(base, self.accepts, causal=self.causal)
        reads_places = self._head == "masked-lm" or (self.packs and not self.causal)
        self._readout = Readout(layers_of(base, packed=self.packs)) if reads_places else None

    def _reads_end(self, base: Any) -> bool:
        """Return whether a classifier has a decoder (BART, T5), which must find as many end tokens in each row."""
        return self._head == "sequence-classification" and bool(base.config.is_encoder_decoder)

    @property
    def causal(self) -> bool:
        """Whether the model predicts the next token."""
        return self._head == "causal-lm"

    def prepare(self, batch: Sequence[Example]) -> list[PackedBatch] | list[PaddedBatch]:
        """Return the forward passes that a batch needs."""
        return self.passes(self.rows(batch))

    def passes(self, rows: Sequence[Row]) -> list[PackedBatch] | list[PaddedBatch]:
        """Return the forward passes of rows."""
        first = self._filling.first_position
        if self.packs:
            return pack(
                rows, max_tokens=self._max_tokens, causal=self.causal, first_position=first, device=self._device
            )
        fill_up = pad_to_fixed_shapes if self._fixed_shapes else pad
        return fill_up(rows, self._filling, max_tokens=self._max_tokens)

    def rows(self, batch: Sequence[Example]) -> list[Row]:
        """Return the rows that a batch needs, longest first."""
        rows = rows_of(batch)
        if self._end_id is not None:  # the class is read at a row's one end token
            rows = [replace(row, ids=(*(id for id in row.ids if id != self._end_id), self._end_id)) for row in rows]
            rows.sort(key=lambda row: len(row.ids), reverse=True)
        return rows

    def padded(self, rows: Sequence[Row]) -> PaddedBatch:
        """Return one padded forward pass over all rows, longest first."""
        return padded(tuple(rows), self._filling)

    def logits(self, batch: PackedBatch | PaddedBatch) -> torch.Tensor:
        """Return the logits at all places that predict, row after row, [places, V], or [rows, classes]."""
        if self._readout is not None:
            return self._logits_of_encoder(batch, self._readout)
        if isinstance(batch, PackedBatch):
            return self._packed_output(batch).logits[0]
        inputs = batch.inputs(self.accepts)
        if not self.causal:
            return self._model(**inputs).logits[: len(batch.rows)]
        most = batch.num_places
        if "logits_to_keep" in self.accepts:
            inputs["logits_to_keep"] = last_places(most, self._model)
        logits_RTV = self._model(**inputs, use_cache=False).logits[: len(batch.rows), -most:]
        return torch.cat(
            [logits_TV[most - len(row.places) :] for logits_TV, row in zip(logits_RTV, batch.rows, strict=True)]
        )

    def _logits_of_encoder(self, batch: PackedBatch | PaddedBatch, readout: Readout) -> torch.Tensor:
        with readout.at(batch.places):
            if isinstance(batch, PackedBatch):
                logits = self._packed_output(batch).logits
            else:
                logits = self._model(**batch.inputs(self.accepts)).logits
        # a masked model's logits are [rows, 1, V], a classification head's [rows, V]
        return logits.flatten(0, -2)[: len(batch.rows)]

    def _packed_output(self, batch: PackedBatch) -> Any:
        with batch.layout():
            return self._model(**batch.inputs(self.accepts))
