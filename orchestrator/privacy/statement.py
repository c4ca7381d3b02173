"""The privacy statement: what may be claimed about a run, in words that people outside the field can check.

One number is the run's ε, and it is that of the declared caps. Everything beside it (what was drawn so far, what one
trial costs by itself) says what it is and cannot be mistaken for it. A run without noise gets a statement too, which
begins by saying that there is no privacy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.privacy.accountant import Adjacency
from orchestrator.privacy.composition import CAP_NOTE, EVALUATION, TRAIN_STEP, PlannedSweep
from orchestrator.privacy.statement_text import NOT_COVERED_WITHOUT_PRIVACY, WHAT_IS_CLIPPED, Order, not_covered, render

_RULE = (
    f"release: all. {CAP_NOTE} It holds for everything the sweep publishes, whatever the search does with it: adaptive "
    "choices, early stops, concurrent trials, restarts."
)
_SAMPLER = "Poisson: each example joins each batch independently with probability {q:.6g}, by operating-system entropy"
_ALL_RELEASED = "every trial: its weights, hyperparameters, scores, number of steps, and the log of noisy values"


class AccountantUsed(BaseModel):
    """Which accountant certified, and on what grid of the privacy loss (None: no grid)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    discretisation: float | None


class PrivacyStatement(BaseModel):
    """Everything that a reader needs to judge a run's privacy; `text` for people, `model_dump_json` for programs.

    An infinite ε is `null` in JSON, beside `"private": false`, so that every JSON parser can read it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    private: bool
    epsilon_total: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    delta: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None
    epsilon_per_trial: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    released: str
    unit: str
    adjacency: Adjacency
    mechanism: str
    sampler: str
    caps: dict[str, int]
    tokens_drawn: dict[str, int]
    rule: str
    accountant: AccountantUsed | None
    public_data: tuple[str, ...]
    not_covered: tuple[str, ...]
    versions: dict[str, str]

    @model_validator(mode="after")
    def _private_means_a_number(self) -> Self:
        missing = [name for name in ("epsilon_total", "delta", "accountant") if getattr(self, name) is None]
        if self.private and missing:
            raise ValueError(f"A private run needs {', '.join(missing)}.")
        if not self.private and self.epsilon_total is not None:
            raise ValueError("A run that is not private has no finite ε: epsilon_total must be None.")
        return self

    @property
    def epsilon(self) -> float:
        """The run's ε as a number: inf where the run is not private."""
        return math.inf if self.epsilon_total is None else self.epsilon_total

    def text(self, width: int = 88) -> str:
        """Return the statement as plain text in lines of at most `width` columns (60 at least)."""
        return render(self, width)


def state(
    plan: PlannedSweep,
    delta: float,
    *,
    tokens_drawn: Mapping[str, int],
    public_data: Sequence[str] = (),
    unit: str = "example",
    adjacency: Adjacency = "add-or-remove-one",
    released: str = _ALL_RELEASED,
    also_not_covered: Sequence[str] = (),
    order: Order = "zeroth",
    versions: Mapping[str, str] | None = None,
) -> PrivacyStatement:
    """Return the statement of a private sweep, its numbers computed here from the plan's caps.

    Args:
        plan: the sweep as reserved; a single run is a plan of one trial.
        delta: the δ at which ε is said.
        tokens_drawn: by kind, as the ledger has them now; information only.
        public_data: what was held public, one phrase each (validation file, base model, label words).
        unit: what one record is; "example" unless records were grouped by user.
        adjacency: which pairs of data sets must be indistinguishable.
        released: what leaves the operator.
        also_not_covered: sentences to add to the standing list.
        order: whether loss differences or gradients are clipped and released.
        versions: of the software, by name.

    Raises:
        ValueError: if more tokens were drawn than the caps hold, or a kind was drawn that has no cap.
    """
    caps = {kind: cap.count for kind, cap in plan.caps().tokens().items()}
    for kind, drawn in tokens_drawn.items():
        if drawn > caps.get(kind, 0):
            raise ValueError(
                f"{drawn} {kind!r} tokens were drawn over a cap of {caps.get(kind, 0)}: this plan is not theirs."
            )
    found = plan.caps().certificate(delta, adjacency)
    return PrivacyStatement(
        private=True,
        epsilon_total=found.epsilon,
        delta=delta,
        epsilon_per_trial=plan.trial_caps().epsilon(delta, adjacency),
        released=released,
        unit=unit,
        adjacency=adjacency,
        mechanism=_mechanism(plan, order),
        sampler=_SAMPLER.format(q=plan.sampling_prob),
        caps=caps,
        tokens_drawn={kind: tokens_drawn.get(kind, 0) for kind in caps},
        rule=_RULE,
        accountant=AccountantUsed(
            name=f"dp-accounting, {found.method}", version=version("dp-accounting"), discretisation=found.discretisation
        ),
        public_data=tuple(public_data),
        not_covered=(*not_covered(order), *also_not_covered),
        versions=dict(versions or {}),
    )


def state_without_privacy(
    *,
    num_steps: int,
    public_data: Sequence[str] = (),
    unit: str = "example",
    released: str = _ALL_RELEASED,
    order: Order = "zeroth",
    versions: Mapping[str, str] | None = None,
) -> PrivacyStatement:
    """Return the statement of a run without clipping and noise (MeZO, zeroth order or not): ε is infinite."""
    return PrivacyStatement(
        private=False,
        epsilon_total=None,
        delta=None,
        epsilon_per_trial=None,
        released=released,
        unit=unit,
        adjacency="add-or-remove-one",
        mechanism=f"none: {WHAT_IS_CLIPPED[order][0]} of private examples enter the updates as they are, without "
        "clipping or noise",
        sampler="of no consequence: without noise, sampling protects nobody",
        caps={TRAIN_STEP: num_steps},
        tokens_drawn={},
        rule="none: everything that leaves this run may reveal any example it was trained on",
        accountant=None,
        public_data=tuple(public_data),
        not_covered=NOT_COVERED_WITHOUT_PRIVACY,
        versions=dict(versions or {}),
    )


def _mechanism(plan: PlannedSweep, order: Order) -> str:
    sigma = f"{plan.noise_multiplier:.6g}"
    clipped, noised = WHAT_IS_CLIPPED[order]
    steps = (
        f"each step: {clipped}, clipped to norm C for each example and summed; Gaussian noise of standard deviation "
        f"{sigma} × C (noise multiplier {sigma}) on {noised}"
    )
    if EVALUATION not in plan.caps().tokens():
        return steps
    return (
        f"{steps}; each evaluation on private rows: a count with Gaussian noise of standard deviation "
        f"{plan.evaluation_noise_multiplier:.6g}"
    )
