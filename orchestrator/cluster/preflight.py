"""Checks a Ray cluster before anything is reserved, so that a sweep is refused with a sentence and never hangs.

Ray waits forever for a resource that no node has. So the resources are added up first, and each node tests the storage.
"""

import fcntl
import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.request import ProxyHandler, build_opener

import ray
from ray._raylet import AuthenticationMode, get_authentication_mode  # pyright: ignore[reportAttributeAccessIssue]
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.storage.paths import Storage

ANSWER_S = 120.0  # for a task on every node, which has to start a worker process
INSECURE = "DPZO_INSECURE"  # the environment's word for --insecure
_UNITS = {"CPU": "CPUs", "GPU": "GPUs"}


@dataclass(frozen=True)
class Demand:
    """The workers that run at once; all have the same size, and each fits on one node.

    Args:
        count: workers of all trials together.
        cpus, gpus: CPU cores and GPUs of each.
        what: how the count comes about, such as "2 trials at once × 4 workers".
    """

    count: int
    cpus: float
    gpus: float = 0.0
    what: str = "1 trial at once"

    @property
    def resources_per_worker(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


def require_resources(demand: Demand, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a demand that the nodes (`ray.nodes()`) can never meet at once; the ValueError shows the arithmetic."""
    each = demand.resources_per_worker
    alive = [node for node in nodes if node["Alive"]]
    room = sum(_num_fitting(each, node["Resources"]) for node in alive)
    if room >= demand.count:
        return
    wanted = " and ".join(f"{amount:g} {_UNITS[name]}" for name, amount in each.items())
    present = "; ".join(
        f"{node['NodeManagerHostname']}: "
        + ", ".join(f"{node['Resources'].get(name, 0):g} {_UNITS[name]}" for name in each)
        for node in alive
    )
    raise ValueError(
        f"{demand.what} want {demand.count} × ({wanted}) at once; the Ray cluster has room for {room} ({present}). "
        "Lower search.concurrent_trials, resources.workers or performance.num_threads, or add nodes."
    )


def require_state_api(dashboard_url: str | None) -> None:
    """Refuse, with a ValueError, a cluster whose dashboard is missing: Ray's State API does not answer."""
    if dashboard_url:
        from ray.util.state import list_nodes
        from ray.util.state.exception import RayStateApiException

        try:
            list_nodes(limit=1, timeout=30)
            return
        except RayStateApiException:
            pass
    raise ValueError(
        "The Ray cluster has no dashboard and so no State API. Without it Ray does not free what a stopped trial "
        "held, and the next trial would wait forever. Install ray[default] and start the head with "
        "--include-dashboard=true."
    )


def require_tokens(dashboard_url: str | None) -> None:
    """Refuse, with a ValueError, a Ray session that lets in everybody who reaches it, unless DPZO_INSECURE is set."""
    if os.environ.get(INSECURE) or _asks_for_tokens(dashboard_url):
        return
    raise ValueError(
        "This Ray session asks for no token: everybody who reaches its ports can read the private rows and run code as "
        "you. Start Ray with RAY_AUTH_MODE=token and a token on every node (see docs/cluster.md), or accept it with "
        f"--insecure (in a program: {INSECURE}=1)."
    )


def _asks_for_tokens(dashboard_url: str | None) -> bool:
    if not dashboard_url:
        return get_authentication_mode() == AuthenticationMode.TOKEN
    try:
        with build_opener(ProxyHandler({})).open(
            f"http://{dashboard_url}/api/authentication_mode", timeout=30
        ) as answer:
            return json.load(answer)["authentication_mode"] == "token"
    except (OSError, ValueError, KeyError):
        return False


def require_shared(storage: Storage, nodes: Sequence[Mapping[str, Any]], inputs: Mapping[str, str]) -> None:
    """Test from every node that it shares the storage and has the inputs.

    Args:
        storage: of the run; its root exists on this machine.
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
        held = open(mark / "driver", "w")  # noqa: SIM115 - it stays open and locked while the nodes test it
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        shutil.rmtree(mark, ignore_errors=True)
        raise ValueError(f"storage_path: {storage.root} cannot be written and locked: {error.strerror}.") from None
    try:
        test = ray.remote(num_cpus=0, max_retries=1)(_problem_on_node)
        asked = {
            test.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                str(mark), node["NodeID"], dict(inputs)
            ): f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            for node in alive
        }
        for answer, name in asked.items():
            if (problem := _answer_of(answer)) is not None:
                raise ValueError(f"Node {name}: {problem}")
    finally:
        held.close()
        shutil.rmtree(mark)


def _num_fitting(each: Mapping[str, float], has: Mapping[str, float]) -> int:
    return min(math.floor(has.get(name, 0.0) / amount + 1e-9) for name, amount in each.items())


def _require_ledger_for(storage: Storage, hosts: Sequence[str]) -> None:
    if len(hosts) > 1 and storage.database_url.startswith("sqlite"):
        raise ValueError(
            f"budget.ledger: the Ray cluster has {len(hosts)} machines ({', '.join(hosts)}), and a SQLite ledger "
            "counts correctly on one machine only. Name a PostgreSQL database that all of them reach: "
            "postgresql+psycopg://user@host/name."
        )


def _problem_on_node(mark: str, node: str, inputs: dict[str, str]) -> str | None:
    """Return what is wrong with the storage and the inputs as this node sees them."""
    here = Path(mark)
    if not (here / "driver").is_file():
        return (
            f"storage_path {here.parent} is missing, or is not the driver's folder. With several nodes, name a folder "
            "that all of them share (NFS, a mounted volume)."
        )
    try:
        with open(here / "driver", "a") as of_driver:
            if _locks(of_driver):
                return (
                    f"storage_path {here.parent}: a lock of the driver has no effect here, so two processes could "
                    "write one release log. Use a file system whose locks hold on all machines (NFS 4)."
                )
        with open(here / node, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(node)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"storage_path {here.parent} cannot be written and locked: {error.strerror}."
    missing = [f"{setting} {path}" for setting, path in inputs.items() if not Path(path).exists()]
    return f"{'; '.join(missing)}: missing. Put it under the same path on every node." if missing else None


def _locks(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answer_of(answer: Any) -> str | None:
    """Return the problem that a node reports, or that it does not answer."""
    try:
        return ray.get(answer, timeout=ANSWER_S)
    except GetTimeoutError:
        return f"took no task for {ANSWER_S:g} s; it is lost, or too busy to start a process."
    except RayError as error:
        return f"cannot run dpzo; install there what is installed here. {str(error).strip().splitlines()[-1]}"
