"""Fixed shapes: what a row is computed with depends on that row alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.evaluators.rows import Row
from trainers.evaluators.transformers.padding import Filling, PaddedBatch, pad_to_fixed_shapes

ROWS = st.lists(st.tuples(st.integers(1, 70), st.integers(1, 20)), min_size=1, max_size=25)


def row(number: int, length: int, num_targets: int) -> Row:
    ids = tuple(1 + (number + place) % 50 for place in range(length))
    return Row(number, 0, ids, (1,) * min(num_targets, length), options_share_place=False)


def shapes(rows, left: bool, max_tokens: int) -> dict[int, tuple]:
    filling = Filling(0, left, 2, torch.device("cpu"))
    batches = pad_to_fixed_shapes(rows, filling, max_tokens=max_tokens)
    found = [(one, batch) for batch in batches for one in batch.rows]
    assert len(found) == len(rows)
    return {one.example: _shape(batch) for one, batch in found}


def _shape(batch: PaddedBatch) -> tuple:
    assert not batch.attention_mask_RL.all(), "a pass without padding would be computed without a mask"
    assert all(len(row.places) <= batch.num_places for row in batch.rows)
    return tuple(batch.input_ids_RL.shape), batch.num_places


@given(lengths=ROWS, left=st.booleans(), max_tokens=st.sampled_from([8, 100, 4096]))
def test_neighbours_choose_no_shape(lengths, left, max_tokens):
    rows = [row(number, *of) for number, of in enumerate(lengths)]
    together = shapes(rows, left, max_tokens)
    assert together == {one.example: shapes([one], left, max_tokens)[one.example] for one in rows}


@pytest.mark.parametrize("left", [True, False])
def test_rows_stand_where_they_are_read(left):
    rows = [row(number, length, 1) for number, length in enumerate([3, 15, 4])]
    (batch,) = pad_to_fixed_shapes(rows, Filling(0, left, 2, torch.device("cpu")), max_tokens=4096)
    assert batch.input_ids_RL.shape == (32, 16)
    for place, one in enumerate(batch.rows):
        kept = batch.attention_mask_RL[place].bool()
        assert batch.input_ids_RL[place][kept].tolist() == list(one.ids)
        assert batch.position_ids_RL[place][kept].tolist() == list(range(2, 2 + len(one.ids)))
        assert kept.tolist() == sorted(kept.tolist(), reverse=not left)
