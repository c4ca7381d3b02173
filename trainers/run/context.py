"""What a run is made from: workspace, configuration, mechanism, tokens, folder and ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.config import RunConfig
from trainers.evaluators.base import Example, LossEvaluator
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.release_log import LogCopy
from trainers.mechanism.tokens import StepTokens
from trainers.workers.ranks import Ranks

if TYPE_CHECKING:
    from trainers.first_order.gradients import UnitGradients


@dataclass(frozen=True)
class Workspace:
    """What is slow to make, and what several runs share: encoded examples and a loaded model.

    Args:
        examples: private training examples.
        validation: examples to score on.
        rounding: largest rounding error of a loss, nats.
        users: owner of each training example; None where examples are the unit of privacy. Private.
        validation_users: owner of each validation example. Private.
        gradients: gradients of single units; first-order runs need them.
        fingerprints: keyed, of the rows that were read, by field; empty where they were read without a key.
        public: made-up examples, on which an exported model is compared with the trained one.
        public_rows: what directions are learned from (`data/public_rows.py`); empty where nothing is.
    """

    examples: list[Example]
    validation: list[Example]
    evaluator: LossEvaluator
    rounding: float = 0.0
    users: list[str] | None = None
    validation_users: list[str] | None = None
    gradients: UnitGradients | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    public: Sequence[Example] = ()
    public_rows: Sequence[Example] = ()

    @cached_property
    def content(self) -> bytes:
        """Digest of the examples of both sides, their owners and their order. Private."""
        digest = hashlib.blake2b(repr((self.users, self.validation_users, len(self.examples))).encode())
        for example in (*self.examples, *self.validation):
            digest.update(repr(example).encode())
        return digest.digest()

    @cached_property
    def base_digest(self) -> str:
        """Digest of the base weights, to which θ is set. Computed once for all runs: it is slow for a large model."""
        self.evaluator.reset()
        return self.evaluator.state_digest()

    def close(self) -> None:
        """Free what the evaluator holds: devices, memory and the processes of an engine."""
        self.evaluator.close()


@dataclass(frozen=True)
class Tokens:
    """Where a run draws its tokens: `steps` for training steps, `scores` for scores on private examples."""

    steps: StepTokens
    scores: StepTokens


@dataclass(frozen=True)
class RunContext:
    """What one run is made from; a release log in `folder`, the run's own folder, is resumed.

    Rank 0 of `ranks` has the folder, the tokens and the scores; the other ranks need none of them. `log_copy` holds the
    log a second time, where the folder may be lost.
    """

    workspace: Workspace
    config: RunConfig
    plan: MechanismPlan
    tokens: Tokens
    folder: Path
    ranks: Ranks = field(default_factory=Ranks)
    log_copy: LogCopy | None = None
