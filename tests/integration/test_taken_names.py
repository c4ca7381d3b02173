"""One name, one run or sweep, one process: who comes second is refused before a model is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import Result

from orchestrator.privacy.ledger.ledger import Ledger

HOLD = """
import sys
from pathlib import Path
from orchestrator.storage.paths import Storage
with Storage(Path(sys.argv[1]), "test").lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files but those of the database, whose draws are looked at through the ledger."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(("dpzo.db", ".lock"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def finished(dpzo, settings) -> Path:
    """The storage of a finished run under the name 'test'."""
    result = dpzo("train")
    assert result.exit_code == 0, result.output
    return Path(settings["storage_path"])


def refusal(result: Result) -> str:
    assert result.exit_code == 2, result.output
    return result.stderr.rstrip("\n").splitlines()[-1].removeprefix("Error: ")


def test_the_name_of_a_finished_sweep(finished, dpzo, no_model):
    before, drawn = snapshot(finished), Ledger(f"sqlite:///{finished / 'dpzo.db'}").reservations()
    line = refusal(dpzo("sweep"))
    assert line == (
        f"name: the sweep 'test' is finished, its results are in {finished / 'test'}. Give a new sweep another name, "
        "such as --set name=test-2."
    )
    assert snapshot(finished) == before
    assert Ledger(f"sqlite:///{finished / 'dpzo.db'}").reservations() == drawn


@pytest.mark.parametrize(
    "change", ["method.learning_rate=0.5", "method.num_steps=3", "privacy.noise_multiplier=5", "method.seed=1"]
)
def test_the_name_of_a_run_with_other_settings(finished, dpzo, no_model, change):
    before, drawn = snapshot(finished), Ledger(f"sqlite:///{finished / 'dpzo.db'}").reservations()
    line = refusal(dpzo("train", change))
    assert "name" in line
    assert snapshot(finished) == before
    assert Ledger(f"sqlite:///{finished / 'dpzo.db'}").reservations() == drawn


@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_a_name_that_another_process_is_running(refused, settings, verb):
    command = [sys.executable, "-c", HOLD, settings["storage_path"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        line = refused(verb)
        holder.kill()
    assert line == "name: 'test' is running in another process; wait, or give another name."
