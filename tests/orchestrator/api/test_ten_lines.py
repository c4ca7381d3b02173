"""The lines of Python in docs/api.md run as they stand."""

import re
from pathlib import Path
from threading import Thread

import pytest

from tests.support.inline import without_cluster
from tests.support.project import write_reviews

ROOT = Path(__file__).parents[3]


def lines_of(path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "sweep.plan()" in block]
    return block


@pytest.fixture
def folder(project, tmp_path, monkeypatch):
    """A folder with the files that the lines name."""
    monkeypatch.chdir(tmp_path)
    without_cluster(monkeypatch)
    Path("opt-125m").symlink_to(project["model"]["path"])
    write_reviews(Path("notes.jsonl"), 4000, seed=3)
    write_reviews(Path("public.jsonl"), 40, seed=4)
    return tmp_path


def test_the_lines_run(folder, capsys):
    """In a thread, which is more than a script asks for."""
    names = {}
    thread = Thread(target=exec, args=(lines_of("docs/api.md"), names))
    thread.start()
    thread.join()
    assert names["same"] == names["result"]
    assert len(names["frame"]) == 6
    assert {path.name for path in folder.iterdir()} >= {"epsilon.png", "exported", "runs"}
    assert "total ε" in capsys.readouterr().out
