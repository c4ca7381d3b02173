import json

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from tests.support.models import save_model


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    save_model(tmp_path / "model", "bert", "masked-lm")
    rows = [{"text": "food was not very good [1] " * (1 + 5 * (n % 2)), "label": n % 3} for n in range(9)]
    (tmp_path / "private.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "name": "preview",
        "storage_path": "runs",
        "data": {"train": "private.jsonl", "num_examples": 100},
        "task": {
            "template": "{text} It was [MASK]",
            "label_column": "label",
            "label_words": {"0": "terrible", "1": "great"},
            "skip_labels": ["2"],
            "max_tokens": 20,
        },
        "model": {"path": "model", "head": "masked-lm"},
        "method": {"name": "mezo"},
    }


def invoke(tmp_path, config, *arguments):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    return CliRunner().invoke(app, ["data", "preview", str(path), *arguments])


def test_examples_lengths_and_how_many_are_cut(tmp_path, config):
    before = sorted(path.name for path in tmp_path.rglob("*"))
    result = invoke(tmp_path, config, "--count", "3")
    assert result.exit_code == 0, result.output
    assert "These are private rows" in result.output
    flat = " ".join(result.output.split())
    assert (
        "9 rows; prompts of 11 tokens (median), 41 (95 %), 41 (longest); 44.4% longer than task.max_tokens 20" in flat
    )
    assert "<s> food was not very good <unk> It was <mask> </s>" in flat
    assert "'terrible' of 2" in flat
    assert max(len(line) for line in result.output.splitlines()) <= 80
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([*before, "config.json"]), "nothing is written"


def test_no_more_examples_than_asked_for(tmp_path, config):
    count = [line.split()[:1] for line in invoke(tmp_path, config, "--count", "2").output.splitlines()]
    assert ["2"] in count
    assert ["3"] not in count


def test_what_cannot_be_prepared_is_one_line(tmp_path, config):
    config["task"]["label_words"]["0"] = "not good"
    result = invoke(tmp_path, config)
    assert result.exit_code == 2
    assert "'not good' (label '0') is 2 tokens of this model, 'not', 'good'; a masked model predicts one" in " ".join(
        result.output.split()
    )
