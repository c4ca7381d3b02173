"""What a planned sweep costs under every rule (`COMPARED`), side by side, and how much of it fits a given ε."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.privacy.accountant import bounds
from orchestrator.privacy.accountant.accountant import Certificate, require_delta
from orchestrator.privacy.accountant.adjacency import Adjacency, require_adjacency
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.fitting import largest_count
from orchestrator.privacy.rules.laws import Frozen
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.rules.repetitions import NumberLaw, Repetitions

MOST = {"num_trials": 10_000, "steps_per_trial": 10**7, "evaluations_per_trial": 10**6}
_TOLERANCE = 0.005


class _FilteredCaps(SweepCaps):
    """Caps counted as a Rényi filter at the order that suits them best would count them."""

    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        (releases,) = self.releases(adjacency)
        return Certificate(bounds.renyi_epsilon(releases, delta), "Rényi filter", None)


@dataclass(frozen=True)
class ComparedRule:
    """One way to count a plan: what it lets a search do, in a sentence and in a few words, and the rule of a plan."""

    note: str
    label: str
    make: Callable[[PlannedSweep], CostRule]
    applies: Callable[[PlannedSweep, float, Adjacency], bool] = lambda plan, delta, adjacency: True
    counted: tuple[str, ...] = ("steps_per_trial", "num_trials", "evaluations_per_trial")  # the rest is free
    shares_spare: bool = False  # between trials


def _best_of(note: str, label: str, law: NumberLaw) -> ComparedRule:
    def make(plan: PlannedSweep) -> BestOf:
        return BestOf(trial=plan.trial_caps(), number=Repetitions(law=law, mean=float(plan.num_trials)))

    return ComparedRule(note, label, make, lambda plan, delta, adjacency: plan.num_trials <= MOST["num_trials"])


COMPARED: Mapping[str, ComparedRule] = {
    "caps": ComparedRule(
        "any search, everything may be published; unused steps are free for other trials",
        "all is published",
        lambda plan: plan.changed(disjoint=False).caps(),
        shares_spare=True,
    ),
    "disjoint": ComparedRule(
        "as caps, with training and scores on disjoint private records",
        "scores: other rows",
        lambda plan: plan.changed(disjoint=True).caps(),
        lambda plan, delta, adjacency: adjacency == "add-or-remove-one" and plan.caps().evaluation is not None,
        shares_spare=True,
    ),
    "menu": ComparedRule(
        "any search over entries declared before; a trial is charged whole",
        "whole trials count",
        lambda plan: Menu(entries=(plan.trial_caps(),), num_trials=plan.num_trials),
    ),
    "filter": ComparedRule(
        "any search, free choice of noise, rate and length in each trial",
        "σ, q, T are free",
        lambda plan: _FilteredCaps(**dict(plan.changed(disjoint=False).caps())),
        lambda plan, delta, adjacency: adjacency == "add-or-remove-one" and delta > 0,
        shares_spare=True,
    ),
    "best, geometric": _best_of(
        "independent trials, only the winner leaves, number of trials random and secret",
        "only the winner",
        "geometric",
    ),
    "best, logarithmic": _best_of("the same; half of the time there are few trials", "often few trials", "logarithmic"),
    "best, poisson": _best_of("the same; the number of trials varies least, and may be 0", "maybe no trial", "poisson"),
    "public tuning": ComparedRule(
        "all tuning on public data, then one run on the private data",
        "one private run",
        lambda plan: plan.changed(evaluations_per_trial=0, spare_evaluations=0).trial_caps(),
        counted=("steps_per_trial",),
    ),
}
RULE_NAMES = tuple(COMPARED)


class RuleCost(Frozen):
    """A plan under one rule: its ε, and the largest counts that fit a given ε, each with all else as planned.

    None: the rule does not apply to this plan, no count fits, or no ε was given. Under the best-of rules, the number of
    trials is the mean of the random number. Counts above 200 are up to 0.5 % below the largest, and never above
    10,000 trials, 10 million steps a trial and a million scores a trial.
    """

    rule: str
    note: str
    epsilon: float | None
    num_trials: int | None = None
    steps_per_trial: int | None = None
    evaluations_per_trial: int | None = None


def compare(
    plan: PlannedSweep,
    delta: float,
    epsilon: float | None = None,
    adjacency: Adjacency = "add-or-remove-one",
    rules: Sequence[str] = RULE_NAMES,
    own: str | None = None,
) -> tuple[RuleCost, ...]:
    """Return a plan's cost under each rule, and with `epsilon` given, how many trials, steps and scores would fit.

    The plan's spare tokens count under the rules whose trials share them, and under the rule `own`, which really counts
    the plan: there, trials that share none have their own.

    Formal guarantees:
        Each ε, and the ε of each count that is said to fit, is certified for the rule as it stands; see the rules.
    """
    require_delta(delta)
    require_adjacency(adjacency)
    return tuple(_row(name, plan, delta, epsilon, adjacency, own_spare=name == own) for name in rules)


def curve(
    plan: PlannedSweep,
    delta: float,
    num_trials: Sequence[int],
    adjacency: Adjacency = "add-or-remove-one",
    rules: Sequence[str] = RULE_NAMES,
) -> dict[str, list[float | None]]:
    """Return ε against the number of trials for each rule, to plot; None where a rule does not apply."""
    plans = [plan.changed(num_trials=number) for number in num_trials]
    return {name: [_finite(cost(name, changed, delta, adjacency)) for changed in plans] for name in rules}


def cost(name: str, plan: PlannedSweep, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return the ε of a plan under one rule; inf where the rule does not apply."""
    rule = COMPARED[name]
    return rule.make(plan).epsilon(delta, adjacency) if rule.applies(plan, delta, adjacency) else math.inf


def _row(
    name: str, plan: PlannedSweep, delta: float, epsilon: float | None, adjacency: Adjacency, own_spare: bool
) -> RuleCost:
    """Return one row; with spare tokens of a trial's own, these are steps and scores of it like others."""
    rule, spare = COMPARED[name], {"steps_per_trial": 0, "evaluations_per_trial": 0}
    if own_spare and not rule.shares_spare:
        spare = {"steps_per_trial": plan.spare_steps, "evaluations_per_trial": plan.spare_evaluations}
        whole = {field: getattr(plan, field) + more for field, more in spare.items()}
        plan = plan.changed(spare_steps=0, spare_evaluations=0, **whole)
    found = _finite(cost(name, plan, delta, adjacency))
    fitting: dict[str, int | None] = {}
    if epsilon is None or found is None:
        return RuleCost(rule=name, note=rule.note, epsilon=found)
    for field in rule.counted:
        if field != "evaluations_per_trial" or plan.evaluations_per_trial:
            count = largest_count(
                lambda n, field=field: rule.make(plan.changed(**{field: n})),
                MOST[field], epsilon, delta, adjacency, _TOLERANCE,
            )  # fmt: skip
            fitting[field] = max(0, count - spare.get(field, 0)) or None
    return RuleCost(rule=name, note=rule.note, epsilon=found, **fitting)


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
