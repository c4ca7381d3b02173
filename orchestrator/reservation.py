"""From a plan to its caps in the ledger, before anything private is touched."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.planning import Plan
from orchestrator.privacy.budgets import Budget, Cost
from orchestrator.privacy.composition import TRAIN_STEP, EvaluationCap, StepCap, SweepCaps
from orchestrator.privacy.ledger import Cap, Ledger
from orchestrator.storage import Storage
from trainers.config import RunConfig
from trainers.mechanism import MechanismPlan

NOT_PRIVATE = {"law": "not private"}
UNLIMITED = Budget(name="default", epsilon=None, delta=0.0, num_units=1)


def reserve(plan: Plan, storage: Storage) -> Ledger:
    """Enter the plan's caps under its name and return the ledger; the same plan again is the same reservation.

    Raises:
        ValueError: the name is taken by a plan with other caps.
        LedgerCorruptError: what was drawn under this name earlier is not what the ledger wrote.
    """
    ledger = Ledger(storage.database_url)
    ledger.create_budget(UNLIMITED)
    cost = Cost(plan.epsilon, plan.config.privacy.delta if plan.caps else 0.0)
    ledger.reserve(storage.name, caps_of(plan), budget=UNLIMITED.name, cost=cost)
    return ledger


def caps_of(plan: Plan) -> Mapping[str, Cap]:
    """Return the caps by kind of release; without privacy, steps are counted all the same."""
    if plan.caps is not None:
        return plan.caps.caps().tokens()
    config = plan.config
    num_steps = plan.num_trials * config.method.num_steps + config.privacy.spare_steps
    return {TRAIN_STEP: Cap(NOT_PRIVATE, num_steps)}


def laws(mechanism: MechanismPlan, config: RunConfig) -> Mapping[str, Cap]:
    """Return what a run would draw, one token of each kind, in the form of its caps."""
    if mechanism.noise_multiplier is None:
        return {TRAIN_STEP: Cap(NOT_PRIVATE, 1)}
    step = StepCap(sampling_prob=mechanism.sampling_prob, noise_multiplier=mechanism.noise_multiplier, num_steps=1)
    if config.score.on == "public":
        return SweepCaps(train_step=step).tokens()
    score = EvaluationCap(noise_multiplier=config.score.noise_multiplier, count=1)
    return SweepCaps(train_step=step, evaluation=score).tokens()
