"""What may be done to the weights of a finished run for 0 ε: the mean of late iterates, and a scale of the whole way.

θ' = θ_0 + scale · mean of (θ_t − θ_0) over the last steps. It reads the release log and the base weights alone, so it
is post-processing (Dwork and Roth, 2014, Proposition 2.1), if its two numbers were chosen without private rows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

from orchestrator.privacy.statement.card import BY_HAND, Refinement

_AVERAGE = re.compile(r"last-([1-9]\d?|100)%")


@dataclass(frozen=True)
class PostProcessing:
    """The share of the last steps over which iterates are averaged, and the scale.

    Args:
        last_percent: 1 to 100, of the steps; None for the last iterate alone.
        scale: of the way from the base weights; below 1 it shrinks.
    """

    last_percent: int | None = None
    scale: float = 1.0

    @classmethod
    def of(cls, average: str | None, scale: float | None) -> Self | None:
        """Return what the flags ask for, None where they ask for nothing; ValueError for another word or number."""
        found = None if average in (None, "none") else _AVERAGE.fullmatch(str(average))
        if average not in (None, "none") and found is None:
            raise ValueError(f"--average {average}: expected a share of the last steps, such as last-20%, or none")
        if scale is not None and not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"--scale {scale:g}: expected a number above 0, such as 0.8 or 1.2")
        return cls(int(found[1]) if found else None, 1.0 if scale is None else scale).or_none()

    @classmethod
    def in_card(cls, refinement: Refinement | None) -> Self | None:
        """Return what a card says was done; None where nothing was."""
        return None if refinement is None else cls(refinement.last_percent, refinement.scale)

    def or_none(self) -> Self | None:
        """Return itself, or None where it leaves the weights as they are."""
        return None if self == type(self)() else self

    def words(self) -> str:
        """Return what is done, for a card."""
        of = "the last step" if self.last_percent is None else f"the mean over the last {self.last_percent} % of steps"
        return f"the weights are those of {of}; their way from the base model is scaled by {self.scale:g}"

    def refinement(self, chosen_on: str | None) -> Refinement:
        """Return the line of a card; `chosen_on` names public rows, None for numbers that were given by hand."""
        return Refinement(
            kind=self.words(), chosen_on=chosen_on or BY_HAND, last_percent=self.last_percent, scale=self.scale
        )


def first_iterate(last_percent: int | None, num_steps: int) -> int:
    """Return the first iterate in the mean, by its number of steps: 1 to `num_steps`."""
    counted = 1 if last_percent is None else max(1, num_steps * last_percent // 100)
    return num_steps - counted + 1
