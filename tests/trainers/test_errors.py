"""Every exception of the project has one root."""

import ast
import builtins
import pickle
from pathlib import Path

import pytest

from orchestrator import ConfigError, DpzoError
from orchestrator.privacy.errors import BudgetExceeded, LedgerUnreachable
from trainers.errors import has_own_message, note_origin
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


OURS = """
def refused(value):
    raise ValueError(f"{value} is refused")

def parsed(value):
    return int(value)

def parsed_again(value):
    try:
        parsed(value)
    except ValueError:
        raise

def explained(value):
    try:
        parsed(value)
    except ValueError:
        raise ValueError("a number is expected") from None

def raised(error):
    raise error
"""


def error_of(function, argument):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any
        function(argument)
    return caught.value


def test_a_message_is_ours_where_a_raise_of_ours_made_it():
    ours, others = {"__name__": "trainers.made_up"}, {"__name__": "numpy.made_up"}
    exec(OURS, ours)
    exec(OURS, others)
    for name, is_own in {"refused": True, "parsed": False, "parsed_again": False, "explained": True}.items():
        assert has_own_message(error_of(ours[name], "secret")) == is_own, name
        assert not has_own_message(error_of(others[name], "secret")), name
    assert has_own_message(error_of(others["raised"], ConfigError("a key is unknown")))
    assert not has_own_message(ValueError("of nowhere"))


def test_an_error_of_another_process_has_the_origin_that_it_had_there():
    ours = {"__name__": "trainers.made_up"}
    exec(OURS, ours)
    for name, is_own in {"refused": True, "parsed": False}.items():
        there = error_of(ours[name], "secret")
        note_origin(there)
        here = pickle.loads(pickle.dumps(there))
        assert has_own_message(error_of(ours["raised"], here)) == is_own
        repeated = ValueError(str(there))
        note_origin(repeated, there)
        assert has_own_message(error_of(ours["raised"], repeated)) == is_own
