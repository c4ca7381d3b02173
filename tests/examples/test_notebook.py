"""The notebook of the Python interface runs in a kernel, and its stored output is of today but for its numbers.

A cell before the others puts in place what stands in for Ray and the model, so that the kernel starts neither.
"""

from pathlib import Path

import nbformat
import pytest
from nbconvert.preprocessors import ExecutePreprocessor

ROOT = Path(__file__).parents[2]
WITHOUT_CLUSTER = """
import pytest
from tests.support.inline import without_cluster
without_cluster(pytest.MonkeyPatch())
"""


def kinds(cells):
    """What each cell shows: the kinds of its outputs."""
    return [[sorted(output.get("data", ())) for output in cell.get("outputs", ())] for cell in cells]


@pytest.mark.filterwarnings("ignore")  # of the libraries of notebooks
def test_the_notebook_runs_and_its_stored_output_is_of_today(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored = nbformat.read(ROOT / "examples" / "api.ipynb", as_version=4).cells
    notebook = nbformat.read(ROOT / "examples" / "api.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT_CLUSTER))
    ExecutePreprocessor(timeout=240).preprocess(notebook, {"metadata": {"path": str(ROOT / "examples")}})
    assert notebook.cells[-1].outputs[0]["data"]["text/plain"] == "True"
    assert kinds(notebook.cells[1:]) == kinds(stored)
