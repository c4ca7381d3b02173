"""`dpzo status`: one run or sweep, or all of a storage folder, printed once or until the work ends."""

import time
from pathlib import Path

from rich.console import RenderableType
from rich.live import Live

from orchestrator.api.views.console import SafeConsole
from orchestrator.api.views.status import overview, status_view
from orchestrator.budget.release_logs import require_all_logs_known
from orchestrator.cli.output import Format, print_result
from orchestrator.config.errors import ConfigError
from orchestrator.storage.existing import find_existing, folder_of, folders_in
from orchestrator.sweep.status import RunStatus, status_of

REFRESH_S = 2.0


def show_status(place: str, output: Format, watch: bool) -> None:
    """Print the status of a run or sweep, or of all in a storage folder.

    Raises:
        ValueError: there is none, or JSON is to be watched. Where several are shown, files of some cannot be read; it
            names these folders, and is raised when the others are printed.
        LedgerCorruptError: a release log beside them has more draws than its ledger; raised when all is printed.
    """
    if watch and output is Format.JSON:
        raise ValueError("--watch shows text: leave it out, and ask again for JSON")
    root = Path(place).expanduser()
    several = folder_of(place) is None and root.is_dir()
    config = None if several else find_existing(place).config

    def read() -> tuple[list[RunStatus], list[str]]:
        return _statuses_in(root) if several else ([status_of(find_existing(place))], [])

    def view(statuses: list[RunStatus]) -> RenderableType:
        return overview(statuses) if config is None else status_view(statuses[0], config)

    statuses, broken = read()
    if not watch:
        print_result(output, statuses if several else statuses[0], view(statuses))
    if broken:
        raise ConfigError(*broken)
    require_all_logs_known(root if several else Path(statuses[0].folder).parent)
    if not watch:
        return
    with Live(view(statuses), console=SafeConsole(), auto_refresh=False) as live:
        while any(one.state == "running" for one in statuses):
            time.sleep(REFRESH_S)
            statuses, _ = read()
            live.update(view(statuses), refresh=True)


def _statuses_in(root: Path) -> tuple[list[RunStatus], list[str]]:
    """Return the status of each run or sweep in a storage folder, and a line for each whose files cannot be read."""
    statuses, broken = [], []
    for folder in folders_in(root):
        try:
            statuses.append(status_of(find_existing(folder)))
        except ValueError as error:
            broken.append(str(error).splitlines()[0])
        except OSError as error:
            broken.append(f"{error.filename or folder}: {error.strerror}")
    return statuses, broken
