"""`dpzo status`: one run or sweep, or all of a storage folder, printed once or until the work ends."""

import time
from pathlib import Path

from rich.console import RenderableType
from rich.live import Live

from orchestrator.budget.release_logs import require_all_logs_known
from orchestrator.cli.output import Format, SafeConsole, print_result
from orchestrator.cli.views.status import overview, status_view
from orchestrator.storage.existing import existing_in, find_existing, folder_of
from orchestrator.sweep.status import RunStatus, status_of

REFRESH_S = 2.0


def show_status(place: str, output: Format, watch: bool) -> None:
    """Print the status of a run or sweep, or of all in a storage folder.

    Raises:
        ValueError: there is none, or JSON is to be watched.
        LedgerCorruptError: a release log beside them has more draws than its ledger; raised when all is printed.
    """
    if watch and output is Format.JSON:
        raise ValueError("--watch shows text: leave it out, and ask again for JSON")
    root = Path(place).expanduser()
    several = folder_of(place) is None and root.is_dir()
    config = None if several else find_existing(place).config

    def read() -> list[RunStatus]:
        return [status_of(one) for one in (existing_in(root) if several else [find_existing(place)])]

    def view(statuses: list[RunStatus]) -> RenderableType:
        return overview(statuses) if config is None else status_view(statuses[0], config)

    statuses = read()
    if not watch:
        print_result(output, statuses if several else statuses[0], view(statuses))
    require_all_logs_known(root if several else Path(statuses[0].folder).parent)
    if not watch:
        return
    with Live(view(statuses), console=SafeConsole(), auto_refresh=False) as live:
        while any(one.state == "running" for one in statuses):
            time.sleep(REFRESH_S)
            statuses = read()
            live.update(view(statuses), refresh=True)
