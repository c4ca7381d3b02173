"""States of rows below the first layer that moves, kept from step to step (`performance.kept_states_gb`).

With `model.layers` the layers below never move, so what they make of a row is the same at every step. In half precision
a row chooses the shape of its pass, and its neighbours change no bit of it (padding.py), so kept states have the bits
of those that are computed again. That this holds on this device is checked on made-up rows.

The states are private, as the rows are: they stay in memory and go with the evaluator. How long a step takes then tells
how many rows of its batch are new.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from trainers.evaluators.base import Example
from trainers.evaluators.rows import Row
from trainers.evaluators.transformers.forward import Forward
from trainers.evaluators.transformers.lower_layers import LowerLayers
from trainers.evaluators.transformers.packing import PackedBatch
from trainers.evaluators.transformers.padding import PaddedBatch

LOGGER = logging.getLogger(__name__)
Key = tuple[tuple[int, ...], int]
"""A row's token ids, and the padded length of its pass."""


class KeptStates:
    """What the lower layers make of each row that was read.

    Args:
        lower, start: the layers, and the number of the first one that moves.
        forward: of the model.
        gigabytes: memory limit; rows beyond it are computed again in each batch.
    """

    def __init__(self, lower: LowerLayers, start: int, forward: Forward, gigabytes: float) -> None:
        self._lower, self._start, self._forward = lower, start, forward
        self._limit, self._size = int(gigabytes * 1e9), 0
        self._states: dict[Key, torch.Tensor] = {}

    def give(self, passes: Sequence[PackedBatch] | Sequence[PaddedBatch]) -> None:
        """Give the states of every padded pass of a batch to the lower layers, within their `read_once`."""
        batches = [batch for batch in passes if isinstance(batch, PaddedBatch)]
        rows = {_key(row, batch): row for batch in batches for row in batch.rows}
        states = {key: self._states[key] for key in rows.keys() & self._states.keys()}
        new = self._computed([row for key, row in rows.items() if key not in states])
        for key, state in new.items():
            if self._size + state.nbytes <= self._limit:
                self._states[key] = state
                self._size += state.nbytes
        states |= new
        for batch in batches:
            of_rows = [states[_key(row, batch)] for row in batch.rows]
            unread = of_rows[:1] * (len(batch.input_ids_RL) - len(of_rows))
            self._lower.give(batch, self._start, torch.stack([*of_rows, *unread]))

    def _computed(self, rows: Sequence[Row]) -> dict[Key, torch.Tensor]:
        computed = {}
        for batch in self._forward.passes(rows):
            assert isinstance(batch, PaddedBatch), "packed rows depend on their neighbours"
            states_RLW = self._lower.states(batch, self._forward.logits, self._start)
            computed |= {_key(row, batch): states_RLW[r].clone() for r, row in enumerate(batch.rows)}
        return computed

    def are_exact(self, examples: Sequence[Example]) -> bool:
        """Return whether rows have the same states alone, together, and together in another order."""
        rows = self._forward.rows(examples)
        together = self._computed(rows)
        others = [self._computed([*rows[1:], *rows[:1]]), *(self._computed([row]) for row in rows)]
        return all(torch.equal(state, together[key]) for of in others for key, state in of.items())


def kept_states(
    lower: LowerLayers, start: int, forward: Forward, examples: Sequence[Example], gigabytes: float
) -> KeptStates | None:
    """Return where states are kept, or None where nothing lies below, or where kept states would have other bits.

    examples: made up, on which that is checked.
    """
    if not (gigabytes and start):
        return None
    kept = KeptStates(lower, start, forward, gigabytes)
    if kept.are_exact(examples):
        return kept
    LOGGER.warning("performance.kept_states_gb: a row's neighbours change its states here, so none are kept")
    return None


def _key(row: Row, batch: PaddedBatch) -> Key:
    return row.ids, batch.input_ids_RL.shape[1]
