"""What is checked of a Ray cluster before anything is reserved, so that a sweep fails with a sentence and never hangs.

Ray waits for ever for a resource that no node has, and for nodes that answer another token. Here the sums are done
first, one task a node looks at the storage from there, and what does not fit is said with its arithmetic.
"""

from __future__ import annotations

import fcntl
import math
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.storage.paths import Storage

ANSWER_S = 120.0  # for a task on every node: a worker process has to start there


@dataclass(frozen=True)
class Demand:
    """What runs at once: `count` workers of the same size, each of which fits on one node or nowhere.

    Args:
        count: workers of all trials together.
        cpus, gpus: of each.
        others: custom resources of each, by name.
        what: how the count came about, such as "2 trials at once × 4 workers".
        mend: the settings to lower.
    """

    count: int
    cpus: float
    gpus: float = 0.0
    others: Mapping[str, float] | None = None
    what: str = "workers"
    mend: str = "search.concurrent_trials or performance.num_threads"

    @property
    def each(self) -> dict[str, float]:
        """Resources of a worker, by Ray's names."""
        every = {"CPU": self.cpus, "GPU": self.gpus, **(self.others or {})}
        return {name: amount for name, amount in every.items() if amount}


def require_resources(demand: Demand, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a demand that the nodes (`ray.nodes()`) can never meet at once.

    Raises:
        ValueError: with the arithmetic.
    """
    alive = [node for node in nodes if node["Alive"]]
    room = [_fitting(demand.each, node["Resources"]) for node in alive]
    if sum(room) >= demand.count:
        return
    units = {"CPU": "CPUs", "GPU": "GPUs"}
    each = " and ".join(f"{amount:g} {units.get(name, name)}" for name, amount in demand.each.items())
    has = "; ".join(
        f"{node['NodeManagerHostname']}: "
        + ", ".join(f"{node['Resources'].get(name, 0):g} {units.get(name, name)}" for name in demand.each)
        for node in alive
    )
    raise ValueError(
        f"{demand.what} want {demand.count} × ({each}) at once; the Ray cluster has room for {sum(room)} ({has}). "
        f"Lower {demand.mend}, or add nodes."
    )


def require_state_api(dashboard_url: str | None) -> None:
    """Refuse a cluster without its dashboard.

    Raises:
        ValueError: Ray's State API does not answer.
    """
    if dashboard_url:
        from ray.util.state import list_nodes
        from ray.util.state.exception import RayStateApiException

        try:
            list_nodes(limit=1, timeout=30)
            return
        except RayStateApiException:
            pass
    raise ValueError(
        "The Ray cluster has no dashboard, and with it no State API: Ray could then not clear away what a stopped "
        "trial held, and the next one would wait for ever. Install ray[default] and start the head with "
        "--include-dashboard=true."
    )


def require_shared(storage: Storage, nodes: Sequence[Mapping[str, Any]], inputs: Mapping[str, str]) -> None:
    """Look at the storage and the inputs from every node.

    Args:
        storage: of the run; its root is there on this machine.
        nodes: `ray.nodes()`.
        inputs: local files and folders that workers read, by the setting that names them.

    Raises:
        ValueError: a node cannot read or write the storage, sees another folder there, lacks an input or the package;
            or several machines would write a SQLite ledger.
    """
    alive = [node for node in nodes if node["Alive"]]
    _require_ledger_for(storage, sorted({node["NodeManagerHostname"] for node in alive}))
    mark = storage.root / f".preflight-{secrets.token_hex(8)}"
    try:
        mark.mkdir()
        held = open(mark / "driver", "w")  # noqa: SIM115 - held, and locked, while the nodes look
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        shutil.rmtree(mark, ignore_errors=True)
        raise ValueError(f"storage_path: {storage.root} cannot be written and locked: {error.strerror}.") from None
    try:
        look = ray.remote(num_cpus=0, max_retries=1)(_look)
        asked = {
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                str(mark), node["NodeID"], dict(inputs)
            ): f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            for node in alive
        }
        for answer, name in asked.items():
            if (problem := _answered(answer)) is not None:
                raise ValueError(f"Node {name}: {problem}")
    finally:
        held.close()
        for path in mark.iterdir():
            path.unlink()
        mark.rmdir()


def _fitting(each: Mapping[str, float], has: Mapping[str, float]) -> int:
    """Return how many workers fit on a node."""
    return min((math.floor(has.get(name, 0.0) / amount + 1e-9) for name, amount in each.items()), default=10**9)


def _require_ledger_for(storage: Storage, hosts: Sequence[str]) -> None:
    if len(hosts) > 1 and storage.database_url.startswith("sqlite"):
        raise ValueError(
            f"budget.ledger: the Ray cluster has {len(hosts)} machines ({', '.join(hosts)}), and a SQLite ledger "
            "counts right on one alone. Name a PostgreSQL database that all of them reach: postgresql+psycopg://user@host/name."
        )


def _look(mark: str, node: str, inputs: dict[str, str]) -> str | None:
    """Return what is wrong with storage and inputs as this node sees them."""
    here = Path(mark)
    if not (here / "driver").is_file():
        return (
            f"storage_path {here.parent} is not there, or not the folder that the driver has. With several nodes, name "
            "one that all of them share (NFS, a mounted volume)."
        )
    try:
        with open(here / "driver", "a") as of_driver:
            if _locks(of_driver):
                return (
                    f"storage_path {here.parent}: a lock that the driver holds does not hold here, so that two "
                    "processes could write one release log. Use a file system whose locks hold on all machines (NFS 4)."
                )
        with open(here / node, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(node)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"storage_path {here.parent} cannot be written and locked: {error.strerror}."
    missing = [f"{setting} {path}" for setting, path in inputs.items() if not Path(path).exists()]
    return f"{'; '.join(missing)}: not there. Put it under the same path on every node." if missing else None


def _locks(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answered(answer: Any) -> str | None:
    """Return what a node says, or that it says nothing."""
    try:
        problem: Any = ray.get(answer, timeout=ANSWER_S)
        return problem
    except GetTimeoutError:
        return f"took no task for {ANSWER_S:g} s; it is lost, or too busy to start a process."
    except RayError as error:
        return f"cannot run dpzo; install there what is installed here. {str(error).strip().splitlines()[-1]}"
