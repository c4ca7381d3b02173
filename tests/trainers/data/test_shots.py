import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.config import RunConfig
from trainers.data.shots import few_shot
from trainers.evaluators.base import Example

EXAMPLES = [Example((number,), (), number % 3) for number in range(60)]
LABELS = ["a", "b", "c"]


def test_so_many_of_each_label_whatever_the_order_of_the_file():
    chosen = few_shot(EXAMPLES, LABELS, 4, seed=13)
    assert [sum(one.label == label for one in chosen) for label in range(3)] == [4, 4, 4]
    assert chosen == few_shot(EXAMPLES, LABELS, 4, seed=13)
    assert chosen != few_shot(EXAMPLES, LABELS, 4, seed=21)
    shuffled = random.Random(0).sample(EXAMPLES, len(EXAMPLES))
    assert set(few_shot(shuffled, LABELS, 4, seed=13)) == set(chosen)


@given(leaves=st.integers(0, 59), seed=st.integers(0, 5))
def test_one_row_moves_the_selection_by_itself_and_one_that_takes_its_place(leaves, seed):
    chosen = set(few_shot(EXAMPLES, LABELS, 4, seed))
    without = set(few_shot([one for one in EXAMPLES if one != EXAMPLES[leaves]], LABELS, 4, seed))
    gone, new = chosen - without, without - chosen
    assert gone <= {EXAMPLES[leaves]}
    assert len(gone) == len(new)
    assert {one.label for one in new} == {one.label for one in gone}


def test_a_label_with_too_few_rows_is_refused_and_their_number_is_not_told():
    with pytest.raises(ValueError, match=r"data\.shots: label 'a' has fewer than 33 rows") as caught:
        few_shot(EXAMPLES, LABELS, 33, 0)
    assert "20" not in str(caught.value)


def configured(data, task=None) -> RunConfig:
    task = task or {"template": "{text}", "label_column": "label", "labels": LABELS}
    head = "sequence-classification" if "labels" in task else "causal-lm"
    model = {"path": "m", "head": head}
    privacy = {"expected_batch_size": 2, "epsilon": 1}
    return RunConfig.model_validate(
        {"name": "t", "data": {"train": "x", **data}, "task": task, "model": model, "privacy": privacy}
    )


def test_the_declared_size_is_shots_times_labels():
    assert configured({"shots": 16}).data.num_examples == 48
    assert configured({"shots": 16, "num_examples": 48}).data.num_examples == 48
    with pytest.raises(ValueError, match=r"data\.num_examples 50 is not data\.shots 16 × 3 labels = 48"):
        configured({"shots": 16, "num_examples": 50})
    with pytest.raises(ValueError, match=r"data\.shots chooses by label"):
        configured({"shots": 16, "num_examples": 50}, {"template": "{text}", "target": "{a}"})
