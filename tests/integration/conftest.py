"""The command line on a user's folder with a tiny model, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from tests.support.project import write_config, write_project
from tests.support.settings import quick_settings


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> dict[str, Any]:
    """A user's folder with a tiny model; copied, never changed."""
    return write_project(tmp_path_factory.mktemp("project"), num_examples=40)


@pytest.fixture
def settings(project, tmp_path) -> dict[str, Any]:
    """Its configuration with σ given, which is planned in no time, and with results in a folder of the test's own."""
    return quick_settings(project, tmp_path)


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

    monkeypatch.setattr("trainers.evaluators.transformers.evaluator.load_model", fail)
    monkeypatch.setattr("trainers.workspace.load_evaluator", fail)
    monkeypatch.setattr("orchestrator.cluster.session.ray.init", fail)


@pytest.fixture
def refused(dpzo, no_model, tmp_path) -> Callable[..., str]:
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
