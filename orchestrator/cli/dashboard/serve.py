"""`dpzo dashboard`: prints the address of the page and serves it until Ctrl-C."""

import os
import re
import secrets

from orchestrator.api.views.console import progress_console
from orchestrator.cli.dashboard.server import DashboardServer
from orchestrator.cli.dashboard.snapshot import place_of

TOKEN = "DPZO_DASHBOARD_TOKEN"
SHORTEST_TOKEN = 16


def serve_dashboard(place: str, port: int, *, for_operator: bool, in_ray: bool) -> None:
    """Serve the page of a folder until a signal ends this process.

    ValueError if there is no such folder, it would show nothing, the token is too short, or the port is taken.
    """
    shown = place_of(place, for_operator=for_operator)
    with DashboardServer(shown, port, _token(), in_ray=in_ray) as server:
        print(f"{server.base}/{server.token}/", flush=True)
        console = progress_console()
        for line in _advice(server, for_operator):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        server.serve_forever()


def _token() -> str:
    """Return the token of the address: from the environment, or a new one."""
    token = os.environ.get(TOKEN)
    if token is None:
        return secrets.token_urlsafe(24)
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{{SHORTEST_TOKEN},}}", token):
        raise ValueError(f"{TOKEN}: expected at least {SHORTEST_TOKEN} letters, digits, - or _")
    return token


def _advice(server: DashboardServer, for_operator: bool) -> list[str]:
    if server.in_ray:
        hosts = {"RAY_GRAFANA_HOST": "", "RAY_PROMETHEUS_HOST": "", "RAY_GRAFANA_IFRAME_HOST": f"/{server.token}"}
        exports = [f"export {name}={server.base}{path}" for name, path in hosts.items()]
        kept = f"Set {TOKEN} to keep the address from one start of the page to the next."
        return ["For the Metrics tab of Ray's dashboard, where Ray's head starts:", *exports, kept]
    audience = (
        "It shows what only you may see." if for_operator else "It shows what is released as of the latest score."
    )
    return [f"{audience} Whoever has the address sees it; the page changes nothing. Ctrl-C ends it."]
