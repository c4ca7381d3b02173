"""The privacy statement: what may be claimed about a run or a sweep, in words that people outside the field can check.

Exactly one number is called the total: the ε of everything that was released about the data set so far, this run
included. Every other number (the ε of this run, of one trial, under another rule) says what it is, so that nobody takes
it for the total. A run without noise gets a statement too; it begins by saying that there is no privacy.
"""

import math
import textwrap
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.display import round_up
from orchestrator.privacy.statement.wording import amounts

_LABEL_COLUMNS = 14
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccountantUsed(_Frozen):
    """Which accountant certified, and on what grid of the privacy loss (None: no grid)."""

    name: str
    version: str
    discretisation: float | None


class BudgetUsed(_Frozen):
    """The budget of the data set: its limit (None: it only counts) and its number of reservations, with this one."""

    name: str
    epsilon_limit: _Amount | None
    delta_limit: _Amount | None
    composition: Literal["sum", "rdp"]
    num_reservations: int


class LossesFrom(_Frozen):
    """What computed the losses, and whether the other examples of a batch leave the rounding of a loss unchanged."""

    evaluator: str
    batch_invariant: bool
    rounding_share: float = 0.0


class PrivacyStatement(_Frozen):
    """Everything that a reader needs to judge a run's privacy; `text` for people, `model_dump_json` for programs.

    `epsilon_total` at `delta_total` is that of the data set; `epsilon_here` at `delta_here` that of this run or sweep
    by itself. An infinite ε is `null` in JSON, so that every JSON parser can read it. `tokens_drawn` is null where the
    number of trials is a secret, `losses` in statements older than the field.
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
        width = max(width, 60)
        lines = ["PRIVACY STATEMENT", "", *_headline(self, width), ""]
        for label, words in _rows(self):
            indent = " " * _LABEL_COLUMNS
            lines += textwrap.wrap(words, width, initial_indent=f"{label:<{_LABEL_COLUMNS}}", subsequent_indent=indent)
        lines += ["", "Not covered by this statement:"]
        for sentence in self.not_covered:
            lines += textwrap.wrap(sentence, width, initial_indent="  - ", subsequent_indent="    ")
        return "\n".join(lines) + "\n"


def _headline(statement: PrivacyStatement, width: int) -> list[str]:
    if not statement.private:
        claim = "This run is NOT private. It adds no noise, so no finite ε describes what it reveals:"
        return [*textwrap.wrap(claim, width), "", "    total ε = ∞"]
    claim = (
        "Everything that was released about this private data so far, this run included, is differentially private for "
        f"each single {statement.unit} ({statement.adjacency}):"
    )
    why = (
        "This is the cost of what was declared before each run, not of what was drawn. It limits how much one "
        f"{statement.unit} can change what anyone concludes from the releases, whatever else they know or do."
    )
    return [*textwrap.wrap(claim, width), "", f"    {_total(statement)}", "", *textwrap.wrap(why, width)]


def _total(statement: PrivacyStatement) -> str:
    if statement.epsilon_total is None or statement.delta_total is None:
        return "total ε = ∞"
    return f"total ε = {_shown(statement.epsilon_total)} at δ = {_shown(statement.delta_total)}"


def _rows(statement: PrivacyStatement) -> Iterator[tuple[str, str]]:
    """Yield label and words of each row."""
    yield from (("Warning", warning) for warning in statement.warnings)
    if statement.epsilon_here is not None:
        here = f"ε = {_shown(statement.epsilon_here)} at δ = {_shown(statement.delta_here or 0.0)}"
        yield "This run", f"{here}; {_rest(statement)}"
    yield "Released", statement.released
    yield "Unit", f"one {statement.unit}, {statement.adjacency}"
    yield "Mechanism", statement.mechanism
    yield "Sampler", statement.sampler
    yield "Search", statement.search
    yield from _counts(statement)
    yield "Rule", statement.rule
    if statement.epsilon_by_other_rules:
        others = "; ".join(f"{name}: {_shown(value)}" for name, value in statement.epsilon_by_other_rules.items())
        yield "Other rules", f"under another rule, this run's ε would be: {others}"
    yield "Budget", _budget(statement.budget)
    yield from _sources(statement)


def _counts(statement: PrivacyStatement) -> Iterator[tuple[str, str]]:
    yield "Caps" if statement.private else "Steps", amounts(statement.caps)
    if statement.private:
        drawn = statement.tokens_drawn
        known = "" if drawn is None else f"{amounts(drawn)} (for information: the ε counts the caps)"
        yield "Drawn so far", known or "stays with the operator"
    if statement.epsilon_per_trial is not None:
        alone = _shown(statement.epsilon_per_trial)
        yield "One trial", f"ε = {alone} if one full trial were the only release; this is not the cost of this run"


def _sources(statement: PrivacyStatement) -> Iterator[tuple[str, str]]:
    """Yield what the numbers were computed with and from."""
    used = statement.accountant
    if used is not None:
        grid = "" if used.discretisation is None else f", grid {used.discretisation:g}, rounded towards a larger ε"
        yield "Accountant", f"{used.name}, version {used.version}{grid}"
    if statement.losses is not None:
        may = "do not change" if statement.losses.batch_invariant else "may change"
        share = statement.losses.rounding_share
        charged = f", which is charged: ε is that of noise of σ / {1 + share:g}" if share else ""
        evaluator = statement.losses.evaluator
        yield "Losses", f"computed by {evaluator}; the other examples of a batch {may} how a loss is rounded{charged}"
    yield "Public data", "; ".join(statement.public_data) or "none was declared"
    yield "Ledger", f"SHA-256 {statement.ledger_digest}"
    if statement.versions:
        yield "Versions", ", ".join(f"{name} {number}" for name, number in sorted(statement.versions.items()))


def _rest(statement: PrivacyStatement) -> str:
    others = statement.budget.num_reservations - 1
    if others == 0:
        return "nothing else was released about this data"
    return f"the rest is the cost of {others} other run{'s' if others > 1 else ''} on this data"


def _budget(budget: BudgetUsed) -> str:
    if budget.epsilon_limit is None or budget.delta_limit is None:
        return f"{budget.name!r}, without a limit: it only counts"
    how = {"sum": "costs add up", "rdp": "a Rényi filter: the whole limit counts, used or not"}[budget.composition]
    return f"{budget.name!r}, at most ε = {budget.epsilon_limit:g} at δ = {budget.delta_limit:g}; {how}"


def _shown(value: float) -> str:
    return f"{round_up(value, 4):g}"
