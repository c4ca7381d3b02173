import json
import math
import pickle
import re
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from typer.testing import CliRunner

from orchestrator import __main__ as entry
from orchestrator.cli.app import app
from orchestrator.config.loading import load_run, load_sweep
from tests.support.inline import Exported, without_cluster
from tests.support.quadratic import example
from trainers.errors import note_origin
from trainers.mechanism.release_log import ReleaseLog
from trainers.run.context import Workspace

MEZO = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
SECRET = "Wachtelkoenig"
HEAVY = ("torch", "ray", "vllm", "optuna", "transformers")


@pytest.fixture
def dpzo(settings, tmp_path):
    """Run a verb on the small sweep, with settings as `--set` takes them."""
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings), encoding="utf-8")

    def run(verb, *overrides, options=()):
        sets = [part for override in overrides for part in ("--set", override)]
        return CliRunner().invoke(app, [verb, str(path), *sets, *options])

    return run


def as_json(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_plan_as_json(dpzo):
    found = as_json(dpzo("plan", options=["--format", "json"]))
    assert (found["name"], found["private"], found["num_trials"], found["delta"]) == ("test", True, 3, 1e-5)
    assert 0 < found["trial_epsilon"] < found["epsilon"] < 8
    assert (found["caps"]["steps_per_trial"], found["caps"]["noise_multiplier"]) == (4, 4.0)
    assert (found["forward_passes"], found["examples_forwarded"]) == (48, 384)
    assert found["estimated_seconds"] > 0


def test_a_plan_without_privacy_as_json(dpzo):
    found = as_json(dpzo("plan", *MEZO, options=["--format", "json"]))
    assert (found["private"], found["epsilon"], found["trial_epsilon"], found["caps"]) == (False, None, None, None)


def test_a_plan_as_text(dpzo, settings):
    result = dpzo("plan")
    assert result.exit_code == 0
    for words in ("total ε", "3 trials × 4", "noise multiplier σ", "forward passes", "time"):
        assert words in result.stdout
    assert "∞ (not private)" in dpzo("plan", *MEZO).stdout


def test_a_plan_of_one_run(dpzo, settings, tmp_path):
    del settings["search"]
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    assert as_json(dpzo("plan", options=["--format", "json"]))["num_trials"] == 1


@pytest.mark.parametrize(("verb", "load"), [("train", load_run), ("sweep", load_sweep)])
def test_a_dry_run_prints_the_resolved_configuration_and_touches_nothing(dpzo, settings, tmp_path, verb, load):
    missing = ("data.train=/nowhere/private.jsonl", "model.path=/nowhere/model")
    result = dpzo(verb, "method.num_steps=7", *missing, options=["--dry-run"])
    assert as_json(result) == json.loads(load(settings, ["method.num_steps=7", *missing]).model_dump_json())
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_a_plan_touches_nothing(dpzo, tmp_path):
    assert dpzo("plan", "data.train=/nowhere/private.jsonl").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("verb", ["plan", "train", "sweep"])
def test_a_bad_configuration_has_exit_code_2(dpzo, tmp_path, verb):
    result = dpzo(verb, "method.num_stepz=3")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: method.num_stepz: unknown key. Did you mean 'num_steps'?")
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("verb", ["plan", "train", "sweep"])
def test_a_budget_that_refuses_has_exit_code_3(dpzo, tmp_path, verb):
    result = dpzo(verb, "privacy.epsilon=0.1")
    assert result.exit_code == 3
    assert result.stderr.startswith("Budget refused: ")
    assert "over the budget of 0.1. What fits: " in result.stderr
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def raising(monkeypatch, error):
    def broken(config, overrides):
        private = "a private row"  # noqa: F841 - a local that no traceback may show
        raise error

    monkeypatch.setattr("orchestrator.cli.plan.plan", broken)


def test_a_mistake_of_the_program_is_one_line_with_an_id(dpzo, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("orchestrator.cli.interruption._storage", None)
    raising(monkeypatch, KeyError("what a library quotes"))
    result = dpzo("plan")
    (path,) = tmp_path.glob("error-*.txt")
    assert (result.exit_code, result.stdout, path.stat().st_mode & 0o777) == (1, "", 0o600)
    (line,) = result.stderr.splitlines()
    assert re.fullmatch(rf"Unexpected error \w{{8}}: KeyError in test_app.py:\d+. Its traceback is in {path}, .*", line)
    assert "quotes" not in line
    assert "in broken\n    raise error\nKeyError\n" in path.read_text()
    assert "quotes" not in path.read_text()
    assert "a private row" not in path.read_text()


def of_a_library(value):
    int(value)


def with_a_cause(value):
    try:
        int(value)
    except ValueError as error:
        raise KeyError(value) from error


def of_another_process(value):
    error = pickle.loads(pickle.dumps(ValueError(value)))
    note_origin(error)
    raise error


@pytest.mark.parametrize("mistake", [of_a_library, with_a_cause, of_another_process])
def test_the_message_of_a_library_is_shown_and_kept_nowhere(dpzo, monkeypatch, tmp_path, mistake):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("orchestrator.cli.interruption._storage", None)
    monkeypatch.setattr("orchestrator.cli.plan.plan", lambda config, overrides: mistake(SECRET))
    result = dpzo("plan")
    (path,) = tmp_path.glob("error-*.txt")
    assert (result.exit_code, result.stderr.startswith("Unexpected error ")) == (1, True)
    assert SECRET not in result.output + path.read_text()
    assert mistake.__name__ in path.read_text()


def test_debug_prints_the_traceback(dpzo, monkeypatch, settings, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raising(monkeypatch, KeyError("what a library quotes"))
    result = CliRunner().invoke(app, ["--debug", "plan", str(tmp_path / "settings.json")])
    assert "Traceback" in result.stderr
    assert "what a library quotes" in result.stderr
    assert "Traceback" not in dpzo("plan").stderr


def test_the_traceback_of_a_run_is_in_its_folder(dpzo, monkeypatch, tmp_path):
    def broken(*_):
        raise KeyError("what a library quotes")

    monkeypatch.setattr("orchestrator.sweep.single_run.take_private_run", broken)
    result = dpzo("train")
    (path,) = (tmp_path / "runs" / "test" / "operator-only").glob("error-*.txt")
    assert (result.exit_code, result.stderr.count(str(path))) == (1, 1)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (PermissionError(13, "Permission denied", "/data/rows.jsonl"), 2, "Error: /data/rows.jsonl: Permission denied"),
        (NotADirectoryError(20, "Not a directory", "a/b"), 2, "Error: a/b: Not a directory"),
        (OSError(36, "File name too long", "n" * 5000), 2, f"Error: {'n' * 300}: File name too long"),
        (RuntimeError("Symlink loop from '/a'"), 2, "Error: a path that leads nowhere: Symlink loop from '/a'"),
        (RecursionError("maximum depth"), 2, "Error: a file is nested too deeply to be read"),
        (UnicodeDecodeError("utf-8", b"secret", 0, 1, "bad"), 2, "Error: a file is no text in UTF-8"),
        (
            Exception("Error while serializing: No space left on device (os error 28)"),
            1,
            "Stopped: the storage cannot be written: No space left on device. Make room, and start the same command "
            "again.",
        ),
    ],
)
def test_what_a_file_system_or_a_file_may_do_is_one_line(dpzo, monkeypatch, error, code, line):
    raising(monkeypatch, error)
    result = dpzo("plan")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", line + "\n")


@pytest.mark.parametrize("name", ["config.json", "result.json"])
@pytest.mark.parametrize("content", ["null", "42", "[]", '"text"', "{", "[" * 9000, '{"a": "\xff"}'])
def test_a_file_of_a_run_that_is_not_what_it_was_is_named(settings, tmp_path, name, content):
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    folder = tmp_path / "runs" / "test"
    folder.mkdir(parents=True)
    (folder / name).write_text(content, encoding="latin-1")
    arguments = ["status", str(folder)] if name == "config.json" else ["sweep", str(tmp_path / "settings.json")]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Error: {folder / name} is not as dpzo wrote it" in result.stderr


def test_a_ledger_that_was_set_back_has_exit_code_3(dpzo, settings, tmp_path):
    assert dpzo("train").exit_code == 0
    for path in (tmp_path / "runs").glob("dpzo.db*"):
        path.unlink()
    result = dpzo("train")
    assert result.exit_code == 3
    assert "Ledger refused: " in result.stderr
    assert "from this one, releases would go uncounted" in result.stderr


@pytest.mark.parametrize("full_for", ["all that is written", "the release log"])
def test_a_full_disk_is_one_line(dpzo, monkeypatch, full_for):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    if full_for == "the release log":
        append, word = ReleaseLog._append, "release_log.jsonl cannot be written"
        monkeypatch.setattr(ReleaseLog, "_append", lambda *args: (monkeypatch.setattr("os.fsync", full), append(*args)))
    else:
        word = "the storage cannot be written"
        monkeypatch.setattr("os.fsync", full)
    result = dpzo("train")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if "Stopped: " in line]
    assert f"{word}: No space left on device." in line


