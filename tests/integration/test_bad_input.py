"""What users get wrong: one clear line, exit code 2 or 3, before any model is loaded, and nothing is charged."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.privacy.ledger import Ledger
from tests.support.project import write_config, write_project

BOTH = pytest.mark.parametrize("verb", ["train", "sweep"])
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> dict[str, Any]:
    """A user's folder with a tiny model; copied, never changed."""
    return write_project(tmp_path_factory.mktemp("project"), num_examples=40)


@pytest.fixture
def settings(project, tmp_path) -> dict[str, Any]:
    """Its configuration with σ given, which is planned in no time, and with results in a folder of the test's own."""
    values = copy.deepcopy(project)
    values["storage_path"] = str(tmp_path / "runs")
    values["privacy"] = {"noise_multiplier": 4.0, "expected_batch_size": 8}
    values["method"]["num_steps"] = 2
    return values


@pytest.fixture
def dpzo(settings, tmp_path) -> Callable[..., Result]:
    """Run a verb on the settings as they are by then."""

    def run(verb: str, *overrides: str) -> Result:
        path = write_config(tmp_path, settings)
        sets = [part for override in overrides for part in ("--set", override)]
        return CliRunner().invoke(app, [verb, str(path), *sets])

    return run


@pytest.fixture
def no_model(monkeypatch) -> None:
    """Fail the test where a model is loaded, or a cluster started that would load one."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a model was about to be loaded")

    monkeypatch.setattr("trainers.evaluators.transformers.load_model", fail)
    monkeypatch.setattr("orchestrator.session.ray.init", fail)


@pytest.fixture
def refused(dpzo, no_model, tmp_path) -> Refused:
    """Run a verb that must be refused, and return the one line that it says."""

    def run(verb: str, *overrides: str, code: int = 2) -> str:
        result = dpzo(verb, *overrides)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        *plan, line = result.stderr.rstrip("\n").splitlines()
        assert not any("Error" in text or "refused" in text for text in plan)
        assert [path for path in (tmp_path / "runs").rglob("*") if path.name != ".lock" and path.is_file()] == []
        return line.removeprefix("Error: ").removeprefix("Budget refused: ")

    return run


def rewrite(settings: dict[str, Any], place: str, path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Point data.train or data.validation at a changed copy of its rows."""
    rows = [json.loads(line) for line in Path(settings["data"][place]).read_text().splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings["data"][place] = str(path)


@BOTH
@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("method.learning_rat=1", "method.learning_rat: unknown key. Did you mean 'learning_rate'?"),
        ("privacy.noise_multiplier=0", "privacy.noise_multiplier: must be greater than 0, got 0"),
        ("privacy.noise_multiplier=-1.5", "privacy.noise_multiplier: must be greater than 0, got -1.5"),
        ("privacy.noise_multiplier=.nan", "privacy.noise_multiplier: must be a"),
        ("privacy.expected_batch_size=41", "privacy.expected_batch_size 41 exceeds data.num_examples 40"),
        ("score.on=private", "score.on: private needs data.validation and score.num_examples"),
        ("task.label_words={good: ' great'}", "task: label_words needs at least two labels"),
        ("method.name=mezo", "method: MeZO takes num_directions 1, not 2"),
        ("name=../elsewhere", "name: "),
    ],
)
def test_settings_that_make_no_sense(refused, verb, override, line):
    assert refused(verb, override).startswith(line)


@BOTH
def test_a_method_without_privacy_promises_no_epsilon(refused, verb):
    mezo = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
    assert refused(verb, *mezo, "privacy.epsilon=8").startswith("MeZO has no privacy (ε = ∞): remove privacy.epsilon")


