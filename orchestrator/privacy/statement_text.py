"""The words of the privacy statement: its plain-text form, and what no ε of this project covers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from orchestrator.privacy.display import round_up

if TYPE_CHECKING:
    from orchestrator.privacy.statement import PrivacyStatement

Order = Literal["zeroth", "first"]

_ROUNDING = (
    "Rounding in the model: an example's loss may change in its last digits with its neighbours in the batch, and a "
    "difference divides that by 2λ, while the proof takes each clipped value to depend on one example alone. It is "
    "measured on public examples at the start, and refused where it could reach a tenth of the clip. Sums and noise "
    "are exact integers."
)
ROUNDING_FIRST_ORDER = (
    "Rounding: the gradients of this baseline, their sum and its noise are floating-point numbers, not the exact "
    "integers of the zeroth-order methods. A gradient's last digits may change with its neighbours in the batch; each "
    "noise value is the half sum of four, from a secret stream, against attacks on the low bits."
)

NOT_COVERED = (
    "Whatever else is or was released about the same people and is not in this ledger: its ε adds to this one.",
    "Choices made outside the sweep by looking at private examples: prompts, label words, the search space, the caps.",
    "The number of examples, which is declared public: the sampling probability and the divisor are made from it.",
    "People with several examples: the claim is for one record; for k records of one person it is k·ε, at a larger δ.",
    "What the base model knew before. If private examples were in its pretraining data, they are not protected there.",
    "What the operator sees: the data itself, raw losses and batches in memory, crash dumps, the machine's own logs.",
    "Rows of the data that were declared public.",
    "Time, memory and power: how long a step takes depends on the batch that was drawn.",
    _ROUNDING,
    "Refusals: a row that cannot be read or prompted is refused by its number before anything is released.",
    "The operating system's random numbers, taken to be unpredictable, and a ledger that was rewritten or set back.",
    "What would be learnt anyway: facts about a population that follow from the other examples.",
    "Mistakes in the code, which is tested and not formally verified.",
)

WHAT_IS_CLIPPED: dict[Order, tuple[str, str]] = {
    "zeroth": ("loss differences along public directions", "each number of the sum, by an exact integer sampler"),
    "first": ("loss gradients", "each coordinate of the sum, by a floating-point sampler"),
}
"""What a step takes from each example, and what its noise is added to."""

NOT_COVERED_WITHOUT_PRIVACY = (
    "Everything. Treat the weights, scores and logs of this run as if they were the private examples themselves.",
)

_LABEL_COLUMNS = 14


def not_covered(order: Order) -> tuple[str, ...]:
    """Return the standing list of what no ε covers, for methods of an order."""
    if order == "zeroth":
        return NOT_COVERED
    return tuple(ROUNDING_FIRST_ORDER if sentence is _ROUNDING else sentence for sentence in NOT_COVERED)


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
