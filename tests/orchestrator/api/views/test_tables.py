import pytest

from orchestrator.api.views.tables import TrialsTable, path_text, score_text
from orchestrator.sweep.board import TrialRow
from tests.orchestrator.terminal import shown


@pytest.mark.parametrize("metric", ["accuracy", "f1", "precision", "recall", "likelihood"])
def test_shares_are_shown_as_percentages(metric):
    assert score_text(0.8766, metric) == "87.7%"


def test_a_path_below_the_current_folder_is_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert path_text(tmp_path / "runs" / "quickstart") == "runs/quickstart"
    assert path_text(tmp_path.parent) == str(tmp_path.parent)


def test_a_loss_is_shown_as_the_number_it_is():
    assert score_text(-1.2341, "loss") == "-1.234"
    table = TrialsTable([TrialRow(0, {}, "complete", 4, 4, [-1.2341], 1.0)], [], 0, 4, "loss")
    assert "-1.234" in shown(table)
    assert "%" not in shown(table)
