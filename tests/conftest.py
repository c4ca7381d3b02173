import signal

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine breaks no test
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _heard_signals():
    """Hear what a shell lets its background commands ignore: SIGINT, and below nohup SIGHUP."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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
