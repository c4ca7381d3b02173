import pytest

from orchestrator.privacy.ledger.ledger import Ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request, tmp_path):
    """URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/any.db"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def any_ledger(ledger_url):
    """An empty ledger, in each kind of database in turn."""
    with Ledger(ledger_url) as opened:
        yield opened
