"""Hostile inputs: what a verb may do with them, and the values and damages that they are made of.

A verb answers any input with a result or with one clear line: no traceback, no end by an unexpected error, no private
text, within 10 s. `DPZO_HOSTILE=20` tries twenty times as many inputs, others each time; CI tries the same ones.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hypothesis
from click.testing import Result
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from typer.testing import CliRunner

from orchestrator.cli.app import app

SECRET = "Wachtelkoenig"  # stands in every private file
TIMES = int(os.environ.get("DPZO_HOSTILE", "1"))
LIMIT_S, LONGEST_WAIT_S = 10.0, 60.0

NUMBERS = (0, -1, 1, 3, 10**15, 2**63, 10**400, 0.5, 1e-300, 1e308, -1e308, float("nan"), float("inf"), -0.0)
TEXTS = (
    "",
    " ",
    "x" * 5000,
    "\x00",
    "a\x1b[2Jb\u202e",
    "\ud83d",
    "{",
    "{}",
    "{text",
    "{text:>20}",
    "[MASK]",
    "../../up",
    "/",
    "/dev/null",
    "/proc/self/mem",
    "~nosuchuser/x",
    "a" * 300,
    "hub:",
    "postgresql://u:p@h:notaport/d",
    "sqlite://",
    "null",
    "1e5",
    "-",
    "ε\n你",
)
scalars = st.sampled_from((None, True, False, *NUMBERS, *TEXTS))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TEXTS[:8]), inner, max_size=3)
)


def deep(levels: int) -> Any:
    """Return lists inside each other."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def hostile(num_inputs: int) -> Any:
    """Return the settings of a test that tries so many inputs."""
    return hypothesis.settings(
        max_examples=num_inputs * TIMES,
        derandomize=TIMES == 1,
        phases=(Phase.explicit, Phase.generate),  # inputs are small, and to shrink one takes minutes
        database=None,
        deadline=None,  # `limited` ends what hangs
        suppress_health_check=list(HealthCheck),
    )


class Hang(BaseException):
    """A verb took longer than it may."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise `Hang` after 10 s of computing, or when a verb has waited for a minute: a busy machine breaks no test."""

    def end(_number: int, _frame: object) -> None:
        raise Hang(f"it computes for longer than {LIMIT_S} s")

    before, begun = signal.signal(signal.SIGPROF, end), time.monotonic()
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if time.monotonic() - begun > LONGEST_WAIT_S:
        raise Hang(f"it waited for longer than {LONGEST_WAIT_S} s")


def answered(arguments: Sequence[str], *, shows_rows: bool = False) -> Result:
    """Run a verb, and require that it answers as it should; `data preview` may show rows where it succeeds."""
    try:
        with limited():
            result = CliRunner().invoke(app, list(arguments))
    except Hang as hang:
        raise AssertionError(f"{arguments}: {hang}") from None
    said = f"{arguments}: exit code {result.exit_code}, {result.output[:2000]!r}"
    assert result.exception is None or isinstance(result.exception, SystemExit), said
    assert result.exit_code in (0, 1, 2, 3), said
    assert "Unexpected error" not in result.output, said
    assert "Traceback" not in result.output, said
    if result.exit_code or not shows_rows:
        assert SECRET.lower() not in result.output.lower(), said
    if result.exit_code:
        assert result.output.strip(), said
        assert len(result.stderr) < 20_000, said
    return result


@st.composite
def damaged_bytes(draw: Any, content: bytes) -> bytes:
    """Return a file that was cut, or in which bytes were changed, inserted or repeated."""
    kind = draw(st.sampled_from(("cut", "change", "insert", "repeat", "replace")))
    place = draw(st.integers(0, len(content)))
    length = draw(st.sampled_from((1, 1, 3, 40)))
    if kind == "cut":
        return content[:place]
    if kind == "replace":
        return draw(
            st.sampled_from((b"", b"\x00" * 64, b"\xff\xfe", b"[" * 3000, b"null", b"42", b'"a"', b"[]", b"{}"))
        )
    if kind == "repeat":
        return content[:place] + content[place : place + length] * 3 + content[place + length :]
    new = draw(st.binary(min_size=1, max_size=length) | st.sampled_from((b'"', b"{", b"}", b"\r", b"\n", b",", b":")))
    return content[:place] + new + content[place + (len(new) if kind == "change" else 0) :]


@st.composite
def changed_values(draw: Any, settings: dict[str, Any], new: Any = values) -> dict[str, Any]:
    """Return plain values of which some were replaced, removed or added."""
    changed = copied(settings)
    for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
        below = changed
        while True:
            inner = [key for key, value in _items(below) if isinstance(value, dict | list) and value]
            if not inner or draw(st.booleans()):
                break
            below = below[draw(st.sampled_from(inner))]
        keys = [key for key, _ in _items(below)]
        kind = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add")))
        if kind == "add" and isinstance(below, dict):
            below[draw(st.sampled_from(("name", "search", "x", *TEXTS[:6])))] = copied(draw(new))
        elif keys:
            key = draw(st.sampled_from(keys))
            if kind == "remove":
                del below[key]
            else:
                below[key] = copied(draw(new | st.sampled_from((deep(60), deep(400)))))
    return changed


def copied(value: Any) -> Any:
    """Return a copy of plain values, which may be changed without another input's seeing it."""
    return json.loads(json.dumps(value))


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else list(enumerate(value))
