import shutil

import pytest

from tests.support.project import write_project
from tests.support.settings import quick_settings


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A user's folder with a tiny model, as the plain values of a sweep in it: made once, and not to be changed."""
    return write_project(tmp_path_factory.mktemp("project"), num_examples=40)


@pytest.fixture
def settings(project, tmp_path):
    """Those values with σ given, which is planned in no time."""
    return quick_settings(project, tmp_path)


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Return a function that gives an empty working directory to each input."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("orchestrator.cli.interruption._storage", None)
    monkeypatch.setattr("orchestrator.planning.work_estimate._seconds_of_product", lambda *_: 1e-6)  # it takes a while
    place = tmp_path / "here"

    def empty():
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        monkeypatch.chdir(place)
        return place

    return empty
