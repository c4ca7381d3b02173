"""Sentences of the privacy statement, and what no epsilon covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass


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


def not_covered(order: Order) -> tuple[str, ...]:
    """Return the standing list of what no ε covers, for methods of an order."""
    if order == "zeroth":
        return NOT_COVERED
    return tuple(ROUNDING_FIRST_ORDER if sentence is _ROUNDING else sentence for sentence in NOT_COVERED)