class Overflowing(Exported):
    """A model whose output is infinite as soon as it has taken a step."""

    def public_outputs(self, points):
        return [math.inf for _ in points]


@pytest.mark.parametrize("release", ["trials", "best"])
def test_a_sweep_whose_every_trial_failed_exits_1_and_says_why(dpzo, monkeypatch, tmp_path, release):
    workspace = Workspace([example(n) for n in range(40)], [example(n) for n in range(10)], Overflowing())
    without_cluster(monkeypatch, lambda *_, **__: workspace)
    best = ("search.release=best", "search.sampler=random", "search.seed=null") if release == "best" else ()
    result = dpzo("sweep", *best)
    assert result.exit_code == 1, result.output
    assert result.stderr.endswith("Stopped: no trial finished, so there is no model; what was drawn stays charged.\n")
    assert not (tmp_path / "runs" / "test" / "model").exists()
    whys = [f"trial {number} failed: test: after" in " ".join(result.stdout.split()) for number in range(3)]
    assert whys == [release == "trials"] * 3
    assert ("output is not finite" in result.stdout) == (release == "trials")


def test_a_run_prints_its_result_alone_on_standard_output(dpzo):
    found = as_json(dpzo("train", options=["--format", "json"]))
    assert (found["steps"], found["statement"]["caps"]) == (4, {"train_step": 4})
    text = dpzo("train").stdout
    assert text.lstrip().startswith("steps")
    assert "PRIVACY STATEMENT" in text
    assert "total ε = " in text


def test_a_message_is_shown_as_it_is(dpzo):
    result = dpzo("train", "data.train=/nowhere/[red]private.jsonl")
    assert result.exit_code == 2
    assert "there is no file /nowhere/[red]private.jsonl" in result.stderr


def test_the_console_script_is_the_command_line():
    (script,) = entry_points(group="console_scripts", name="dpzo")
    assert script.load() is entry.main


def test_nothing_heavy_is_loaded_before_it_is_needed(quickstart):
    """Imports, help and a dry run are instant: each of these libraries takes seconds."""
    code = f"""
import sys
import orchestrator, search_spaces, search_spaces.config, search_spaces.space
from typer.testing import CliRunner
from orchestrator.cli.app import app
for arguments in (["--help"], ["plan", "--help"], ["sweep", "--help"], ["sweep", {str(quickstart)!r}, "--dry-run"]):
    assert CliRunner().invoke(app, arguments).exit_code == 0
orchestrator.Sweep({str(quickstart)!r})
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_shown_without_a_verb():
    result = CliRunner().invoke(app, [])
    assert all(verb in result.output for verb in ("plan", "train", "sweep"))
