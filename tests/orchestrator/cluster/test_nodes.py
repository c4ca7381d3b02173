from __future__ import annotations

import fcntl

import pytest

from orchestrator.cluster import nodes
from orchestrator.cluster.nodes import (
    UnfitNode,
    Versions,
    _look_around,
    _problem_with_storage,
    driver_mark,
    node_reports,
    require_as_driver,
    versions_here,
)
from orchestrator.storage.paths import Storage
from tests.support.cluster import node

HERE = Versions("3.11.9", "2.60.0", "0.1.0", "abc")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"python": "3.12.1"},
            "it has Python 3.12.1, and the driver Python 3.11.9. Install one version on every node.",
        ),
        ({"ray": "2.59.0"}, "it has Ray 2.59.0, and the driver Ray 2.60.0."),
        ({"dpzo": "0.2.0", "code": "def"}, "it has dpzo 0.2.0, and the driver dpzo 0.1.0."),
        ({"code": "def"}, "its dpzo 0.1.0 has other files than the driver's."),
    ],
)
def test_other_versions_are_said(change, line):
    assert str(HERE._replace(**change).difference(HERE)).startswith(line)
    assert HERE._replace(python="3.11.2").difference(HERE) is None


def test_a_node_of_other_code_is_not_asked_about_the_rest():
    seen, problem = _look_around(HERE, "/nowhere", "node", {}, None)
    assert seen == versions_here()
    assert "driver" in str(problem)


def test_a_node_says_what_it_lacks(tmp_path):
    inputs = {"data.train": str(tmp_path), "model.path": str(tmp_path / "model")}
    _, problem = _look_around(versions_here(), None, "node", inputs, None)
    assert problem == f"model.path {tmp_path / 'model'}: missing. Put it under the same path on every node."


def test_a_node_that_does_not_reach_the_ledger_says_why():
    url = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    _, problem = _look_around(versions_here(), None, "node", {}, url)
    assert str(problem).startswith("budget.ledger: the database does not let it in (connection")
    assert "refused" in str(problem)
    assert "\n" not in str(problem)


def test_a_storage_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"storage_path: .*nowhere cannot be written and locked: No such file"):
        node_reports([node("a")], Storage(tmp_path / "nowhere", "test"), {})


def test_a_disk_whose_locks_do_not_hold_for_others_is_refused(tmp_path):
    with open(tmp_path / "driver", "w") as held:
        problem = _problem_with_storage(str(tmp_path), "node")
        assert problem is not None
        assert "could write one release log" in problem
        fcntl.flock(held, fcntl.LOCK_EX)
        assert _problem_with_storage(str(tmp_path), "node") is None


def test_another_folder_is_refused(tmp_path):
    assert "is missing, or is not the driver's folder" in str(_problem_with_storage(str(tmp_path / "mark"), "node"))


def test_a_node_that_joins_later_works_only_on_the_storage_of_the_driver(tmp_path, monkeypatch):
    storage, elsewhere = Storage(tmp_path / "a", "test"), Storage(tmp_path / "b", "test")
    with storage.lock(), elsewhere.lock():
        mark = driver_mark(storage)
        require_as_driver(storage, mark)
        elsewhere.identity()
        with pytest.raises(UnfitNode, match=r"^node .*, on which a worker started: storage_path .* not the driver's"):
            require_as_driver(elsewhere, mark)
        with monkeypatch.context() as patch:
            patch.setattr(nodes, "__version__", "0.0.1")
            with pytest.raises(UnfitNode, match=r"it has dpzo 0\.0\.1, .* continue with: dpzo resume"):
                require_as_driver(storage, mark)
    with pytest.raises(UnfitNode, match="a lock of the driver has no effect here"):
        require_as_driver(storage, mark)
    assert not Storage(tmp_path / "c", "test").has_identity(mark.identity)
    assert not (tmp_path / "c").exists()
