"""`dpzo train` and `dpzo export` on the real engine, in processes of their own as a user starts them."""

from __future__ import annotations

import json
import os
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


def require_rebuilt(folder: Path, copy: Path) -> None:
    """Check that the log, replayed by transformers, gives the weights that the engine exported."""
    dpzo("export", str(folder), "--to", str(copy), "--evaluator", "transformers")
    weights = [path / "model.safetensors" for path in (folder / "model", copy)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


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
    assert found["statement"]["losses"] == {"evaluator": "vllm", "batch_invariant": False, "rounding_share": 0.0}
    assert any(name.startswith("vllm") for name in found["statement"]["versions"])
    assert "computed by vllm; the other examples of a batch" in " ".join(
        (folder / "privacy_statement.txt").read_text().split()
    )
    require_rebuilt(folder, tmp_path / "model")


def test_the_doctor_finds_that_the_evaluators_agree(on_vllm, tmp_path):
    """One shown low-rank probes as adapters, the other with them written."""
    on_vllm["model"]["trainable"] = "all-linear"
    on_vllm["method"] |= {"direction": "low-rank", "direction_rank": 2}
    found = json.loads(dpzo("doctor", str(write_config(tmp_path, on_vllm)), "--format", "json"))
    by_name = {finding["name"]: finding["state"] for finding in found["findings"]}
    assert by_name["evaluators agree"] == by_name["the same update"] == by_name["vllm: θ restored"] == "ok"


@pytest.mark.skipif(not os.environ.get("DPZO_VLLM_WORKERS"), reason="takes minutes; set DPZO_VLLM_WORKERS=1")
@pytest.mark.parametrize("parallel", ["data", "directions"])
def test_workers_with_an_engine_each_take_a_run_together(on_vllm, tmp_path, parallel):
    on_vllm["method"]["direction"] = "rademacher"
    on_vllm["resources"] = {"workers": 2, "parallel": parallel, "check_steps": 2}
    dpzo("train", str(write_config(tmp_path, on_vllm)))
    folder = tmp_path / "runs" / "test"
    found = json.loads((folder / "result.json").read_text())
    assert (found["steps"], found["steps_charged"]) == (4, 4)
    assert found["statement"]["losses"]["evaluator"] == "vllm"
    require_rebuilt(folder, tmp_path / "model")
