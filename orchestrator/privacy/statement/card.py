"""The privacy card of a released model as data: the statement, with the facts in the terms of NIST SP 800-226.

NIST SP 800-226, "Guidelines for Evaluating Differential Privacy Guarantees" (2025), asks of a claim for the privacy
parameters, the unit of privacy, the neighbouring relation, the trust model, the mechanism with its sampling, and how
composition is accounted for. `sweep/card.py` writes the card beside the weights; its schema is in docs/.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.statement.statement import PrivacyStatement

CARD_FORMAT = "dpzo-privacy-card/1"
BY_HAND = "nothing that dpzo saw: its numbers were given by hand"
TRUST_MODEL = "central: the operator holds the data and sees what is not released; no one else is trusted"
_RELATION: dict[Adjacency, str] = {
    "add-or-remove-one": "add or remove one unit (unbounded)",
    "replace-one": "replace one unit (bounded)",
}
_COMPOSITION = {
    "sum": "the ε of all reservations on these data add up; each counts what was declared, drawn or not",
    "rdp": "a Rényi filter over all reservations on these data; its whole limit counts",
}
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Claim(_Frozen):
    """The guarantee in the terms of NIST SP 800-226; ε and δ are those of everything released about the data."""

    epsilon: _Amount
    delta: _Amount
    unit_of_privacy: str
    neighboring_relation: str
    trust_model: str
    mechanism: str
    sampling: str
    composition: str
    accountant: str


class ReleaseLog(_Frozen):
    """The public log from which the weights can be rebuilt: its digest, and its number of steps.

    `base_model_sha256` is of all weights of the base model; null where the log's header has it, as all of them train,
    and in cards of earlier versions.
    """

    sha256: _Sha256
    steps: Annotated[int, Field(ge=0)]
    base_model_sha256: _Sha256 | None = None


class Refinement(_Frozen):
    """What was done to the weights after training, from released values and public rows alone: it costs no ε.

    `last_percent` (of the steps, whose iterates are averaged; null for the last one) and `scale` (of the way from the
    base model) are what `dpzo export --from-log` does again.
    """

    kind: str
    chosen_on: str
    epsilon: Literal[0] = 0
    last_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class Evidence(_Frozen):
    """What an attack reached against the released model. It can refute the claim and never prove it.

    `auc` and `true_positive_rate` (at `false_positive_rate`) tell members from other rows; 0.5 and the false positive
    rate itself are those of a guess. `bound` is the largest true positive rate that the claim allows.
    """

    attack: str
    members: Annotated[int, Field(ge=1)]
    non_members: Annotated[int, Field(ge=1)]
    auc: Annotated[float, Field(ge=0, le=1)]
    true_positive_rate: Annotated[float, Field(ge=0, le=1)]
    false_positive_rate: Annotated[float, Field(ge=0, le=1)]
    bound: Annotated[float, Field(ge=0, le=1)]
    charged: str


class PrivacyCard(_Frozen):
    """What a reader of a released model needs to judge its privacy; `claim` is null where there is none."""

    format: Literal["dpzo-privacy-card/1"] = CARD_FORMAT
    name: str
    base_model: str
    trained: str
    method: str
    trained_on: Literal["private rows", "public rows alone"]
    claim: Claim | None
    public_information: tuple[str, ...]
    not_covered: tuple[str, ...]
    ledger_digest: str
    release_log: ReleaseLog | None
    refinement: Refinement | None = None
    evidence: Evidence | None = None
    statement: PrivacyStatement

    def json_text(self) -> str:
        """Return the card as JSON; the same card gives the same bytes."""
        return self.model_dump_json(indent=2) + "\n"


def claim_of(statement: PrivacyStatement) -> Claim | None:
    """Return the guarantee of a statement; None where no finite ε covers what was released."""
    if statement.epsilon_total is None or statement.delta_total is None or statement.accountant is None:
        return None
    return Claim(
        epsilon=statement.epsilon_total,
        delta=statement.delta_total,
        unit_of_privacy=f"one {statement.unit}",
        neighboring_relation=_RELATION[statement.adjacency],
        trust_model=TRUST_MODEL,
        mechanism=statement.mechanism,
        sampling=statement.sampler,
        composition=_COMPOSITION[statement.budget.composition],
        accountant=f"{statement.accountant.name}, version {statement.accountant.version}",
    )


def card_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a card."""
    schema = PrivacyCard.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def card_schema_json() -> str:
    """Return the schema as text."""
    return json.dumps(card_schema(), indent=2, ensure_ascii=False) + "\n"
