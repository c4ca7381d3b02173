"""`dpzo attack`: how well losses tell the rows that a model was trained on from rows that it never saw.

The score of a row is its loss under the base model less its loss under the trained one. The base model is the one
reference that every run has: it takes away how hard a row is (Watson et al., arXiv:2111.08440; LiRA, arXiv:2112.03570,
trains many). Private rows are read and no token pays for that. So all that comes out is for the operator alone, and
lies in the operator's folder.
"""

import math
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from scipy.stats import mannwhitneyu

from orchestrator.budget.overlap import require_public_file
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.statement.card import Evidence
from orchestrator.privacy.statement.statement import PrivacyStatement
from orchestrator.storage.existing import find_existing
from orchestrator.storage.files import read_object, write_whole
from orchestrator.storage.results import read_result, statement_in
from orchestrator.sweep.evaluation import model_of, on_public_rows
from orchestrator.sweep.rebuild import by_transformers
from orchestrator.sweep.trial import open_keyed_workspace
from trainers.evaluators.base import Example
from trainers.methods.catalogue import METHODS
from trainers.workers.ranks import Ranks
from trainers.workspace import check_inputs, open_workspace

ATTACK_FILE = "attack.json"
FALSE_POSITIVE_RATE = 0.01
_ATTACK = "loss under the base model less loss under the trained model"
_CHARGED = "not charged: these numbers come from private rows, and no ε counts them"


def attack(place: str | Path, data: str, rows: int = 1000) -> tuple[Evidence, Path]:
    """Attack the model of finished work; write what was found into the operator's folder, and return it and its file.

    Args:
        place: folder or name of the run or sweep.
        data: rows of the same kind that were never trained on, with the columns of the task.
        rows: most members, and most others, that are compared; drawn by a fixed seed.

    Raises:
        ValueError: nothing is finished there, there is no model or no ledger, the data is not what the run was charged
            for, or the other rows are among the private ones.
    """
    existing = find_existing(place)
    config, storage = by_transformers(existing.config), existing.storage
    other = on_public_rows(existing, data)
    trained = by_transformers(other.model_copy(update={"model": model_of(existing, other)}))
    with Ledger(storage.database_url, create=False) as ledger:
        require_public_file(data, "--data", config, ledger, is_charged=METHODS[config.method.name].private)
    check_inputs(other)
    with (
        closing(open_keyed_workspace(config, storage, Ranks(), create_ledger=False)) as before,
        closing(open_workspace(trained, private=False)) as after,
    ):
        members_M, others_O = (
            before.evaluator.losses(batch) - after.evaluator.losses(batch)
            for batch in (_some(before.examples, rows), _some(after.validation, rows))
        )
    found = evidence_of(members_M, others_O, statement_in(storage, read_result(storage) or {}))
    path = storage.operator_folder / ATTACK_FILE
    write_whole(path, found.model_dump_json(indent=2) + "\n")
    return found, path


def evidence_of(members_M: np.ndarray, others_O: np.ndarray, statement: PrivacyStatement) -> Evidence:
    """Return how well scores tell members from others; high ones speak for a member, one that is no number for neither.

    The threshold is the least one that at most `FALSE_POSITIVE_RATE` of the others exceed.
    """
    members_M, others_O = (np.nan_to_num(scores, nan=-np.inf) for scores in (members_M, others_O))
    threshold = np.sort(others_O)[::-1][int(FALSE_POSITIVE_RATE * len(others_O))]
    false, true = (float(np.mean(scores > threshold)) for scores in (others_O, members_M))
    epsilon, delta = statement.epsilon_total, statement.delta_total
    bound = (
        1.0
        if epsilon is None or delta is None
        else min(1.0, math.exp(min(epsilon, 700.0)) * FALSE_POSITIVE_RATE + delta)
    )
    return Evidence(
        attack=_ATTACK,
        members=len(members_M),
        non_members=len(others_O),
        auc=float(mannwhitneyu(members_M, others_O).statistic / (len(members_M) * len(others_O))),
        true_positive_rate=true,
        false_positive_rate=false,
        bound=bound,
        charged=_CHARGED,
    )


def _some(examples: Sequence[Example], most: int) -> list[Example]:
    if not examples:
        raise ValueError("an attack needs rows that were trained on and others; one of the two has none")
    return random.Random(0).sample(list(examples), min(most, len(examples)))


def read_evidence(path: Path) -> Evidence:
    """Return what an attack wrote; ValueError if the file is none of its."""
    try:
        return Evidence.model_validate(read_object(path))
    except ValidationError:
        raise ValueError(f"--evidence {path}: expected the file that `dpzo attack` writes ({ATTACK_FILE})") from None
