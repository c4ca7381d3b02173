from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator import Sweep
from orchestrator.cli.app import app


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_demo_can_be_used_where_it_was_written(here):
    said = CliRunner().invoke(app, ["demo"])
    assert (said.exit_code, said.output) == (0, "The demo is in demo.yaml. Next: dpzo sweep demo.yaml\n")
    config = Sweep("demo.yaml").config
    assert config.name == "demo"
    assert all(Path(file).exists() for file in (config.data.train, config.data.validation, config.model.path))
    assert "# Ten private trials" in (here / "demo.yaml").read_text()


def test_the_demo_is_planned_from_another_folder(here):
    assert CliRunner().invoke(app, ["demo", "--to", "below/it"]).exit_code == 0
    assert Sweep("below/it/demo.yaml").config.data.train == "below/it/demo/private.jsonl"
    assert (here / "below/it/demo/model/model.safetensors").is_file()


def test_nothing_is_written_over(here):
    (here / "demo.yaml").write_text("mine")
    said = CliRunner().invoke(app, ["demo"])
    assert said.exit_code == 2
    assert "demo.yaml exists already" in said.output
    assert (here / "demo.yaml").read_text() == "mine"
