import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config.loading import load_run
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import Storage, storage_of, with_absolute_paths

HOLD = """
import sys
from pathlib import Path
from orchestrator.storage.paths import Storage
with Storage(Path(sys.argv[1]), "sweep").lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_everything_of_a_run_lies_in_its_folder(tmp_path):
    storage = Storage(tmp_path, "sweep")
    assert storage.folder == tmp_path / "sweep"
    for path in (storage.config_file, storage.result_file, storage.statement_file, storage.model_folder):
        assert path.parent == storage.folder
    assert storage.trial_folder(7) == storage.folder / "trials" / "007"
    assert storage.database_url == f"sqlite:///{tmp_path}/dpzo.db"  # one for all runs


def test_what_is_not_released_lies_apart(tmp_path):
    storage = Storage(tmp_path, "sweep", releases_trials=False)
    assert storage.trial_folder(7) == storage.operator_folder / "trials" / "007"
    with storage.lock():
        assert [path.name for path in storage.folder.iterdir()] == ["operator-only"]


def test_a_ledger_of_its_own_is_taken(settings):
    url = "postgresql+psycopg://me@host/budgets"
    assert storage_of(load_run(settings, [f"budget.ledger={url}"])).database_url == url


@pytest.mark.parametrize("folder", ["a?b", "a%20b", "a b", "ü#'\"@"])
def test_a_folder_of_any_name_has_its_own_ledger(tmp_path, folder):
    storage = Storage(tmp_path / folder, "run")
    with Ledger(storage.database_url) as ledger:
        assert ledger.budgets() == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [storage.ledger_file]


def test_the_root_is_made_absolute_and_created(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = storage_of(load_run(settings, ["storage_path=here/and/there"]))
    assert storage.root == tmp_path / "here" / "and" / "there"
    assert storage.root.is_dir()
    assert not storage.folder.exists()


def test_a_home_folder_is_understood(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_run(settings, ["storage_path=~/runs"])
    assert storage_of(config).root == tmp_path / "runs"
    assert with_absolute_paths(config).storage_path == str(tmp_path / "runs")


def test_a_root_that_cannot_be_a_folder_is_refused(settings, tmp_path):
    (tmp_path / "file").write_text("")
    for path in ("file", "file/below"):
        with pytest.raises(ValueError, match=r"^storage_path: .*file.* cannot be made a folder"):
            storage_of(load_run(settings, [f"storage_path={tmp_path / path}"]))


@pytest.mark.parametrize("setting", ["storage_path", "data.train", "data.validation", "model.path"])
def test_the_working_folder_of_a_ray_job_is_refused(settings, setting):
    inside = "/tmp/ray/session_2026/runtime_resources/working_dir_files/_ray_pkg_1/here"
    with pytest.raises(ValueError, match=rf"^{setting}: {inside} lies in the working folder of a Ray job, which Ray"):
        with_absolute_paths(load_run(settings, [f"{setting}={inside}"]))


def test_local_paths_mean_the_same_in_every_process(settings, tmp_path, monkeypatch):
    for name in ("private.jsonl", "public.jsonl"):
        (tmp_path / name).write_text(json.dumps({"text": "good", "label": "good"}))
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    settings["data"] |= {"train": "private.jsonl", "validation": "public.jsonl"}
    settings |= {"model": {"path": "model"}, "storage_path": "runs"}
    config = with_absolute_paths(load_run(settings))
    found = (config.data.train, config.data.validation, config.model.path, config.storage_path)
    assert found == tuple(str(tmp_path / name) for name in ("private.jsonl", "public.jsonl", "model", "runs"))
    assert config.data.num_examples == 40
    assert with_absolute_paths(config) == config


def test_what_is_no_local_path_stays_as_it_is(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_run(settings, ["data.train=hub:imdb:train", "data.validation=null", "model.path=facebook/opt-125m"])
    absolute = with_absolute_paths(config)
    assert (absolute.data.train, absolute.data.validation) == ("hub:imdb:train", None)
    assert absolute.model.path == "facebook/opt-125m"


def test_one_process_holds_a_name(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match="name: 'sweep' is running in another process; wait, or give another name"),
            Storage(tmp_path, "sweep").lock(),
        ):
            raise AssertionError("two processes hold one name")
        with Storage(tmp_path, "other").lock():
            pass
        holder.kill()
    with Storage(tmp_path, "sweep").lock():  # a killed process leaves no lock behind
        assert Path(tmp_path / "sweep").is_dir()
