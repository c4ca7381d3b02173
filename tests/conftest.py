import signal

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine breaks no test
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _hang_up():
    """Hear SIGHUP also below nohup: commands that tests start obey it there."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def postgresql_server():
    """A PostgreSQL server of this test process."""
    from tests.support.postgres import PostgresServer  # loads psycopg, which most tests do without

    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgresql_url(postgresql_server):
    """URL of an empty database of the test's own."""
    return postgresql_server.new_database()
