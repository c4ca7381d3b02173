"""What a process on a node of a Ray cluster must find as the driver has it: code, storage, ledger and inputs.

`node_reports` asks every node before anything is reserved. A node that joins later is held against the driver's mark
when a worker starts there (`require_as_driver`).
"""

import fcntl
import os
import platform
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.config.version import __version__, code_digest
from orchestrator.privacy.ledger.engines import open_engine
from orchestrator.storage.paths import Storage
from trainers.mechanism.release_log import Stopped

ANSWER_S = 120.0  # for a task on every node, which has to start a worker process


class UnfitNode(Stopped):
    """A worker started on a node that differs from the driver's. The run or sweep ends, and can be resumed."""


class Versions(NamedTuple):
    """Versions of what computes; `code` is a digest of dpzo's own files."""

    python: str
    ray: str
    dpzo: str
    code: str

    def __str__(self) -> str:
        """Return them as a person reads them."""
        return f"Python {self.python}, Ray {self.ray}, dpzo {self.dpzo}"

    def difference(self, expected: "Versions") -> str | None:
        """Return what differs from the driver's; None where only the patch level of Python does."""
        mine, others = self._minor(), expected._minor()
        if mine == others:
            return None
        name = next(name for name in Versions._fields if getattr(mine, name) != getattr(others, name))
        if name == "code":
            return (
                f"its dpzo {self.dpzo} has other files than the driver's. Install on every node what is installed "
                "here; `ray rsync-up` copies a checkout that has changed."
            )
        label = {"python": "Python", "ray": "Ray"}.get(name, name)
        return (
            f"it has {label} {getattr(self, name)}, and the driver {label} {getattr(expected, name)}. Install one "
            "version on every node."
        )

    def _minor(self) -> "Versions":
        return self._replace(python=".".join(self.python.split(".")[:2]))


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself: its versions, None where it gave no answer, and its first problem."""

    host: str
    address: str
    versions: Versions | None
    problem: str | None


@dataclass(frozen=True)
class DriverMark:
    """What a worker that starts later must find: the run's folder, by its random identity, and the driver's code."""

    identity: str
    versions: Versions


def versions_here() -> Versions:
    """Return the versions of this process."""
    return Versions(platform.python_version(), ray.__version__, __version__, code_digest())


def driver_mark(storage: Storage) -> DriverMark:
    """Return the mark of this process, which holds the storage's lock."""
    return DriverMark(storage.identity(), versions_here())


def require_as_driver(storage: Storage, mark: DriverMark) -> None:
    """Refuse to work in this process, with an UnfitNode, unless it has the driver's code and sees its folder locked."""
    if storage.url is not None:  # each node has a folder of its own
        storage.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    problem = versions_here().difference(mark.versions)
    if problem is None and not storage.has_identity(mark.identity):
        problem = _other_folder(storage.root)
    elif problem is None and storage.url is None and not storage.is_held():
        problem = _lock_without_effect(storage.root)
    if problem is not None:
        raise UnfitNode(
            f"node {socket.gethostname()}, on which a worker started: {problem} Fix the node or take it out of the "
            f"cluster, and continue with: dpzo resume {storage.place}"
        )


def node_reports(
    nodes: Sequence[Mapping[str, Any]], storage: Storage | None = None, inputs: Mapping[str, str] | None = None
) -> list[NodeReport]:
    """Ask every live node for its versions, and what it sees of the storage, the ledger and the inputs.

    Args:
        nodes: `ray.nodes()`.
        storage: of the run; its root exists on this machine. Only versions are compared when None.
        inputs: local files and folders that workers read, by the setting that names them.

    Raises:
        ValueError: this process cannot write and lock the storage.
    """
    alive = [node for node in nodes if node["Alive"]]
    ledger = None if storage is None else storage.database_url
    with _marked(storage) as mark:
        ask = ray.remote(num_cpus=0, max_retries=1)(_look_around)
        asked = [
            ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                versions_here(), mark, node["NodeID"], dict(inputs or {}), ledger
            )
            for node in alive
        ]
        return [_report(node, answer) for node, answer in zip(alive, asked, strict=True)]


@contextmanager
def _marked(storage: Storage | None) -> Iterator[str | None]:
    """Make a folder in the storage that the nodes look for, with a file that this process holds locked.

    Of object storage each node has a folder of its own, and nothing is looked for.
    """
    if storage is None or storage.url is not None:
        yield None
        return
    mark = storage.root / f".preflight-{secrets.token_hex(8)}"
    try:
        mark.mkdir()
        held = open(mark / "driver", "w")  # noqa: SIM115 - it stays open and locked while the nodes test it
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        shutil.rmtree(mark, ignore_errors=True)
        raise ValueError(f"storage_path: {storage.root} cannot be written and locked: {error.strerror}.") from None
    try:
        yield str(mark)
    finally:
        held.close()
        shutil.rmtree(mark)


def _look_around(
    expected: Versions, mark: str | None, node: str, inputs: dict[str, str], ledger: str | None
) -> tuple[Versions, str | None]:
    """Return the versions of this node, and the first thing that is wrong with it."""
    here = versions_here()
    problem = here.difference(expected)
    if problem is None and mark is not None:
        problem = _problem_with_storage(mark, node)
    if problem is None and (missing := [f"{key} {path}" for key, path in inputs.items() if not Path(path).exists()]):
        problem = f"{'; '.join(missing)}: missing. Put it under the same path on every node."
    if problem is None and ledger is not None and not ledger.startswith("sqlite"):
        problem = _problem_with_ledger(ledger)
    return here, problem


def _problem_with_storage(mark: str, node: str) -> str | None:
    here = Path(mark)
    if not (here / "driver").is_file():
        return _other_folder(here.parent)
    try:
        with open(here / "driver", "a") as of_driver:
            if _locks(of_driver):
                return _lock_without_effect(here.parent)
        with open(here / node, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(node)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"storage_path {here.parent} cannot be written and locked: {error.strerror}."
    return None


def _problem_with_ledger(url: str) -> str | None:
    try:
        engine = open_engine(url, create=False)
        try:
            engine.connect().close()
        finally:
            engine.dispose()  # the process stays, and must not keep a connection
    except (SQLAlchemyError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return f"budget.ledger: the database does not let it in ({reason})."
    return None


def _other_folder(root: Path) -> str:
    return (
        f"storage_path {root} is missing, or is not the driver's folder. With several nodes, name a folder that all of "
        "them share (NFS, a mounted volume)."
    )


def _lock_without_effect(root: Path) -> str:
    return (
        f"storage_path {root}: a lock of the driver has no effect here, so two processes could write one release log. "
        "Use a file system whose locks hold on all machines (NFS 4)."
    )


def _locks(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _report(node: Mapping[str, Any], answer: Any) -> NodeReport:
    """Wait for the answer of a node; that there is none, or an error, is its problem."""
    versions = None
    try:
        versions, problem = ray.get(answer, timeout=ANSWER_S)
    except GetTimeoutError:
        problem = f"took no task for {ANSWER_S:g} s; it is lost, or too busy to start a process."
    except RayError as error:
        last = str(error).strip().splitlines()[-1]
        problem = f"cannot run dpzo; install there what is installed here. {last}"
    return NodeReport(node["NodeManagerHostname"], node["NodeManagerAddress"], versions, problem)
