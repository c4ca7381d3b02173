"""A user's folder: a tiny model, private and public JSONL files, and a configuration that points at them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.support.models import save_model

SUBJECTS, VERBS = ["food", "service"], ["was very", "was not", "was"]


def write_reviews(path: Path, count: int, seed: int) -> Path:
    """Write `count` reviews whose label is in their words."""
    source = random.Random(seed)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            verb = source.choice(VERBS)
            label = "bad" if "not" in verb else "good"
            text = f"{source.choice(SUBJECTS)} {verb} good"
            file.write(json.dumps({"text": text, "label": label}) + "\n")
    return path


def write_project(folder: Path, *, num_examples: int = 200) -> dict[str, Any]:
    """Make the folder and return the configuration of a sweep in it, as plain values."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "model", "llama")
    return {
        "name": "test",
        "storage_path": str(folder / "runs"),
        "data": {
            "train": str(write_reviews(folder / "private.jsonl", num_examples, seed=1)),
            "num_examples": num_examples,
            "validation": str(write_reviews(folder / "public.jsonl", 40, seed=2)),
        },
        "task": {
            "template": "{text} It was",
            "label_column": "label",
            "label_words": {"bad": " terrible", "good": " great"},
        },
        "model": {"path": str(folder / "model")},
        "method": {
            "name": "dp-aggzo",
            "num_steps": 12,
            "num_directions": 2,
            "smoothing": 0.01,
            "clip_norm": 1.0,
            "learning_rate": 0.001,
        },
        "privacy": {"rounding_share": 0, "epsilon": 8, "delta": 1e-5, "expected_batch_size": 16},
        "score": {"times": 2},
        "performance": {"num_threads": 1},
        "search": {
            "num_trials": 3,
            "seed": 0,
            "space": {"method.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        },
    }


def write_config(folder: Path, config: dict[str, Any]) -> Path:
    """Write a configuration as JSON, which is read like YAML."""
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path
