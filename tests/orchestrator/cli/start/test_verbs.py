import json
from pathlib import Path

from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.config.version import __version__


def test_the_schema_is_printed_or_written(tmp_path):
    printed = CliRunner().invoke(app, ["schema"]).stdout
    said = CliRunner().invoke(app, ["schema", "--to", str(tmp_path / "dpzo-schema.json")])
    assert (tmp_path / "dpzo-schema.json").read_text() == printed
    assert "# yaml-language-server: $schema=" in said.stderr
    card = json.loads(CliRunner().invoke(app, ["schema", "--card"]).stdout)
    assert card == json.loads((Path(__file__).parents[4] / "docs" / "privacy-card.schema.json").read_text())


def test_a_shell_completes_verbs():
    asked = {"_DPZO_COMPLETE": "complete_bash", "COMP_WORDS": "dpzo re", "COMP_CWORD": "1"}
    assert CliRunner().invoke(app, [], env=asked, prog_name="dpzo").stdout.split() == ["report", "refine", "resume"]


def test_the_version_is_that_of_the_package():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"dpzo {__version__}\n"
