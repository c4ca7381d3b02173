"""Fixed sentences of the privacy statement, above all what no ε covers."""

from collections.abc import Mapping
from typing import Literal

Order = Literal["zeroth", "first"]

CLIPPED: dict[Order, str] = {"zeroth": "loss differences along public directions", "first": "loss gradients"}
"""What a step takes from each example."""

NOISED: dict[Order, str] = {
    "zeroth": "each number of the sum by an exact integer sampler",
    "first": "each coordinate of the sum by a floating-point sampler",
}
"""What a step adds its noise to, and how."""

_ROUNDING: dict[Order, str] = {
    "zeroth": (
        "Rounding in the model. The other examples of a batch may change the last digits of an example's loss, and a "
        "loss difference divides this change by 2λ. The proof assumes that each clipped value depends on one example "
        "alone. The effect is measured on public examples at the start, and the run is refused if it could reach a "
        "tenth of the clip, or ten times the share that is charged for it. The share is measured with a margin, not "
        "proven. Sums and noise are exact integers."
    ),
    "first": (
        "Rounding. The gradients of this baseline, their sum and its noise are floating-point numbers, not the exact "
        "integers of the zeroth-order methods. The other examples of a batch may change the last digits of a gradient. "
        "Against attacks on the low bits, each noise value is half the sum of four values from a secret stream."
    ),
}

NOT_COVERED_WITHOUT_PRIVACY = (
    "Everything. Treat the weights, scores and logs of this run like the private examples themselves.",
)

_TOKEN_WORDS = {
    "train_step": "training steps",
    "evaluation": "noisy scores on private rows",
    "renyi_units": "units of 2^-40 Rényi ε",
}


SELECTION_PREFIX = "selection"  # how the name of a record begins where the data set is a selection of a file's rows
SELECTION_NOTE = (
    "The choice of data.shots: ε speaks of the selection as the data set. Whoever leaves the file lets another example "
    "of the same label in, so of the file the claim is for replacing one example: about 2ε, at a larger δ."
)


def not_covered(order: Order) -> tuple[str, ...]:
    """Return the standing list of what no ε covers, for methods of an order."""
    return (
        "Other releases about the same people that are not in this ledger. Their ε adds to this one.",
        "Choices made outside the sweep by looking at private examples: prompts, label words, search space, caps.",
        "The number of examples. It is declared public: the sampling probability and the divisor are computed from it.",
        "People with several examples. The claim is for one record; for k records of one person it is k·ε, at a "
        "larger δ.",
        "What the base model already knew. Private examples in its pretraining data are not protected there.",
        "What the operator sees: the data, raw losses and batches in memory, crash dumps, the logs of the machine.",
        "What stays with the operator and must not be published: the ledger (dpzo.db) and the folder operator-only.",
        "Rows of the data that were declared public.",
        "Time, memory and power. How long a step takes depends on the batch that was drawn.",
        _ROUNDING[order],
        "Refusals. A row that cannot be read or prompted is named by its number before anything is released.",
        "The operating system's random numbers, which are assumed to be unpredictable.",
        "A ledger that somebody rewrote or set back to an older copy.",
        "Facts about the population that anyone can learn from the other examples.",
        "Mistakes in the code. It is tested, not formally verified.",
    )


def amounts(tokens: Mapping[str, int]) -> str:
    """Return counts by kind in words: 1,500 training steps, 20 noisy scores on private rows."""
    return ", ".join(f"{count:,} {_words(kind)}" for kind, count in tokens.items())


def _words(kind: str) -> str:
    name, _, entry = kind.partition("/")
    words = _TOKEN_WORDS.get(name, name)
    return f"{words} of menu entry {entry}" if entry else words
