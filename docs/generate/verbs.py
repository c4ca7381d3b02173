"""The reference of the command line, from its parser: every verb, argument, flag and exit code."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer

from orchestrator.cli.app import CHECK_FAILED, VIOLATION_FOUND, app
from orchestrator.cli.errors import BAD_CONFIGURATION, BUDGET_REFUSED, STOPPED
from orchestrator.cli.interruption import SIGNALS

OF_TYPER = ("--install-completion", "--show-completion", "--help")
EXIT_CODES = {
    0: "Done. A finished run that is started again also ends with 0: it shows its result.",
    STOPPED: "Something else went wrong: a disk is full, a process or a machine was lost, an error in the code.",
    BAD_CONFIGURATION: "Wrong configuration, file or flag. The line says what was expected, and how to fix it.",
    BUDGET_REFUSED: "The privacy budget or its ledger refuses. The line says what is spent, left, and what would fit.",
    VIOLATION_FOUND: "`dpzo audit` found a violation of the privacy claim.",
}
"""What each exit code means. `doctor` ends with `CHECK_FAILED`, which is `STOPPED`, where a check fails."""
assert CHECK_FAILED == STOPPED


def verbs() -> Iterator[tuple[str, Any]]:
    """Yield every verb, 'budget create', with its command."""
    yield from _verbs_below(typer.main.get_command(app), "")


def _verbs_below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for part, below in getattr(command, "commands", {}).items():
        if hasattr(below, "commands"):
            yield from _verbs_below(below, f"{name}{part} ")
        else:
            yield f"{name}{part}", below


def verbs_reference() -> str:
    """Return a section of Markdown for each verb, after the options of all of them."""
    options = [param for param in typer.main.get_command(app).params if param.opts[0] not in OF_TYPER]
    first = ["## Every verb", "", "Options before the verb: `dpzo --debug plan my.yaml`.", "", *_table(options)]
    return "\n\n".join(["\n".join(first), *(_section(name, command) for name, command in verbs())])


def exit_codes_reference() -> str:
    """Return the table of exit codes."""
    numbers = ", ".join(f"{128 + number} ({number.name})" for number in map(signal.Signals, SIGNALS))
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    ended = f"| 128 + n | Ended by signal n: {numbers}. The line says how to continue. |"
    return "\n".join(["| code | meaning |", "|---|---|", *rows, ended])


def _section(name: str, command: Any) -> str:
    arguments = [param for param in command.params if not param.opts[0].startswith("-")]
    usage = " ".join(["dpzo", name, *(_usage(param) for param in arguments)])
    lines = [f"## dpzo {name}", "", " ".join((command.help or "").split()), "", "```", f"{usage} [OPTIONS]", "```", ""]
    return "\n".join([*lines, *_table(command.params)]).rstrip()


def _usage(param: Any) -> str:
    name = param.metavar or param.name.upper()
    name = f"{name}…" if param.nargs == -1 else name
    return name if param.required else f"[{name}]"


def _table(params: list[Any]) -> list[str]:
    if not params:
        return []
    return ["| argument or flag | default | meaning |", "|---|---|---|", *map(_row, params)]


def _row(param: Any) -> str:
    is_flag = getattr(param, "is_flag", False)
    is_option = param.opts[0].startswith("-")
    value = "" if is_flag or not is_option else f" {_value_name(param)}"
    names = ", ".join(f"`{name}{value}`" for name in [*param.opts, *param.secondary_opts] if is_option)
    if not is_option:
        names = f"`{param.metavar or param.name.upper()}`"
    meaning = " ".join((param.help or "").replace("|", "\\|").split())
    return f"| {names.replace('|', chr(92) + '|')} | {_default(param, is_flag)} | {meaning} |"


def _value_name(param: Any) -> str:
    kind = param.type_descriptor.annotation
    if param.metavar:
        return param.metavar
    return (
        "|".join(member.value for member in kind)
        if isinstance(kind, type) and issubclass(kind, Enum)
        else param.name.upper()
    )


def _default(param: Any, is_flag: bool) -> str:
    default = param.default.value if isinstance(param.default, Enum) else param.default
    if param.required:
        return "**required**"
    if is_flag:
        return "on" if default else "off"
    return "–" if default in (None, [], ()) or callable(default) else f"`{default}`"
