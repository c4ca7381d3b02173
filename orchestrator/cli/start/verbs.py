"""The verbs of a beginning: `dpzo init`, `dpzo demo` and `dpzo schema`."""

# ruff: noqa: B006 - typer reads the default of a list and never changes it

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.api.views.console import progress_console
from orchestrator.cli.errors import clear_errors


@clear_errors()
def init(
    data: Annotated[
        str | None, typer.Argument(help="Private rows: CSV, TSV, JSONL or Parquet; with --task a file or none.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Model folder, or a name on the Hugging Face hub.")] = "",
    task: Annotated[str | None, typer.Option("--task", help="A task of the catalogue, such as sst2.")] = None,
    texts: Annotated[list[str], typer.Option("--text", help="Column of the prompt; several times for several.")] = [],
    label: Annotated[str | None, typer.Option("--label", help="Column of the label. Default: found.")] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B", help="Labels; they are public. Default: found.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Column of a text to generate, without a label.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option("--validation", help="PUBLIC rows to score on. Default: a share of the private rows.")
    ] = None,
    num_examples: Annotated[
        int | None,
        typer.Option("--num-examples", min=1, help="Declared number of examples. Default: two digits of it."),
    ] = None,
    epsilon: Annotated[float | None, typer.Option("--epsilon", help="ε of the whole search.")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Configuration to write. Default: named after the data.")
    ] = None,
) -> None:
    """Write a commented configuration for your data and model. Asks on a terminal for what no flag gives."""
    if not model:
        raise ValueError("--model is missing: name a model folder, or a model on the Hugging Face hub")
    from orchestrator.cli.start.init import Wishes, write_configuration

    path = to or Path(f"{Path(data).stem if data else task}.yaml")
    wishes = Wishes(data, model, task, texts, label, labels, target, validation, num_examples, epsilon)
    write_configuration(wishes, path)
    _say(f"The configuration is in {path}. Next: dpzo plan {path}")


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
    card: Annotated[bool, typer.Option("--card", help="The schema of privacy_card.json instead.")] = False,
) -> None:
    """Print the JSON schema of configuration files, for editors that complete and check YAML."""
    from orchestrator.config.json_schema import schema_json
    from orchestrator.privacy.statement.card import card_schema_json
    from orchestrator.storage.files import write_whole

    text = card_schema_json() if card else schema_json()
    if to is None:
        typer.echo(text, nl=False)
        return
    write_whole(to, text)
    if not card:
        _say(f"Put this line first in a configuration: # yaml-language-server: $schema={to}")


def _say(line: str) -> None:
    progress_console().print(line, highlight=False, markup=False, soft_wrap=True)
