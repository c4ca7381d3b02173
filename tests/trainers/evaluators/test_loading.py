"""A checkpoint is data: its own code is not run, and nobody is asked on the terminal whether it may."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import tokenizer
from trainers.config import ModelConfig, PerformanceConfig
from trainers.data.tokenization import load_tokenizer
from trainers.evaluators.loading import load_model
from trainers.evaluators.vllm.evaluator import VllmEvaluator

HEADS = {
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "sequence-classification": "AutoModelForSequenceClassification",
}


@pytest.fixture
def stranger(tmp_path) -> Path:
    """A model folder that brings its own code, which would write a file."""
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    (tmp_path / "stranger").with_suffix(".py").write_text(code + "class Stranger: ...\n")
    parts = ["AutoConfig", *HEADS.values()]
    config = {"model_type": "stranger", "auto_map": dict.fromkeys(parts, "stranger.Stranger")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def terminal(monkeypatch):
    """A terminal on which somebody has already typed y; it gives what can still be read from it."""
    master, slave = pty.openpty()
    os.write(master, b"y\ny\n")
    with open(slave) as typed:
        monkeypatch.setattr("sys.stdin", typed)
        yield lambda: os.read(slave, 100) if select.select([slave], [], [], 0)[0] else b""
    os.close(master)


@pytest.mark.parametrize("head", HEADS)
def test_no_model_runs_its_code_or_asks(stranger, terminal, head):
    model = ModelConfig.model_validate({"path": str(stranger), "head": head})
    with pytest.raises(ValueError, match="could be loaded"):
        load_model(model, num_labels=2, pad_token_id=0, seed=0, device="cpu")
    assert terminal() == b"y\n"  # nobody has read it
    assert not (stranger / "ran").exists()


def test_no_configuration_runs_its_code_or_asks(stranger, terminal):
    with pytest.raises(ValueError, match="custom code"):
        VllmEvaluator(ModelConfig(path=str(stranger)), PerformanceConfig(), tokenizer(), num_labels=2, seed=0)
    assert terminal() == b"y\n"
    assert not (stranger / "ran").exists()


def test_no_tokenizer_runs_its_code_or_asks(stranger, terminal):
    settings = json.loads((stranger / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Stranger", "auto_map": {"AutoTokenizer": ["stranger.Stranger", None]}}
    (stranger / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"model\.path: no tokenizer could be loaded"):
        load_tokenizer(str(stranger))
    assert terminal() == b"y\n"
    assert not (stranger / "ran").exists()


def test_the_command_line_reads_nothing_from_its_terminal():
    asks = "import orchestrator.cli.app as cli; cli.app = lambda: print(repr(input())); cli.main()"
    master, slave = pty.openpty()
    os.write(master, b"y\n")
    done = subprocess.run([sys.executable, "-c", asks], stdin=slave, capture_output=True, text=True, check=False)
    assert "EOFError" in done.stderr
    for end in (master, slave):
        os.close(end)
