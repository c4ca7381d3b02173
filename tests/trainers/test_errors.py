"""Every exception of the project has one root."""

import ast
import builtins
import pickle
from pathlib import Path

from orchestrator import ConfigError, DpzoError
from orchestrator.privacy.errors import BudgetExceeded, LedgerUnreachable
from trainers.mechanism.release_log import LogInUseError
from trainers.mechanism.tokens import TokensExhausted
from trainers.workers.exchange import PeerLost

ROOT = Path(__file__).parents[2]
BUILTIN = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)}


def test_an_exception_class_that_is_not_below_the_root_is_none_of_ours() -> None:
    stray = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for package in ("orchestrator", "search_spaces", "trainers")
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name != "DpzoError"
        and BUILTIN & (bases := {ast.unparse(base) for base in node.bases}) and "DpzoError" not in bases
    ]  # fmt: skip
    assert stray == []


def test_they_keep_their_builtin_classes_and_pass_between_processes() -> None:
    refused = BudgetExceeded("no room", spent=1.0, asked=2.0, left=0.5)
    copy = pickle.loads(pickle.dumps(refused))
    assert (copy.spent, copy.asked, copy.left, str(copy)) == (1.0, 2.0, 0.5, "no room")
    for error, kind in (
        (ConfigError("a", "b"), ValueError),
        (LogInUseError("held"), ValueError),
        (TokensExhausted("drawn"), RuntimeError),
        (PeerLost("gone"), ConnectionError),
        (LedgerUnreachable("away"), DpzoError),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert isinstance(copy, DpzoError)
        assert isinstance(copy, kind)
        assert str(copy) == str(error)
