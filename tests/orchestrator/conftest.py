import pytest

from tests.orchestrator.config_files import QUICKSTART
from tests.support.settings import quick_settings


@pytest.fixture
def quickstart(tmp_path):
    """Path of a sweep's configuration file."""
    path = tmp_path / "quickstart.yaml"
    path.write_text(QUICKSTART, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A user's folder with a tiny model, as the plain values of a sweep in it: made once, and not to be changed."""
    from tests.support.project import write_project  # loads torch, which most tests here do without

    return write_project(tmp_path_factory.mktemp("project"), num_examples=40)


@pytest.fixture
def settings(project, tmp_path):
    """Those values with σ given, which is planned in no time, and with results in a folder of the test's own."""
    return quick_settings(project, tmp_path)
