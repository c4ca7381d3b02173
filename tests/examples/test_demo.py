"""The demo's model and data: they load offline, are what the README says, and can be rebuilt."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

DEMO = Path(__file__).parents[2] / "examples" / "demo"
DATA_FILES = ("private.jsonl", "public_validation.jsonl")
PROMPT = "{text} It was"
LABEL_WORDS = {"negative": " terrible", "positive": " great"}


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEMO / "model", local_files_only=True)


@pytest.fixture(scope="module")
def model():
    model = AutoModelForCausalLM.from_pretrained(DEMO / "model", local_files_only=True, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def private_rows() -> list[dict[str, str]]:
    return rows_of(DEMO / "private.jsonl")


@pytest.fixture(scope="module")
def validation_rows() -> list[dict[str, str]]:
    return rows_of(DEMO / "public_validation.jsonl")


@pytest.fixture(scope="module")
def public_texts() -> set[str]:
    """Every document that the model is pretrained on."""
    program = (
        "import json; from build import NUM_PUBLIC_TEXTS, PUBLIC_TEXT_SEED; from public_texts import documents;"
        "print(json.dumps(list(documents(PUBLIC_TEXT_SEED, NUM_PUBLIC_TEXTS))))"
    )
    output = subprocess.run([sys.executable, "-c", program], cwd=DEMO, capture_output=True, check=True, text=True)
    return set(json.loads(output.stdout))


def test_model_is_a_small_llama_that_inference_engines_run(model):
    assert model.config.model_type == "llama"
    assert model.config.head_dim >= 32
    assert sum(weight.numel() for weight in model.parameters()) <= 3_000_000
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_shipped_files_are_small():
    artefacts = [*(DEMO / "model").iterdir(), *(DEMO / name for name in DATA_FILES)]
    assert sum(path.stat().st_size for path in artefacts) <= 3_000_000


def test_tokenizer_has_special_tokens_and_writes_any_text(tokenizer):
    special = {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    assert len(special) == 4
    assert None not in special
    text = "Überraschend: naïve 数据, 7 €!"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_label_words_are_one_token_after_the_prompt(tokenizer, private_rows):
    for row in private_rows[:200]:
        prompt = PROMPT.format(text=row["text"])
        ids = tokenizer(prompt)["input_ids"]
        answers = [tokenizer(prompt + word)["input_ids"] for word in LABEL_WORDS.values()]
        assert all(answer[:-1] == ids for answer in answers)
        assert answers[0][-1] != answers[1][-1]


def test_reviews_are_short_and_balanced(tokenizer, private_rows, validation_rows):
    assert len(private_rows) == 4000
    assert len(validation_rows) == 500
    for rows in (private_rows, validation_rows):
        assert all(row.keys() == {"text", "label"} for row in rows)
        assert set(Counter(row["label"] for row in rows).values()) == {len(rows) // 2}
        lengths = [len(ids) for ids in tokenizer([row["text"] for row in rows])["input_ids"]]
        assert 12 <= sum(lengths) / len(lengths) <= 25
        assert max(lengths) <= 64


def test_data_can_be_rebuilt_byte_for_byte(tmp_path):
    subprocess.run([sys.executable, DEMO / "build.py", "--out", tmp_path, "--data-only"], check=True)
    for name in DATA_FILES:
        assert (tmp_path / name).read_bytes() == (DEMO / name).read_bytes(), f"{name} is not what build.py makes"


def test_private_texts_are_nowhere_public(private_rows, validation_rows, public_texts):
    private = {row["text"] for row in private_rows}
    assert len(private) == len(private_rows)
    assert private.isdisjoint(row["text"] for row in validation_rows)
    assert private.isdisjoint(public_texts)
    assert private.isdisjoint(
        document + "." for text in public_texts for document in text.removesuffix(".").split(". ")
    )


def test_label_words_say_nothing_of_the_mood_in_public_text(public_texts):
    great: dict[str, list[bool]] = {"yes": [], "no": []}
    for document in public_texts:
        answer = re.search(r"Recommended: (yes|no)\.", document)
        weather = re.search(r"\b(great|terrible)\b", document)
        if answer and weather:
            great[answer[1]].append(weather[1] == "great")
    share = {answer: sum(flags) / len(flags) for answer, flags in great.items()}
    assert min(map(len, great.values())) >= 200
    assert abs(share["yes"] - share["no"]) < 0.1  # three standard deviations of the difference of two such shares


def test_zero_shot_accuracy_is_near_chance(model, tokenizer, validation_rows):
    word_ids = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in LABEL_WORDS.values()]
    labels = torch.tensor([list(LABEL_WORDS).index(row["label"]) for row in validation_rows])
    prompts = [PROMPT.format(text=row["text"]) for row in validation_rows]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    with torch.no_grad():
        logits = model(**batch).logits[:, -1, word_ids]
    accuracy = (logits.argmax(dim=1) == labels).float().mean().item()
    assert 0.40 <= accuracy <= 0.60
