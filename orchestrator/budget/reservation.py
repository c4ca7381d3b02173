"""From a plan to its reservation in the ledger, before anything is released.

A configuration that names no budget is counted too: on the budget that this data already has in the ledger, or on a new
one without a limit. So nothing is ever released about a data set that its ledger does not know.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from orchestrator.budget.overlap import SourceRows, read_sources, require_apart
from orchestrator.budget.release_logs import require_logs_known
from orchestrator.config.models import BudgetConfig, LedgeredConfig
from orchestrator.planning.plan import Plan
from orchestrator.planning.planned_sweep import units_of
from orchestrator.privacy.ledger.budget import BudgetTerms, Cost
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.best_of import SECRET_NUM_TRIALS
from orchestrator.privacy.rules.caps import EVALUATION
from orchestrator.storage.paths import Storage
from trainers.config import RunConfig
from trainers.data.fingerprint import require_same_rows

SECRET_FOLDER = "folder"
SCORES_SUFFIX = "/scores"  # after the name of a run, whose own name has no slash


def require_ledger_answers(storage: Storage) -> None:
    """Refuse, with a LedgerUnreachable, a server that does not answer now; a run that works waits for its answers."""
    if not storage.database_url.startswith("sqlite"):
        Ledger(storage.database_url).dispose()


@dataclass(frozen=True)
class StandingReservation:
    """A reservation in a ledger, and the budget that pays for it."""

    ledger: Ledger
    budget: BudgetTerms
    name: str

    @classmethod
    def of(cls, storage: Storage) -> Self:
        """Return the reservation that a run or sweep has made. It reads no row."""
        ledger = Ledger(storage.database_url, create=False)
        terms = ledger.terms_of(storage.name)
        assert terms is not None, f"nothing is reserved under {storage.name!r}"
        return cls(ledger, ledger.budget(terms.budget), storage.name)

    def day(self) -> str:
        """Return the day, in UTC, on which it was made."""
        return next(entry.reserved_at[:10] for entry in self.ledger.reservations() if entry.name == self.name)

    def num_trials(self) -> int:
        """Return the secret number of trials that was drawn with the reservation (release: best)."""
        return self.ledger.secret_of(self.name)[SECRET_NUM_TRIALS]

    def steps_drawn(self, holder: str | None = None) -> int:
        """Return how many tokens for steps were drawn (under a filter: for scores too), by everyone or one trial."""
        kinds = {entry.kind for entry in self.ledger.reservations() if entry.name == self.name}
        steps = [kind for kind in kinds if not kind.startswith(EVALUATION)]
        return sum(self.ledger.drawn(self.name, kind, holder) for kind in steps)


def reserve_plan(plan: Plan, storage: Storage, read: Mapping[str, str] | None = None) -> StandingReservation:
    """Reserve the plan's caps under its name; idempotent.

    Args:
        plan: of a run or sweep.
        storage: names the ledger, and where the run lies.
        read: fingerprints of the rows that the caller has read already and will train on, by field.

    Raises:
        ValueError: the name is taken by a plan with other caps or rows, or by a search of one winner in another
            folder; the rows are not those of `read`; the budget belongs to other data; or the rows overlap with those
            of another budget (`require_apart`).
        BudgetExceeded: the budget has no room for it.
        LedgerCorruptError: what was drawn under this name earlier is not what the ledger wrote; or a release log in the
            storage folder has more draws than the ledger: it was lost, or set back to an older copy.
    """
    ledger = Ledger(storage.database_url)
    require_logs_known(ledger, storage.root)
    sources = read_sources(plan.config, ledger.key())
    fingerprints = {field: source.fingerprint for field, source in sources.items()}
    known = ledger.terms_of(storage.name)
    for others in (read, known and known.sources):
        require_same_rows(fingerprints, others or {})
    if known is None:
        require_apart(plan.config, sources, ledger, is_charged=plan.rule is not None)
    budget = budget_of(plan.config, ledger, sources["data.train"].fingerprint)
    reused = reusable_tokens(plan, ledger, budget, storage.name)
    secret = plan.rule.draw_secret() if plan.rule else None
    if secret is not None:
        secret[SECRET_FOLDER] = storage.identity()
    ledger.reserve(
        storage.name,
        plan.token_caps(),
        budget=budget.name,
        cost=reservation_cost(plan, budget, reused),
        max_holders=plan.rule.max_holders if plan.rule else None,
        reused=reused,
        secret=secret,
        sources=fingerprints,
    )
    if secret is not None and ledger.secret_of(storage.name).get(SECRET_FOLDER) != secret[SECRET_FOLDER]:
        raise ValueError(
            f"name: a search of one winner, {storage.name!r}, was begun in another folder than {storage.folder}; from "
            "two folders two winners could leave, of too many trials. Go on there, or give another name."
        )
    ledger.add_rows(budget.name, sources["data.train"].rows)
    if plan.config.score.on == "private" and plan.config.data.validation is not None:
        _reserve_scores(plan, ledger, budget, storage.name, sources["data.validation"])
    return StandingReservation(ledger, budget, storage.name)


def budget_of(config: RunConfig, ledger: Ledger, fingerprint: str) -> BudgetTerms:
    """Return the budget of a configuration's data; without one, create one without a limit.

    Raises:
        ValueError: the named budget is unknown or belongs to other data, or it counts another unit or relation.
    """
    name = config.budget.name if isinstance(config, LedgeredConfig) else None
    budget = ledger.budget_of(fingerprint) if name is None else ledger.budget(name)
    if budget is None:
        budget = _new_budget(config, ledger, fingerprint)
    require_same_units(config, ledger, budget)
    if name is not None:
        ledger.require_fingerprint(name, fingerprint)
    return budget


def _new_budget(config: RunConfig, ledger: Ledger, fingerprint: str) -> BudgetTerms:
    """Create a budget without a limit; return that of another process which did so at the same moment."""
    budget = BudgetTerms(
        name=_free_name(config.data.train, ledger),
        epsilon=None,
        delta=0.0,
        num_units=config.data.num_units,
        adjacency=config.privacy.adjacency,
        unit=config.data.unit,
        fingerprint=fingerprint,
    )
    try:
        ledger.create_budget(budget)
    except ValueError:
        other = ledger.budget_of(fingerprint)
        if other is None:
            raise
        return other
    return budget


def reservation_cost(plan: Plan, budget: BudgetTerms, reused: Mapping[str, int]) -> Cost:
    """Return what a plan takes from its budget: the certified ε of all but the reused tokens."""
    if plan.rule is None:
        return Cost(math.inf, 0.0, None, {"rule": "not private"})
    delta, adjacency = plan.config.privacy.delta, plan.config.privacy.adjacency
    rule = plan.rule.without(reused)
    if rule is None:
        return Cost(0.0, 0.0, 0.0 if budget.order else None, plan.rule.to_json())
    renyi = rule.renyi(budget.order, adjacency) if budget.order else None
    if renyi == math.inf:
        raise ValueError(
            f"budget {budget.name!r} is a Rényi filter of order {budget.order:g}; this plan has no finite Rényi ε at "
            "that order: take more noise, or a budget of composition 'sum'"
        )
    return Cost(rule.epsilon(delta, adjacency), delta, renyi, rule.to_json())


def reusable_tokens(plan: Plan, ledger: Ledger, budget: BudgetTerms, name: str) -> Mapping[str, int]:
    """Return, by kind, the undrawn tokens of the same laws in closed reservations of the budget: they are charged."""
    known = ledger.terms_of(name)
    if known is not None:
        return known.reused
    if plan.rule is None or not plan.rule.reuses_tokens:
        return {}
    left = {
        kind: min(cap.count, ledger.leftover(budget.name, cap.parameters)) for kind, cap in plan.token_caps().items()
    }
    return {kind: count for kind, count in left.items() if count}


def require_same_units(config: RunConfig, ledger: Ledger, budget: BudgetTerms) -> None:
    """Refuse a budget that counts another unit, relation, or fewer units, or other users. ValueError says which."""
    for what, wanted, known in (
        ("privacy.adjacency", config.privacy.adjacency, budget.adjacency),
        ("the unit of privacy", config.data.unit, budget.unit),
    ):
        if wanted != known:
            raise ValueError(
                f"{what} is {wanted!r}, and budget {budget.name!r} of this data counts {known!r}: costs of the two do "
                "not add up. Use the budget's."
            )
    if config.data.num_units > budget.num_units:
        raise ValueError(
            f"data.num_{config.data.unit}s {config.data.num_units} exceeds the {budget.num_units} that budget "
            f"{budget.name!r} declares: a number that is too large makes q, and epsilon, too small"
        )
    others = units_counted(ledger, budget) - {units_of(config)}
    if config.data.unit == "user" and others:
        raise ValueError(
            f"data.user_column: budget {budget.name!r} of this data counts {others.pop()}, now it would count "
            f"{units_of(config)}; costs of the two do not add up. Use the budget's."
        )


def units_counted(ledger: Ledger, budget: BudgetTerms) -> set[str]:
    """Return what the records of a budget's reservations are, where they are not rows of the file."""
    caps = (entry.cap for entry in ledger.reservations() if entry.budget == budget.name)
    return {str(cap.parameters["record"]) for cap in caps if "record" in cap.parameters}


