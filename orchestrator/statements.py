"""The statement of a run or sweep, from its plan and from what the ledger saw."""

from __future__ import annotations

from importlib.metadata import version

from orchestrator.planning import Plan
from orchestrator.privacy.composition import EVALUATION, TRAIN_STEP
from orchestrator.privacy.ledger import Ledger
from orchestrator.privacy.statement import PrivacyStatement, state, state_without_privacy
from trainers.config import RunConfig
from trainers.methods.catalogue import METHODS

SOFTWARE = ("dpzo", "torch", "transformers")


def statement_of(plan: Plan, ledger: Ledger) -> PrivacyStatement:
    """Return the privacy statement of a finished run or sweep; its epsilon is that of the caps."""
    config = plan.config
    order = METHODS[config.method.name].order
    versions = {name: version(name) for name in SOFTWARE}
    if plan.caps is None:
        num_steps = plan.num_trials * config.method.num_steps
        return state_without_privacy(
            num_steps=num_steps, public_data=_held_public(config), order=order, versions=versions
        )
    if order == "first":
        versions["opacus"] = version("opacus")
    kinds = [TRAIN_STEP] if config.score.on == "public" else [TRAIN_STEP, EVALUATION]
    return state(
        plan.caps,
        config.privacy.delta,
        tokens_drawn={kind: ledger.drawn(config.name, kind) for kind in kinds},
        public_data=_held_public(config),
        order=order,
        versions=versions,
    )


def _held_public(config: RunConfig) -> list[str]:
    """Return what was used without being charged, because somebody declared it public."""
    held = [
        f"base model and tokenizer ({config.model.path})",
        "prompt template and label words",
        f"number of examples as declared ({config.data.num_examples})",
    ]
    if config.data.validation is not None and config.score.on == "public":
        held.append(f"validation examples ({config.data.validation})")
    return held
