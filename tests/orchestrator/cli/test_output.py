"""Control characters of rows and messages never reach the terminal, whatever prints them."""

import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.text import Text
from typer.testing import CliRunner

import orchestrator.cli
from orchestrator.api.views.console import SafeConsole
from orchestrator.api.views.tables import facts_table, plain_table
from orchestrator.cli.app import app
from orchestrator.cli.output import Format, as_json, encode_all_output, print_result, print_text
from tests.support.models import save_model

EVIL = "a\x1b]0;title\x07b\x1b[2Jc\x9b31md\x7fe\u202egnp.exe\x00\rf"


def controls(text):
    return {char for char in text if unicodedata.category(char) == "Cc" or char in "\u202e\u2066"} - {"\n", "\t"}


def cells_table():
    table = plain_table("name", EVIL)
    table.add_row(EVIL, Text(EVIL, style="red"))
    return table


@pytest.mark.parametrize("view", [EVIL, Text(EVIL), facts_table([(EVIL, EVIL)]), cells_table(), Panel("x", title=EVIL)])
def test_no_control_character_reaches_the_terminal(view):
    console = SafeConsole(file=io.StringIO(), width=40)
    console.print(view)
    shown = console.file.getvalue()
    assert not controls(shown)
    assert "␛[2J" in shown.replace("\n", "")
    assert max(len(line) for line in shown.splitlines()) <= 40


def test_styles_stay():
    console = SafeConsole(file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text("\x1b", style="red"))
    assert console.file.getvalue() == "\x1b[31m␛\x1b[0m\n"


def test_json_escapes_them():
    assert not controls(as_json({"error": EVIL}))
    assert json.loads(as_json({"error": EVIL})) == {"error": EVIL}


def test_every_console_of_the_command_line_is_safe():
    (folder,) = orchestrator.cli.__path__
    made = {file.name for file in Path(folder).rglob("*.py") if " Console(" in file.read_text().replace("=", " ")}
    assert made == set()


def test_a_row_is_shown_without_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model", "bert", "sequence-classification")
    Path("private.jsonl").write_text(json.dumps({"text": f"food {EVIL}", "label": EVIL}) + "\n")
    config = {
        "name": "x",
        "data": {"train": "private.jsonl", "num_examples": 100},
        "task": {"template": "{text}", "label_column": "label", "labels": ["a", EVIL]},
        "model": {"path": "model", "head": "sequence-classification"},
        "method": {"name": "mezo"},
    }
    Path("config.json").write_text(json.dumps(config))
    done = CliRunner().invoke(app, ["data", "preview", "config.json"])
    assert done.exit_code == 0, done.output
    assert "␛[2J" in done.stdout
    assert not controls(done.output)


def test_output_without_an_epsilon_falls_back(monkeypatch):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(f"sys.{name}", stream)
    encode_all_output()
    print_text("ε ≥ 8 × 2, 你")
    print_result(Format.JSON, {"said": "ε = ∞ 😀"}, "")
    print_result(Format.JSON, {"said": "ε \udcff"}, "")
    sys.stdout.flush()
    assert streams["stdout"].buffer.getvalue() == (
        b'epsilon >= 8 x 2, ?\n{\n  "said": "epsilon = inf ?"\n}\n{\n  "said": "\\u03b5 \\udcff"\n}\n'
    )


def test_a_name_that_is_no_utf_8_reaches_the_terminal_as_symbols():
    console = SafeConsole(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    console.print("a\udcffb")
    console.file.flush()
    assert console.file.buffer.getvalue().decode() == "a\ufffdb\n"