@pytest.mark.parametrize(
    ("verb", "asked", "fits"),
    [
        ("train", ["method.num_steps=12"], "1 trial × 7 steps, or noise multiplier ≥ 4."),
        ("sweep", ["method.num_steps=4"], "1 trial × 4 steps, or 3 trials × 2 steps, or noise multiplier ≥ 4."),
    ],
)
def test_a_budget_that_does_not_fit_tells_what_would(refused, verb, asked, fits):
    line = refused(verb, "privacy.epsilon=0.55", *asked, code=3)
    assert " steps at noise multiplier 4 cost ε = " in line
    assert f"over the budget of 0.55. What fits: {fits}" in line


@BOTH
@pytest.mark.parametrize("place", ["train", "validation"])
def test_a_missing_column(refused, settings, tmp_path, verb, place):
    rewrite(settings, place, tmp_path / "rows.jsonl", lambda rows: [row.update(lable=row.pop("label")) for row in rows])
    assert refused(verb) == (
        f"data.{place}: column 'label' is not in rows.jsonl, which has 'text', 'lable'. Did you mean 'lable'?"
    )


@BOTH
@pytest.mark.parametrize("place", ["train", "validation"])
def test_a_missing_data_file(refused, tmp_path, verb, place):
    line = refused(verb, f"data.{place}={tmp_path / 'confg.json'}")
    assert line == f"data.{place}: there is no file {tmp_path / 'confg.json'}. Did you mean 'config.json'?"


@BOTH
def test_a_missing_model_folder(refused, project, verb):
    model = Path(project["model"]["path"])
    assert refused(verb, f"model.path={model}l") == f"model.path: there is no folder {model}l. Did you mean {model}?"


@BOTH
def test_a_model_folder_without_a_tokenizer(refused, project, tmp_path, verb):
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.json").write_bytes((Path(project["model"]["path"]) / "config.json").read_bytes())
    assert refused(verb, f"model.path={folder}").startswith(f"model.path: folder {folder} has no tokenizer")


@BOTH
def test_a_label_word_that_the_model_does_not_know(refused, verb):
    line = refused(verb, "task.label_words={bad: ' terrible', good: ' marvellous'}")
    assert line.startswith("task.label_words: ' marvellous' (label 'good') is unknown to the model's tokenizer")


@BOTH
@pytest.mark.parametrize("place", ["train", "validation"])
def test_an_unknown_label(refused, settings, tmp_path, verb, place):
    rewrite(settings, place, tmp_path / "rows.jsonl", lambda rows: rows[6].update(label="secret"))
    assert refused(verb) == (
        f"data.{place}, row 7: column 'label' holds none of the task's labels, compared as text: 'bad', 'good'. The "
        "value is private and not shown"
    )


@BOTH
def test_a_target_without_a_token(refused, settings, tmp_path, verb):
    settings["task"] = {"template": "{text} It was", "target": " {label}"}
    rewrite(settings, "train", tmp_path / "rows.jsonl", lambda rows: rows[6].update(label=" "))
    assert refused(verb) == "data.train, row 7: the target has no token; remove or fill such rows"


def test_more_trials_at_once_than_cores(refused, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("orchestrator.session.os.cpu_count", lambda: 4)
    assert refused("sweep", "search.concurrent_trials=5") == (
        "5 trials at once × 1 threads want 5 CPU cores; this machine has 4. Lower search.concurrent_trials or "
        "performance.num_threads."
    )


@BOTH
def test_a_storage_path_that_is_a_file(dpzo, no_model, tmp_path, verb):
    (tmp_path / "file").write_text("")
    result = dpzo(verb, f"storage_path={tmp_path / 'file'}")
    assert result.exit_code == 2
    assert "storage_path: " in result.stderr
    assert " cannot be made a folder: " in result.stderr


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


HOLD = """
import sys
from pathlib import Path
from orchestrator.storage import Storage
with Storage(Path(sys.argv[1]), "test").lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@BOTH
def test_a_name_that_another_process_is_running(refused, settings, verb):
    command = [sys.executable, "-c", HOLD, settings["storage_path"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        line = refused(verb)
        holder.kill()
    assert line == "name: 'test' is running in another process; wait, or give another name."
