"""The privacy statement: what may be claimed about a run or a sweep, in words that people outside the field can check.

Exactly one number is called the total: the ε of everything that was released about the data set so far, this run
included, by the budget that the data set has. Everything beside it (what this run was charged, what one trial costs by
itself, what another way of counting would say) says what it is and cannot be mistaken for it. A run without noise gets
a statement too, which begins by saying that there is no privacy.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.display import round_up

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccountantUsed(_Frozen):
    """Which accountant certified, and on what grid of the privacy loss (None: no grid)."""

    name: str
    version: str
    discretisation: float | None


class BudgetUsed(_Frozen):
    """The budget of the data set: its limit (None: it only counts) and how many reservations it holds with this one."""

    name: str
    epsilon_limit: _Amount | None
    delta_limit: _Amount | None
    composition: Literal["sum", "rdp"]
    num_reservations: int


class LossesFrom(_Frozen):
    """What computed the losses, and whether in a mode that rounds a loss alike whoever shares its batch."""

    evaluator: str
    batch_invariant: bool


class PrivacyStatement(_Frozen):
    """Everything that a reader needs to judge a run's privacy; `text` for people, `model_dump_json` for programs.

    `epsilon_total` at `delta_total` is that of the data set; `epsilon_here` at `delta_here` that of this run or sweep
    by itself. An infinite ε is `null` in JSON, beside `"private": false`, so that every JSON parser can read it.
    `tokens_drawn` is null where the number of trials is a secret, `losses` in statements older than the field.
    """

    private: bool
    epsilon_total: _Amount | None
    delta_total: _Amount | None
    epsilon_here: _Amount | None
    delta_here: _Amount | None
    epsilon_per_trial: _Amount | None
    epsilon_by_other_rules: dict[str, float]
    budget: BudgetUsed
    released: str
    unit: str
    adjacency: Adjacency
    mechanism: str
    sampler: str
    search: str
    caps: dict[str, int]
    tokens_drawn: dict[str, int] | None
    rule: str
    accountant: AccountantUsed | None
    public_data: tuple[str, ...]
    warnings: tuple[str, ...]
    not_covered: tuple[str, ...]
    ledger_digest: str
    versions: dict[str, str]
    losses: LossesFrom | None = None

    @model_validator(mode="after")
    def _private_means_a_number(self) -> Self:
        numbers = ("epsilon_here", "delta_here", "accountant")
        missing = [name for name in numbers if getattr(self, name) is None]
        if self.private and missing:
            raise ValueError(f"A private run needs {', '.join(missing)}.")
        if not self.private and (self.epsilon_total is not None or self.epsilon_here is not None):
            raise ValueError("A run that is not private has no finite ε: epsilon_total must be None.")
        return self

    @property
    def epsilon(self) -> float:
        """The total ε as a number: inf where something that was released is not private."""
        return math.inf if self.epsilon_total is None else self.epsilon_total

    def text(self, width: int = 88) -> str:
        """Return the statement as plain text in lines of at most `width` columns (60 at least)."""
        return render(self, width)


_LABEL_COLUMNS = 14


def render(statement: PrivacyStatement, width: int) -> str:
    """Return the statement as plain text in lines of at most `width` columns (60 at least)."""
    width = max(width, 60)
    lines = ["PRIVACY STATEMENT", "", *_headline(statement, width), ""]
    for label, words in _rows(statement):
        indent = " " * _LABEL_COLUMNS
        lines += textwrap.wrap(words, width, initial_indent=f"{label:<{_LABEL_COLUMNS}}", subsequent_indent=indent)
    lines += ["", "Not covered by this statement:"]
    for sentence in statement.not_covered:
        lines += textwrap.wrap(sentence, width, initial_indent="  - ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"


def _headline(statement: PrivacyStatement, width: int) -> list[str]:
    if not statement.private:
        return [
            *textwrap.wrap(
                "This run is NOT private. It adds no noise, so no finite ε describes what it reveals:", width
            ),
            "",
            "    total ε = ∞",
        ]
    claim = (
        f"What is released is differentially private with respect to each single {statement.unit} of the private data "
        f"({statement.adjacency}). For everything that was released about this data so far:"
    )
    why = (
        "This is the cost of what was declared before each run, not of what was drawn. It bounds how far one "
        f"{statement.unit} can change what anyone concludes from all that is released, whatever else they know or try."
    )
    return [*textwrap.wrap(claim, width), "", f"    {_total(statement)}", "", *textwrap.wrap(why, width)]


def _total(statement: PrivacyStatement) -> str:
    if statement.epsilon_total is None or statement.delta_total is None:
        return "total ε = ∞"
    return f"total ε = {_shown(statement.epsilon_total)} at δ = {_shown(statement.delta_total)}"


def _rows(statement: PrivacyStatement) -> Iterator[tuple[str, str]]:
    yield from (("Warning", warning) for warning in statement.warnings)
    if statement.epsilon_here is not None:
        here = f"ε = {_shown(statement.epsilon_here)} at δ = {_shown(statement.delta_here or 0.0)}"
        yield "This run", f"{here}{_share(statement)}"
    yield "Released", statement.released
    yield "Unit", f"one {statement.unit}, {statement.adjacency}"
    yield "Mechanism", statement.mechanism
    yield "Sampler", statement.sampler
    yield "Search", statement.search
    yield "Caps" if statement.private else "Steps", amounts(statement.caps)
    if statement.private:
        drawn = "stays with the operator" if statement.tokens_drawn is None else amounts(statement.tokens_drawn)
        yield "Drawn so far", f"{drawn} (for information: the ε is that of the caps)"
    if statement.epsilon_per_trial is not None:
        alone = _shown(statement.epsilon_per_trial)
        yield "One trial", f"ε = {alone} if nothing but one full trial were released; not the cost of this run"
    yield "Rule", statement.rule
    if statement.epsilon_by_other_rules:
        others = "; ".join(f"{name}: {_shown(value)}" for name, value in statement.epsilon_by_other_rules.items())
        yield "Other rules", f"had they been declared instead, this run's ε would be: {others}"
    yield "Budget", _budget(statement)
    used = statement.accountant
    if used is not None:
        grid = "" if used.discretisation is None else f", grid {used.discretisation:g}, rounded towards more ε"
        yield "Accountant", f"{used.name}, version {used.version}{grid}"
    if statement.losses is not None:
        yield "Losses", _losses(statement.losses.evaluator, statement.losses.batch_invariant)
    yield "Public data", "; ".join(statement.public_data) or "none was declared"
    yield "Ledger", f"SHA-256 {statement.ledger_digest}"
    if statement.versions:
        yield "Versions", ", ".join(f"{name} {number}" for name, number in sorted(statement.versions.items()))


def _losses(evaluator: str, batch_invariant: bool) -> str:
    if batch_invariant:
        return f"computed by {evaluator}, in a mode in which no neighbour in a batch changes how a loss is rounded"
    return f"computed by {evaluator}; a neighbour in a batch may change how a loss is rounded"


def _share(statement: PrivacyStatement) -> str:
    others = statement.budget.num_reservations - 1
    if others == 0:
        return ", and nothing else was released about this data"
    return f"; the rest comes from {others} other run{'s' if others > 1 else ''} on this data"


def _budget(statement: PrivacyStatement) -> str:
    budget = statement.budget
    if budget.epsilon_limit is None or budget.delta_limit is None:
        return f"{budget.name!r}, without a limit: it only counts"
    how = {"sum": "costs add up", "rdp": "a Rényi filter: its limit counts, used up or not"}[budget.composition]
    return f"{budget.name!r}, at most ε = {budget.epsilon_limit:g} at δ = {budget.delta_limit:g}; {how}"


def amounts(tokens: Mapping[str, int]) -> str:
    """Return counts by kind in words: 1,500 training steps, 20 noisy scores on private rows."""
    return ", ".join(f"{count:,} {_words(kind)}" for kind, count in tokens.items())


def _words(kind: str) -> str:
    name, _, entry = kind.partition("/")
    words = _KINDS.get(name, name)
    return f"{words} of menu entry {entry}" if entry else words


_KINDS = {
    "train_step": "training steps",
    "evaluation": "noisy scores on private rows",
    "renyi_units": "units of 2^-40 Rényi ε",
}


def _shown(value: float) -> str:
    return f"{round_up(value, 4):g}"