def same_named_budgets(ledger: Ledger, budget: BudgetTerms, source: str) -> list[BudgetTerms]:
    """Return the other budgets that are named after a file of this name and are spent from.

    They may be of an earlier state of the file: with one row more or less, a fingerprint takes it for other data.
    """
    named = re.compile(re.escape(_stem(source)) + r"(-\d+)?")
    others = [other for other in ledger.budgets() if other.name != budget.name and named.fullmatch(other.name)]
    return [other for other in others if ledger.spent(other.name).epsilon > 0]


def _stem(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source.removeprefix("hub:")).stem).strip("-.") or "data"


def _free_name(source: str, ledger: Ledger) -> str:
    """Return a name for a data set: that of its file, with a number where that is taken."""
    stem = _stem(source)
    taken = {budget.name for budget in ledger.budgets()}
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _reserve_scores(plan: Plan, ledger: Ledger, budget: BudgetTerms, name: str, validation: SourceRows) -> None:
    """Charge private rows that are scored on and not trained on to a budget of their own.

    The run draws its own tokens, none of these; this reservation is never closed, so that nobody takes them over.
    """
    assert plan.rule is not None  # only a private method has private scores
    own = budget_of(_scored_rows(plan.config), ledger, validation.fingerprint)
    if own.name == budget.name:
        return
    scores = replace(plan, rule=plan.rule.on_scored_rows())
    assert scores.rule is not None  # there are scores
    ledger.reserve(
        name + SCORES_SUFFIX,
        scores.token_caps(),
        budget=own.name,
        cost=reservation_cost(scores, own, {}),
        max_holders=scores.rule.max_holders,
    )
    ledger.add_rows(own.name, validation.rows)


def _scored_rows(config: RunConfig) -> RunConfig:
    """Return a configuration whose data are the rows to score on, on the budget that they have."""
    number = config.score.num_examples
    changes = {"train": config.data.validation, "num_examples": number, "num_users": config.data.num_users and number}
    return config.model_copy(update={"data": config.data.model_copy(update=changes), "budget": BudgetConfig()})
