"""The verbs of a beginning: `dpzo demo` and `dpzo schema`."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.errors import clear_errors
from orchestrator.cli.output import progress_console


@clear_errors()
def demo(
    to: Annotated[Path, typer.Option("--to", help="Folder for demo.yaml and demo/. Default: this one.")] = Path(),
) -> None:
    """Write a small model, data and a configuration to try dpzo with: `dpzo demo`, then `dpzo sweep demo.yaml`."""
    from orchestrator.cli.start.demo import write_demo

    path = write_demo(to)
    _say(f"The demo is in {path}. Next: dpzo sweep {path}")


@clear_errors()
def schema(
    to: Annotated[Path | None, typer.Option("--to", help="File to write. Default: standard output.")] = None,
) -> None:
    """Print the JSON schema of configuration files, for editors that complete and check YAML."""
    from orchestrator.config.json_schema import schema_json
    from orchestrator.storage.files import write_whole

    if to is None:
        typer.echo(schema_json(), nl=False)
        return
    write_whole(to, schema_json())
    _say(f"Put this line first in a configuration: # yaml-language-server: $schema={to}")


def _say(line: str) -> None:
    progress_console().print(line, highlight=False, markup=False, soft_wrap=True)
