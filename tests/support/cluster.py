"""A Ray cluster of the tests' own on this machine: several nodes, each with a raylet, in a temporary folder.

    with RayCluster({"num_cpus": 0}, {"num_cpus": 2}) as cluster:
        subprocess.Popen(..., env=cluster.env())
        cluster.kill_node()

Nodes are ended by the handles that they were started with; other Ray sessions of the machine are left alone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import psutil

from orchestrator.cluster.closed_session import let_ray_read_again


def node(host: str, alive: bool = True, labels: dict[str, str] | None = None, **resources: float) -> dict[str, Any]:
    """Return a node as `ray.nodes()` describes it."""
    return {
        "NodeID": host,
        "NodeManagerHostname": host,
        "NodeManagerAddress": "10.0.0.1",
        "Alive": alive,
        "Resources": resources,
        "Labels": labels or {},
    }


class RayCluster:
    """A head and further nodes; the head has the dashboard unless `dashboard` is false, and asks for a token."""

    def __init__(
        self, head: dict[str, Any], *nodes: dict[str, Any], dashboard: bool = True, auth_mode: str = "token"
    ) -> None:
        from ray.cluster_utils import Cluster

        self._stack = ExitStack()
        self._stack.enter_context(_environment(RAY_AUTH_MODE=auth_mode, RAY_AUTH_TOKEN="7" * 64))
        self._folder = Path(tempfile.mkdtemp(prefix="dpzo-ray-"))  # short: a socket's path has 107 characters at most
        head = {"dashboard_port": 0, "include_dashboard": dashboard, "temp_dir": str(self._folder), **head}
        with patch("ray._private.utils.write_ray_address"):  # so that nobody else of this machine finds it
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = [self.add_node(**node) for node in nodes]

    @property
    def address(self) -> str:
        """Where it answers."""
        return self._cluster.address

    def env(self) -> dict[str, str]:
        """Return the environment of a process that connects to it."""
        return {**os.environ, "RAY_ADDRESS": self.address}

    def add_node(self, **node: Any) -> Any:
        """Start a node, and return its handle when the head knows it."""
        return self._cluster.add_node(**node)

    def lose_node(self, node: Any) -> None:
        """Kill a node as a power cut would."""
        self._cluster.remove_node(node, allow_graceful=False)

    def lose_head(self) -> None:
        """Kill the head, with all that stands there; the other nodes notice a minute later."""
        self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)

    @property
    def nodes(self) -> list[Any]:
        """The nodes that were started besides the head."""
        return list(self._cluster.worker_nodes)

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes of all nodes; not their agents, with which a node dies."""
        found = []
        for node in self._cluster.list_all_nodes():
            for info in node.all_processes.get("raylet", []):
                with suppress(psutil.NoSuchProcess):
                    children = psutil.Process(info.process.pid).children(recursive=True)
                    found += [one for one in children if one.name().startswith("ray::") and "Agent" not in one.name()]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()
        self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def _environment(**settings: str) -> Iterator[None]:
    """Change the environment, and let Ray see it: it reads these settings when it is imported."""
    with patch.dict(os.environ, settings):
        let_ray_read_again(cluster_enabled=True)
        yield
    let_ray_read_again(cluster_enabled=True)
