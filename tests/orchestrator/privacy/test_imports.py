"""The privacy core can be read and run on its own: the standard library, four libraries, and one root of exceptions."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import orchestrator.privacy

ROOT = Path(orchestrator.privacy.__file__).parent
LIBRARIES = {"numpy", "dp_accounting", "sqlalchemy", "pydantic"}
OURS = ("orchestrator.privacy", "trainers.errors")
LOADED = """
import importlib, json, pkgutil, sys
import dp_accounting.pld.privacy_loss_distribution, dp_accounting.rdp, numpy, sqlalchemy.dialects.sqlite
from pydantic import BaseModel, Field, TypeAdapter, model_validator

before = set(sys.modules)
import orchestrator.privacy

for module in pkgutil.walk_packages(orchestrator.privacy.__path__, "orchestrator.privacy."):
    importlib.import_module(module.name)
print(json.dumps([sorted(before), sorted(set(sys.modules) - before)]))
"""


def imported(path: Path) -> set[str]:
    """Return the modules that a file names in its imports, wherever in it they stand."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(str(node.module))
    return names


def is_allowed(name: str) -> bool:
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in LIBRARIES or is_ours(name)


def is_ours(name: str) -> bool:
    return any(name == ours or name.startswith(f"{ours}.") for ours in OURS)


def test_every_import_of_the_privacy_core_is_on_the_list():
    files = sorted(ROOT.rglob("*.py"))
    assert len(files) > 30
    strays = {f"{path.relative_to(ROOT)}: {name}" for path in files for name in imported(path) if not is_allowed(name)}
    assert strays == set()


def test_the_root_of_the_exceptions_imports_the_standard_library_alone():
    assert imported(ROOT.parents[1] / "trainers" / "errors.py") <= sys.stdlib_module_names


def test_a_process_with_the_privacy_core_has_loaded_nothing_else():
    process = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    before, added = json.loads(process.stdout)
    tops = {name.partition(".")[0] for name in before}
    assert not tops & {"torch", "ray", "transformers", "optuna", "vllm", "orchestrator", "trainers", "search_spaces"}
    strays = {name for name in added if name.partition(".")[0] not in tops | sys.stdlib_module_names}
    assert {name for name in strays if not is_ours(name)} == {"orchestrator", "trainers"}
