"""The privacy statement of a run or sweep, from its plan and its ledger."""

from orchestrator.budget.release_logs import counted_elsewhere
from orchestrator.budget.reservation import SCORES_SUFFIX, StandingReservation, same_named_budgets, units_counted
from orchestrator.config.models import SweepConfig
from orchestrator.config.version import version_of
from orchestrator.planning.plan import Plan
from orchestrator.privacy.display import round_up, source_name
from orchestrator.privacy.ledger.budget import Spent
from orchestrator.privacy.ledger.chain import CLOCK_ACCEPTED
from orchestrator.privacy.statement.facts import StatementFacts, make_statement
from orchestrator.privacy.statement.statement import LossesFrom, PrivacyStatement
from orchestrator.privacy.statement.wording import SELECTION_NOTE, SELECTION_PREFIX, Order
from orchestrator.storage.paths import root_of
from trainers.config import RunConfig
from trainers.config.auto import AUTO, AutoClip
from trainers.config.mechanism import is_batch_invariant, rounding_share
from trainers.evaluators.vllm.package import installed_vllm
from trainers.methods.catalogue import METHODS

SOFTWARE = ("dpzo", "torch", "transformers")


def run_statement(plan: Plan, reserved: StandingReservation) -> PrivacyStatement:
    """Return the privacy statement of a finished run or sweep; its epsilon is that of what was declared."""
    config, ledger, budget = plan.config, reserved.ledger, reserved.budget
    order = METHODS[config.method.name].order
    entries = ledger.reservations()
    facts = StatementFacts(
        budget=budget,
        spent=ledger.spent(budget.name),
        num_reservations=len({entry.name for entry in entries if entry.budget == budget.name}),
        delta=config.privacy.delta,
        tokens_drawn={entry.kind: entry.drawn for entry in entries if entry.name == reserved.name},
        ledger_digest=ledger.digest(),
        search=plan.search_text,
        num_steps=plan.num_steps,
        epsilon_per_trial=plan.trial_epsilon,
        epsilon_by_other_rules=plan.epsilon_by_other_rules(),
        num_units=config.data.num_units,
        public_data=[*_held_public(config), *plan.public_data],
        also_not_covered=(
            *_selections(reserved),
            *_rows_apart(reserved),
            *_other_budgets(plan, reserved),
            *_elsewhere(plan, reserved),
            *_accepted_clocks(reserved),
        ),
        measures_norms=_measures_norms(config),
        order=order,
        versions={name: version_of(name) for name in _software(config, order)},
        losses=_losses(config),
    )
    return make_statement(plan.rule, facts)


def _measures_norms(config: RunConfig) -> bool:
    """Return whether a trial may have a clip that follows norms: by the configuration, or by a choice of its space."""
    searched = config.search.space.root.get("method.clip_norm") if isinstance(config, SweepConfig) else None
    choices = () if searched is None else searched.ends  # a whole schedule is its JSON text
    return isinstance(config.method.clip_norm, AutoClip) or any(AUTO in str(choice) for choice in choices)


def _software(config: RunConfig, order: Order) -> list[str]:
    """Return the packages that had a part in the numbers."""
    engine = installed_vllm() if config.performance.evaluator == "vllm" else None
    return [*SOFTWARE, *(["opacus"] if order == "first" else []), *([engine.name] if engine else [])]


def _losses(config: RunConfig) -> LossesFrom:
    return LossesFrom(
        evaluator=config.performance.evaluator,
        batch_invariant=is_batch_invariant(config),
        rounding_share=rounding_share(config),
    )


def _selections(reserved: StandingReservation) -> list[str]:
    """Return a note if this run, or another one in the total, chose rows by data.shots."""
    chosen = [units for units in units_counted(reserved.ledger, reserved.budget) if units.startswith(SELECTION_PREFIX)]
    return [SELECTION_NOTE] if chosen else []


def _rows_apart(reserved: StandingReservation) -> list[str]:
    """Return a note on private rows that are scored on and have a budget of their own."""
    terms = reserved.ledger.terms_of(reserved.name + SCORES_SUFFIX)
    if terms is None:
        return []
    spent = reserved.ledger.spent(terms.budget)
    return [
        f"The private rows that are scored on and not trained on: they are another data set, of which budget "
        f"{terms.budget!r} counts ε = {round_up(spent.epsilon, 4):g} at δ = {round_up(spent.delta, 4):g}."
    ]


def _other_budgets(plan: Plan, reserved: StandingReservation) -> list[str]:
    """Return a note for each budget of other rows that share some with these, or lie under the same file name."""
    ledger, budget = reserved.ledger, reserved.budget
    notes = dict.fromkeys(ledger.overlapping(budget.name), "a data set that shares rows with this one")
    for other in same_named_budgets(ledger, budget, plan.config.data.train):
        notes.setdefault(other.name, "other rows under the same file name")
    return [_other_budget(name, ledger.spent(name), rows) for name, rows in notes.items()]


def _other_budget(name: str, spent: Spent, rows: str) -> str:
    return (
        f"Budget {name!r} counts ε = {round_up(spent.epsilon, 4):g} at δ = {round_up(spent.delta, 4):g} for {rows}. "
        "For anyone who is in both, it adds to this one."
    )


def _elsewhere(plan: Plan, reserved: StandingReservation) -> list[str]:
    """Return a note on the runs beside this one that another ledger counts."""
    names = counted_elsewhere(reserved.ledger, root_of(plan.config))
    return [f"Runs beside this one that another ledger counts: {', '.join(names)}."] if names else []


def _accepted_clocks(reserved: StandingReservation) -> list[str]:
    """Return a note for each time that dates went back in the ledger."""
    days = [row.made_at[:10] for row in reserved.ledger.history(reserved.budget.name) if row.entry == CLOCK_ACCEPTED]
    return [f"The dates in the ledger before {day}: a clock was ahead, and the operator set it right." for day in days]


def _held_public(config: RunConfig) -> list[str]:
    """Return what was used without being charged, because it was declared public."""
    held = [
        f"base model and tokenizer ({source_name(config.model.path)})",
        "prompt template and label words",
        f"number of {config.data.unit}s as declared ({config.data.num_units})",
    ]
    if config.data.validation is not None and config.score.on == "public":
        held.append(f"validation examples ({source_name(config.data.validation)})")
    if config.uses_public_rows:
        rows = "general sentences of this software" if config.data.public is None else source_name(config.data.public)
        held.append(f"rows that directions are learned from ({rows})")
    return held
