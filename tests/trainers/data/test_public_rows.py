"""Public rows: from data.public or made here, as examples of the task, labelled only where gradients need it."""

from __future__ import annotations

import json

import pytest

from tests.support.models import tokenizer
from tests.support.runs import run_config
from trainers.config import RunConfig
from trainers.data.prompts import PromptEncoder
from trainers.data.public_rows import GRADIENT_ROWS, NUM_ROWS, general_sentences, gradient_batches, public_rows
from trainers.evaluators.base import Example

TEXTS = ["good food", "not good", "very good service"]


def learned(config: RunConfig) -> list[Example]:
    return public_rows(config, PromptEncoder(config.task, tokenizer()))


def activation(**more: object) -> RunConfig:
    return run_config(model__trainable="all-linear", method__direction="activation", **more)


def gradients(path: str) -> RunConfig:
    return run_config(method__direction="public-gradient", method__direction_rank=2, data__public=path)


def write(folder, rows: list[dict]) -> str:
    path = folder / "public.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_general_sentences_are_many_and_different():
    sentences = general_sentences(3000)
    assert len(set(sentences)) == 3000
    assert sentences[:20] == general_sentences(20)


def test_nothing_is_read_where_nothing_is_learned():
    assert learned(run_config()) == []


def test_without_a_file_the_columns_hold_general_sentences():
    examples = learned(activation(task__template="{text} It was"))
    assert len(examples) == NUM_ROWS


def test_text_needs_no_labels(tmp_path):
    path = write(tmp_path, [{"text": text} for text in TEXTS])
    assert [len(of.prompt_ids) for of in learned(activation(data__public=path))] == [2, 2, 3]


def test_gradients_need_labels_and_enough_rows(tmp_path):
    rows = [{"text": TEXTS[n % 3], "label": "ab"[n % 2]} for n in range(2 * GRADIENT_ROWS + 5)]
    examples = learned(gradients(write(tmp_path, rows)))
    assert [len(batch) for batch in gradient_batches(examples)] == [GRADIENT_ROWS, GRADIENT_ROWS]
    assert {of.label for of in examples} == {0, 1}
    with pytest.raises(ValueError, match=r"^data\.public: column 'label' is not in public\.jsonl"):
        learned(gradients(write(tmp_path, [{"text": text} for text in TEXTS])))
    with pytest.raises(ValueError, match=r"^data\.public holds 9 rows, and 2 gradients take 32 each"):
        learned(gradients(write(tmp_path, rows[:9])))
