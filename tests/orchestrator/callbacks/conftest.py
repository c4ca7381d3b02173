import pytest


@pytest.fixture(autouse=True)
def reports(monkeypatch):
    """Note of which folders a report is written, which takes seconds; the report's own tests write one."""
    noted = []
    monkeypatch.setattr("orchestrator.api.results._Result.write_report", lambda result: noted.append(result.folder))
    return noted
