"""What an audit found, as it is written to JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, computed_field

HONESTY = "An audit can find violations. It cannot prove privacy: that is what the accounting and its proofs are for."


class Record(BaseModel):
    """A frozen record."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReplayResult(Record):
    """Part 1: how far one example moved a sum."""

    comparisons: int = Field(description="Pairs of sums that were compared.")
    largest_shift: float = Field(description="Largest shift in multiples of what the claim allows; 1 is the bound.")
    findings: list[str]


class ResidualResult(Record):
    """Part 2: what was added to the exact sums."""

    values: int = Field(description="Residuals that were looked at.")
    empty_batches: int = Field(description="Steps among them whose batch was empty.")
    ks_pvalue: float = Field(description="Kolmogorov-Smirnov against the declared law.")
    scale_ratio: float = Field(description="Measured noise scale over the declared one.")
    findings: list[str]


class Point(Record):
    """Rates of one threshold, with Clopper-Pearson bounds, each one-sided at `tail`."""

    fpr: float
    fnr: float
    fpr_lower: float
    fpr_upper: float
    fnr_lower: float
    fnr_upper: float


class MembershipResult(Record):
    """Part 3: how well a canary's presence was guessed from all that a run releases."""

    runs: int = Field(description="Runs without the canary, and as many with it.")
    tail: float = Field(description="One-sided probability that a bound is wrong.")
    epsilon_lower: float = Field(description="Lower bound on ε at δ, at confidence 1 − 2·tail.")
    margin: float = Field(description="How far the bounds lie below the claim, in false negative rate; above 0: wrong.")
    power: float = Field(description="How often this many runs would find noise at 0.8 of the claimed, simulated.")
    decided_at: Point
    measured: list[Point] = Field(description="Rates along all thresholds, of the half that was not used to choose.")
    claimed: list[tuple[float, float]] = Field(description="The claimed curve: false positive and negative rates.")
    findings: list[str]


class ModelResult(Record):
    """The replay on a real model, by the transformers evaluator."""

    parameters: int
    comparisons: int
    largest_shift: float = Field(description="Largest shift of the sum in multiples of C.")
    rounding: float = Field(description="What rounding in the model may add to it: B·r/(λ√K·C), as measured.")
    findings: list[str]


class CaseResult(Record):
    """One method, audited."""

    method: str
    title: str = Field(description="The method's name, with K, noise and adjacency where they are not the usual.")
    noise: str
    adjacency: str
    sampling_prob: float
    noise_multiplier: float
    num_directions: int
    num_steps: int = Field(description="Steps of the audited runs.")
    planned_steps: int = Field(description="Steps that the configuration plans.")
    delta: float = Field(description="δ of epsilon; 0 for a pure claim.")
    epsilon: float = Field(description="Claimed ε of the audited steps.")
    replay: ReplayResult
    residuals: ResidualResult
    membership: MembershipResult

    @computed_field
    @property
    def violations(self) -> list[str]:
        """Every finding, with the part that made it."""
        parts = (("replay", self.replay), ("residuals", self.residuals), ("membership", self.membership))
        return [f"{name}: {finding}" for name, part in parts for finding in part.findings]


class AuditResult(Record):
    """A whole audit."""

    cases: list[CaseResult]
    model: ModelResult
    seconds: float
    versions: dict[str, str]
    honesty: str = HONESTY

    @computed_field
    @property
    def violations(self) -> list[str]:
        """Every finding, with the method and the part that made it."""
        found = [f"{case.title}: {finding}" for case in self.cases for finding in case.violations]
        return found + [f"transformers evaluator: replay: {finding}" for finding in self.model.findings]
