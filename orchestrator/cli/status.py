"""What `dpzo status` prints: one run or sweep, or all of a storage folder; once, or until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pydantic_core import to_json
from rich.console import Console, RenderableType
from rich.live import Live

from orchestrator.cli.output import Format, print_result
from orchestrator.cli.views.status import overview, status_view
from orchestrator.storage.existing import existing_in, find_existing, folder_of
from orchestrator.sweep.status import RunStatus, status_of

REFRESH_S = 2.0


def show_status(place: str, output: Format, watch: bool) -> None:
    """Print the status of what is in a place.

    Raises:
        ValueError: there is nothing.
    """
    statuses, view = _looking_at(place)
    if not watch:
        found = statuses()
        many = folder_of(place) is None
        print_result(output, lambda: _json(found if many else found[0]), lambda _: view(found))
        return
    if output is Format.JSON:
        raise ValueError("--watch is for people: leave it out, and ask again for JSON")
    found = statuses()
    with Live(view(found), console=Console(), auto_refresh=False) as live:
        while any(one.state == "running" for one in found):
            time.sleep(REFRESH_S)
            found = statuses()
            live.update(view(found), refresh=True)


def _looking_at(place: str) -> tuple[Callable[[], list[RunStatus]], Callable[[list[RunStatus]], RenderableType]]:
    """Return what looks, and what shows it."""
    root = Path(place).expanduser()
    if folder_of(place) is None and root.is_dir():
        return lambda: [status_of(one) for one in existing_in(root)], overview
    existing = find_existing(place)
    return lambda: [status_of(existing)], lambda found: status_view(found[0], existing.config)


def _json(found: list[RunStatus] | RunStatus) -> str:
    return to_json(found, indent=2, inf_nan_mode="null").decode() + "\n"
