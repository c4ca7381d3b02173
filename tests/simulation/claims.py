"""What must hold when a history is done, whatever has failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.planning.plan import Plan
from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger.ledger import Ledger
from tests.simulation.witness import Witness
from tests.support.quadratic import Quadratic
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun


def wrong_with_ledger(ledger: Ledger, budget: str) -> list[str]:
    """Return what is wrong with the chains of a ledger, and with what is spent from a budget."""
    wrong = []
    try:
        ledger.verify_all()
    except LedgerCorruptError as error:
        wrong.append(f"the chain does not verify: {error}")
    limit = ledger.budget(budget).epsilon
    if limit is None or ledger.spent(budget).epsilon > limit:
        wrong.append("more ε is reserved than the budget has")
    return wrong


def wrong_with_run(ledger: Ledger, plan: Plan, witness: Witness, num_lost: int) -> list[str]:
    """Compare the ledger, the log, the models and what was seen of a finished run.

    Args:
        num_lost: tokens that its lives may have cost without a release.
    """
    name, num_steps = plan.config.name, plan.config.method.num_steps
    reserved, released = witness.reserved(name), witness.released(name)
    drawn, cap = ledger.drawn(name, "train_step"), plan.token_caps()["train_step"].count
    theta = replayed(plan.config, witness.log_of(name).parent)
    models = [model for (run, _), model in witness.models.items() if run == name]
    checks = {
        "each step is released once, in order": released == list(range(len(released))),
        "all steps are released, or all tokens are drawn": len(released) == num_steps or drawn == cap,
        "no more tokens are drawn than the cap has": drawn <= cap,
        "each reservation in the log has a token": len(released) <= reserved <= drawn,
        "each read has a token": witness.most_reads(name) <= drawn,
        "the end of a life costs at most one token": drawn - len(released) <= num_lost,
        "the model is the replay of the log": np.array_equal(exported(witness, name), theta),
        "the model of each rank is the replay of the log": all(np.array_equal(one.theta, theta) for one in models),
    }
    return [f"{name}: not so: {claim}" for claim, holds in checks.items() if not holds]


def exported(witness: Witness, name: str) -> np.ndarray:
    """Return the parameters of the model that a run has exported."""
    path = witness.disk.root / name / "model" / "theta.npy"
    return np.load(path) if path.exists() else np.empty(0)


def replayed(config: RunConfig, folder: Path) -> np.ndarray:
    """Return the parameters to which the log in a folder replays."""
    model, none = Quadratic(), LocalTokens(0)
    plan = mechanism_plan(config, config.privacy.noise_multiplier)
    run = ZerothOrderRun(RunContext(Workspace([], [], model), config, plan, Tokens(none, none), folder))
    with run.log:
        run.replay()
    return model.theta
