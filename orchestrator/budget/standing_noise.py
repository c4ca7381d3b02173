"""A run that continues keeps the σ that its name is reserved with.

A calibrated σ follows from the ε of the numerical libraries, and their versions differ in its last digits.
"""

import math

from orchestrator.planning.plan import Plan
from orchestrator.privacy.ledger.drawer import retry_while_unreachable
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Terms
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.privacy.rules.menu import kind_of_entry
from orchestrator.storage.paths import Storage

SAME_SIGMA = 1e-3  # relative: a calibration is no more exact


def with_reserved_noise(plan: Plan, storage: Storage) -> Plan:
    """Return a plan at the σ of its reservation, where there is one that differs by no more than a calibration does."""
    if not storage.config_file.exists() or not storage.may_have_ledger():  # the configuration is written once reserved
        return plan

    def reserved() -> Terms | None:
        with Ledger(storage.database_url, create=False) as ledger:
            return ledger.terms_of(storage.name)

    terms = retry_while_unreachable(reserved, storage.patience_s)
    if terms is None:
        return plan
    kinds = {
        entry: TRAIN_STEP if entry is None else kind_of_entry(TRAIN_STEP, entry) for entry in plan.noise_multipliers
    }
    sigmas = {entry: _sigma(terms, kind) for entry, kind in kinds.items()}
    if sigmas == plan.noise_multipliers or not all(
        math.isclose(sigmas[entry], sigma, rel_tol=SAME_SIGMA) for entry, sigma in plan.noise_multipliers.items()
    ):
        return plan
    return plan.at_noise(sigmas)


def _sigma(terms: Terms, kind: str) -> float:
    return float(terms.caps[kind].parameters.get("noise_multiplier", math.nan)) if kind in terms.caps else math.nan
