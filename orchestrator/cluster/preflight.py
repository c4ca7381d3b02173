"""The checks of a cluster before anything is reserved: a sweep is refused with a sentence, and never hangs."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.request import ProxyHandler, build_opener

from ray._raylet import AuthenticationMode, get_authentication_mode  # pyright: ignore[reportAttributeAccessIssue]

from orchestrator.cluster.nodes import node_reports
from orchestrator.storage.paths import Storage

INSECURE = "DPZO_INSECURE"  # the environment's word for --insecure


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


def require_nodes(storage: Storage, nodes: Sequence[Mapping[str, Any]], inputs: Mapping[str, str]) -> None:
    """Test on every node that it has the driver's code, storage, ledger and inputs.

    Args:
        storage: of the run; its root exists on this machine.
        nodes: `ray.nodes()`.
        inputs: local files and folders that workers read, by the setting that names them.

    Raises:
        ValueError: a node cannot read or write the storage, sees another folder there, lacks an input or the package,
            has another version, or does not reach the ledger; or several machines would write a SQLite ledger.
    """
    require_ledger_for(storage, nodes)
    for report in node_reports(nodes, storage, inputs):
        if report.problem is not None:
            raise ValueError(f"Node {report.host} ({report.address}): {report.problem}")


def require_ledger_for(storage: Storage, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse, with a ValueError, a SQLite ledger on several machines."""
    hosts = sorted({node["NodeManagerHostname"] for node in nodes if node["Alive"]})
    if len(hosts) > 1 and storage.database_url.startswith("sqlite"):
        raise ValueError(
            f"budget.ledger: the Ray cluster has {len(hosts)} machines ({', '.join(hosts)}), and a SQLite ledger "
            "counts correctly on one machine only. Name a PostgreSQL database that all of them reach: "
            "postgresql+psycopg://user@host/name."
        )
