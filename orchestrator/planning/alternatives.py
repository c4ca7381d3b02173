"""The plan both ways: what it would cost under other rules, and how many trials, steps and scores fit a given ε."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from orchestrator.privacy.rules.comparison import MOST

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan


class TextTable(NamedTuple):
    """A table in words. The first `num_labels` columns and one without a header hold words, the others numbers.

    `chosen` is the row that is the plan's own, -1 for none of them, None where rows are not marked.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    chosen: int | None = None
    num_labels: int = 0


class Facts(NamedTuple):
    """Facts in words: what, and how much."""

    rows: Sequence[tuple[str, str]]


class Curves(NamedTuple):
    """ε (None: no bound, or the rule does not apply) by name of a curve, each at every number of trials."""

    num_trials: Sequence[int]
    epsilon: Mapping[str, Sequence[float | None]]


class RuleOutlook(ABC):
    """What a plan could be under its rule, for people, for programs and to plot."""

    field: ClassVar[str]  # its name in JSON
    plot_title: ClassVar[str]
    trials_note: ClassVar[str] = ""  # what a number of trials means
    marks_plan: ClassVar[bool] = True  # whether the plan is a point of the plot

    def to_json(self) -> Any:
        return self

    @abstractmethod
    def parts(self, plan: Plan, limit: float | None) -> Sequence[TextTable | Facts]:
        """Return what people read, one part after the other."""

    @abstractmethod
    def curves(self, plan: Plan) -> Curves:
        """Return total ε against the number of trials."""


@dataclass(frozen=True)
class Outlook:
    """What a plan could be: the ε that has to fit (None: none), the name of its rule, and what the rule tells."""

    limit: float | None
    chosen: str | None
    details: RuleOutlook

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values: each kind of details has a field of its own, and the others stay empty."""
        fields = {"limit": self.limit, "rules": (), "chosen": self.chosen, "menu": None, "filter": None}
        return fields | {self.details.field: self.details.to_json()}


def compare_alternatives(plan: Plan, within: float | None = None) -> Outlook:
    """Return what a private plan could be, and what fits `within` (privacy.epsilon when None).

    ValueError if the plan has no privacy, or `within` is not above 0.
    """
    if plan.rule is None:
        raise ValueError("this method has no privacy (ε = ∞): there are no rules to compare, and nothing fits an ε")
    if within is not None and not 0 < within < math.inf:
        raise ValueError(f"--within is an ε above 0; got {within:g}")
    limit = plan.config.privacy.epsilon if within is None else within
    return Outlook(limit, plan.rule_name, plan.outlook(limit))


def trial_numbers(planned_number: int, digits: Sequence[int] = (1, 2, 5)) -> list[int]:
    """Return numbers of trials around the planned one, about evenly on a log axis: those that begin with a digit."""
    top = min(MOST["num_trials"], max(100, 10 * planned_number))
    steps = [digit * 10**power for power in range(5) for digit in digits]
    return sorted({planned_number, *(number for number in steps if number <= top)})
