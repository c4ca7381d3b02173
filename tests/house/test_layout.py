"""The size and shape of the house: few entries a folder, short files, no import circle, a README in each package."""

from __future__ import annotations

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("orchestrator", "search_spaces", "trainers")
MOST_LINES_OF_A_FILE = 300
MOST_ENTRIES = {"orchestrator": 12, "trainers": 12, "orchestrator/privacy": 8}
FILES = sorted(path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))
PACKAGES = sorted(path.parent for path in FILES if path.name == "__init__.py")


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(("folder", "most"), MOST_ENTRIES.items())
def test_a_folder_has_few_modules_and_packages(folder, most):
    modules = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
    assert len(modules | packages) <= most


def test_no_file_is_long():
    assert {shown(path): lines_of(path) for path in FILES if lines_of(path) > MOST_LINES_OF_A_FILE} == {}


@pytest.mark.parametrize("package", PACKAGES, ids=shown)
def test_a_package_says_what_is_in_it(package):
    assert (package / "README.md").is_file()


def test_no_module_imports_itself_by_way_of_others():
    graph = grimp.build_graph(*PRODUCT, exclude_type_checking_imports=True)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # CycleError names the circle


def test_a_program_imports_the_public_names():
    code = "from orchestrator import Budget, Sweep, plan, train; print(Budget, Sweep, plan, train)"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
