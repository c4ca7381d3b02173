"""A Ray cluster on machines made of namespaces, brought up by `ray up` with examples/clusters/local.yaml."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.namespaces import ADDRESSES, Machines, missing
from tests.support.postgres import PostgresServer
from tests.support.project import write_project

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "runs", "dist")
CLUSTER = "examples/clusters/local.yaml"
WITHOUT_V2 = "RAY_UP_enable_autoscaler_v2=0"


class Cluster:
    """The machines, and the commands that a person gives on the laptop."""

    def __init__(self, machines: Machines) -> None:
        self.machines = machines
        self.checkout = machines.root("laptop") / "dpzo"

    def up(self) -> str:
        """Start Ray on the head, wait for its workers, and return what `ray up` said."""
        said = self.laptop(f"{WITHOUT_V2} ray up -y {CLUSTER}", timeout_s=180)
        assert said.returncode == 0, said.stdout
        for worker in ("worker1", "worker2"):
            self.wait(lambda name=worker: self.has_ray(name), 120, f"no Ray on {worker}")
        return said.stdout

    def down(self) -> None:
        said = self.laptop(f"{WITHOUT_V2} ray down -y {CLUSTER}")
        assert said.returncode == 0, said.stdout

    def submit(self, *overrides: str, timeout_s: float = 240.0) -> subprocess.CompletedProcess[str]:
        """Run the sweep from the laptop, to its end."""
        return self.laptop(self.submit_command(*overrides), timeout_s)

    def start_submit(self, *overrides: str) -> subprocess.Popen[str]:
        """Begin to run the sweep from the laptop."""
        return self.machines.start("laptop", f"cd dpzo && {self.submit_command(*overrides)}", stdout=subprocess.PIPE)

    def laptop(self, command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        return self.machines.run("laptop", f"cd dpzo && {command}", timeout_s)

    def head(self, command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command on the head as `ray exec` does."""
        return self.machines.run("head", f"source ~/.bashrc; {command}", timeout_s)

    def has_ray(self, name: str) -> bool:
        return any("raylet" in line or "gcs_server" in line for line in self.machines.processes(name))

    def result(self, name: str) -> dict[str, Any]:
        return json.loads((self.machines.shared / "runs" / name / "result.json").read_text())

    def kill_ray(self, name: str) -> None:
        """Kill every process of Ray's on a machine."""
        self.machines.run(name, "pkill -9 -f '[r]aylet|[g]cs_server|[r]ay/dashboard|[r]ay/_private|^[r]ay::'")

    @staticmethod
    def submit_command(*overrides: str) -> str:
        """Return the command that runs the sweep, or follows it."""
        sets = "".join(f" --set {override}" for override in overrides)
        return f"ray submit {CLUSTER} examples/ray_submit.py -- sweep.json{sets}"

    @staticmethod
    def wait(condition: Any, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.5)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two workers with Ray, a laptop with a checkout and a sweep, and a ledger that they all reach."""
    if (why := missing()) is not None:
        pytest.skip(why)
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("needs hatchling, for dpzo's wheel: pip install 'dpzo[test]'")
    with Machines() as machines:
        server = PostgresServer(machines.shared)
        server.start()
        try:
            prepare_laptop(Cluster(machines).checkout, machines, server)
            cluster = Cluster(machines)
            cluster.up()
            yield cluster
        finally:
            server.stop()


def prepare_laptop(checkout: Path, machines: Machines, server: PostgresServer) -> None:
    """Put there what a person has before `ray up`: checkout, wheel, token, ledger, sweep, and addresses in the file."""
    shutil.copytree(ROOT, checkout, ignore=NOT_COPIED)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=checkout, check=True)
    assert machines.run("laptop", "ray get-auth-token --generate && touch .pgpass && chmod 600 .pgpass").returncode == 0
    database = server.new_database()
    server.execute(database, "CREATE ROLE dpzo SUPERUSER LOGIN", "ALTER ROLE dpzo SET search_path = public")
    addresses = {"10.0.0.10": ADDRESSES["head"], "10.0.0.11": ADDRESSES["worker1"], "10.0.0.12": ADDRESSES["worker2"]}
    file = checkout / CLUSTER
    text = file.read_text().replace("PGHOST=10.0.0.10", f"PGHOST={seen(machines, server.data)}")
    text = text.replace("PGDATABASE=dpzo", f"PGDATABASE={re.split('[/?]', database)[3]}")
    for example, address in addresses.items():
        text = text.replace(example, address)
    file.write_text(text)
    project = json.dumps(write_project(machines.shared / "project")).replace(str(machines.shared), "/mnt")
    sweep = json.loads(project)
    sweep["storage_path"] = "/mnt/runs"
    sweep["budget"] = {"ledger": "postgresql+psycopg://"}
    sweep["search"] |= {"num_trials": 6, "concurrent_trials": 2}
    (checkout / "sweep.json").write_text(json.dumps(sweep))


def seen(machines: Machines, path: Path) -> str:
    """Return a path below the shared folder as the machines see it."""
    return f"/mnt/{path.relative_to(machines.shared)}"
