"""Folders of runs in which a file is no longer what it was."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.loading import load_run
from orchestrator.planning.plan import make_plan
from orchestrator.sweep.single_run import run_training
from tests.support.hostile import answered, changed_values, damaged_bytes, hostile, values
from tests.support.settings import quick_settings

FILES = ("config.json", "result.json", "privacy_statement.json", "release_log.jsonl", "operator-only/progress/run.json")
PROGRESS = {"steps": 4, "num_steps": 4, "steps_per_s": 1.0, "at": 0.0}


@pytest.fixture(scope="session")
def finished(project, tmp_path_factory):
    """A storage folder with one finished run, without its model: copied, and not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    run_training(make_plan(load_run(quick_settings(project, folder))))
    shutil.rmtree(folder / "runs" / "test" / "model")
    progress = folder / "runs" / "test" / FILES[-1]
    progress.parent.mkdir(exist_ok=True)
    progress.write_text(json.dumps({**PROGRESS, "holder": "run", "host": "h", "pid": 1}))
    return folder / "runs"


def ask(finished, folder, change):
    """Change a copy of the storage folder, and ask about it with every verb that only reads it."""
    root = folder / "runs"
    shutil.copytree(finished, root)
    change(root)
    answered(["status", str(root)])
    answered(["status", str(root / "test"), "--format", "json"])
    for verb in ("show", "verify"):
        answered(["budget", verb, "--ledger", str(root)])
    answered(["resume", str(root / "test")]) if (root / "test" / "result.json").exists() else None


def test_values_that_dpzo_did_not_write(finished, fresh):
    whole = {name: json.loads((finished / "test" / name).read_text()) for name in FILES if name.endswith(".json")}

    @hostile(50)
    @given(st.data(), st.sampled_from(sorted(whole)))
    def change(data, name):
        new = data.draw(changed_values(whole[name], values))
        ask(finished, fresh(), lambda root: (root / "test" / name).write_text(json.dumps(new)))

    change()


def test_lines_that_dpzo_did_not_write(finished, fresh):
    lines = [json.loads(line) for line in (finished / "test" / "release_log.jsonl").read_text().splitlines()]

    @hostile(20)
    @given(st.data(), st.integers(0, len(lines) - 1))
    def change(data, number):
        new = [*lines]
        new[number] = data.draw(changed_values(lines[number], values) | values)
        text = "".join(json.dumps(line) + "\n" for line in new)
        ask(finished, fresh(), lambda root: (root / "test" / "release_log.jsonl").write_text(text))

    change()


def test_files_that_are_damaged(finished, fresh):
    whole = {name: (finished / name).read_bytes() for name in ("dpzo.db", *(f"test/{name}" for name in FILES))}

    @hostile(50)
    @given(st.data(), st.sampled_from(sorted(whole)))
    def damage(data, name):
        new = data.draw(damaged_bytes(whole[name]))
        ask(finished, fresh(), lambda root: (root / name).write_bytes(new))

    damage()


def test_files_that_are_missing_or_are_none(finished, fresh):
    def to_folder(path):
        path.unlink()
        path.mkdir()

    def to_loop(path):
        path.unlink()
        path.symlink_to(path)

    @hostile(20)
    @given(
        st.sampled_from(("dpzo.db", *(f"test/{name}" for name in FILES))),
        st.sampled_from((Path.unlink, to_folder, to_loop)),
    )
    def replace(name, how):
        ask(finished, fresh(), lambda root: how(root / name))

    replace()
