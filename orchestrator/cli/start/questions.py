"""Questions on a terminal; without one, the answer is a flag or the proposal."""

import sys
from typing import TypeVar

import typer

Answer = TypeVar("Answer", int, float)


def ask(flag: str, question: str, given: Answer | None, proposal: Answer, needed: bool = False) -> Answer:
    """Return what the flag gave, or the answer on a terminal, or else the proposal.

    ValueError where there is no terminal, and the choice is `needed` from the user.
    """
    if given is not None:
        return given
    terminal = sys.__stdin__
    if terminal is None or terminal.closed or not terminal.isatty():
        if needed:
            raise ValueError(f"{flag} is missing: give it, as there is no terminal to ask for {question}")
        return proposal
    before, sys.stdin = sys.stdin, terminal  # `main` closes it to the libraries
    try:
        return typer.prompt(question, default=proposal, type=type(proposal), err=True)
    finally:
        sys.stdin = before
