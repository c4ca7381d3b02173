"""Runs whose results lie in object storage; a folder behind file:// stands for a bucket."""

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from orchestrator import train
from orchestrator.cli.app import app
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.bucket import locked_in_database, publish
from orchestrator.storage.existing import config_to_resume, find_existing
from orchestrator.storage.paths import storage_of, with_absolute_paths
from tests.support.project import write_project

SERVER = "postgresql+psycopg://me@host/budgets"
BEST = ("search.release=best", "search.sampler=random", "search.seed=null")


@pytest.fixture
def config(tmp_path, monkeypatch, postgresql_url):
    monkeypatch.setenv("DPZO_CACHE", str(tmp_path / "here"))
    return write_project(tmp_path) | {
        "storage_path": (tmp_path / "bucket").as_uri(),
        "budget": {"ledger": postgresql_url},
        "performance": {"num_threads": 1, "log": "database"},
    }


def test_what_one_machine_published_another_exports(config, tmp_path, monkeypatch):
    train(config)
    bucket, url = tmp_path / "bucket" / "test", config["storage_path"] + "/test"
    published = {str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file()}
    assert {"config.json", "result.json", "privacy_statement.json", "release_log.jsonl"} <= published
    assert "model/model.safetensors" in published
    assert not [path for path in published if "operator-only" in path or path.startswith(".")]

    (bucket / "result.json").unlink()  # as a kill between the last two files leaves it
    assert find_existing(url).state() == "finished"
    assert (bucket / "result.json").is_file()

    monkeypatch.setenv("DPZO_CACHE", str(tmp_path / "there"))
    monkeypatch.chdir(tmp_path)
    assert find_existing(url).state() == "finished"
    with pytest.raises(ValueError, match="is finished"):
        config_to_resume(url)
    for verb in (["status", url], ["export", url, "--to", "exported"]):
        done = CliRunner().invoke(app, verb)
        assert done.exit_code == 0, done.output
    exported = load_file("exported/model.safetensors")
    trained = load_file(bucket / "model" / "model.safetensors")
    assert all(exported[name].equal(trained[name]) for name in trained)


def test_a_run_that_began_on_a_machine_that_is_gone_is_found(config, tmp_path, monkeypatch):
    run = with_absolute_paths(load_run(config))
    storage = storage_of(run)
    Ledger(storage.database_url).dispose()
    (storage.folder / "operator-only").mkdir(parents=True)
    (storage.folder / "operator-only" / "secret").write_text("")
    storage.config_file.write_text(run.model_dump_json())
    publish(storage.url, storage.folder)
    assert [path.name for path in (tmp_path / "bucket" / "test").iterdir()] == ["config.json"]

    monkeypatch.setenv("DPZO_CACHE", str(tmp_path / "there"))
    resumed = config_to_resume(storage.place)
    assert resumed.storage_path == config["storage_path"]
    with storage_of(resumed).lock():
        assert find_existing(storage.place).state() == "running"
        monkeypatch.setenv("DPZO_CACHE", str(tmp_path / "here"))
        with pytest.raises(ValueError, match="running in another process"), storage.lock():
            pass
    with locked_in_database(storage.database_url, storage.url) as is_free:
        assert is_free


@pytest.mark.parametrize(
    ("overrides", "way_out"),
    [
        ([], "name a PostgreSQL database"),
        (["budget.ledger=sqlite:////tmp/ledger.db"], "name a PostgreSQL database"),
        ([f"budget.ledger={SERVER}"], "set performance.log: database"),
        (
            [f"budget.ledger={SERVER}", "performance.log=database", *BEST],
            "search.release: best .* objects show their dates",
        ),
    ],
)
def test_what_needs_a_folder_is_refused_with_the_way_out(tmp_path, overrides, way_out):
    config = load_sweep(write_project(tmp_path), ["storage_path=s3://bucket/runs", *overrides])
    for use in (storage_of, with_absolute_paths):
        with pytest.raises(ValueError, match=f"^storage_path: object storage has neither locks.*{way_out}"):
            use(config)


def test_a_scheme_that_nobody_reads_is_refused(config, tmp_path):
    config = load_run(config, ["storage_path=nowhere://bucket/runs"])
    with pytest.raises(ValueError, match=r"storage_path: nowhere://bucket/runs: .*nowhere"):
        storage_of(config)
