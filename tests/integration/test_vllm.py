"""`dpzo train` and `dpzo export` on the real engine, in processes of their own as a user starts them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import write_config

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")


def dpzo(*arguments: str) -> str:
    command = [sys.executable, "-m", "orchestrator", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def on_vllm(settings) -> dict[str, Any]:
    del settings["search"]
    settings["performance"]["evaluator"] = "vllm"
    settings["task"]["max_tokens"] = 40
    return settings


def test_a_run_says_what_computed_its_losses_and_is_rebuilt_by_the_other_evaluator(on_vllm, tmp_path):
    on_vllm["method"]["direction"] = "rademacher"
    dpzo("train", str(write_config(tmp_path, on_vllm)))
    folder = tmp_path / "runs" / "test"
    found = json.loads((folder / "result.json").read_text())
    assert found["steps"] == 4
    assert found["statement"]["losses"] == {"evaluator": "vllm", "batch_invariant": False}
    assert any(name.startswith("vllm") for name in found["statement"]["versions"])
    assert "computed by vllm; a neighbour in a batch" in " ".join(
        (folder / "privacy_statement.txt").read_text().split()
    )
    dpzo("export", str(folder), "--to", str(tmp_path / "model"), "--evaluator", "transformers")
    weights = [path / "model.safetensors" for path in (folder / "model", tmp_path / "model")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_doctor_finds_that_the_evaluators_agree(on_vllm, tmp_path):
    """One shown low-rank probes as adapters, the other with them written."""
    on_vllm["model"]["trainable"] = "all-linear"
    on_vllm["method"] |= {"direction": "low-rank", "direction_rank": 2}
    found = json.loads(dpzo("doctor", str(write_config(tmp_path, on_vllm)), "--format", "json"))
    by_name = {finding["name"]: finding["state"] for finding in found["findings"]}
    assert by_name["evaluators agree"] == by_name["the same update"] == by_name["vllm: θ restored"] == "ok"
