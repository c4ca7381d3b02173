"""The result of an audit, as `audit.json` holds it."""

from pydantic import BaseModel, ConfigDict, Field, computed_field

WEAK = 0.5
HONESTY = "An audit can find violations. It cannot prove privacy: only the accounting and its proofs do."


class _Part(BaseModel):
    """A frozen part of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReplayResult(_Part):
    """The first check: how far one example moved a sum."""

    comparisons: int = Field(description="Number of pairs of sums.")
    largest_shift: float = Field(description="Largest shift divided by what the claim allows; at most 1.")
    findings: list[str]


class ResidualResult(_Part):
    """The second check: whether the noise follows the declared law."""

    values: int = Field(description="Number of residuals (released minus exact).")
    empty_batches: int = Field(description="Number of steps with an empty batch.")
    ks_pvalue: float = Field(description="p-value of the Kolmogorov-Smirnov test of the declared law.")
    scale_ratio: float = Field(description="Measured noise scale divided by the declared one.")
    sampling_ratio: float | None = Field(default=None, description="Rows in all batches divided by their mean under q.")
    findings: list[str]


class Point(_Part):
    """False positive and false negative rate at one threshold, with one-sided Clopper-Pearson bounds at `tail`."""

    fpr: float
    fnr: float
    fpr_lower: float
    fpr_upper: float
    fnr_lower: float
    fnr_upper: float


class MembershipResult(_Part):
    """The third check: how well the canary's presence was guessed from all that a run releases."""

    runs: int = Field(description="Number of runs without the canary, and of runs with it.")
    tail: float = Field(description="One-sided probability that a bound is wrong.")
    epsilon_lower: float = Field(description="Lower bound on ε at δ, at confidence 1 − 2·tail.")
    margin: float = Field(description="Claimed minus bounded false negative rate; a violation above 0.")
    power: float = Field(description="Share of simulated audits that find 0.8 of the claimed noise.")
    powers: dict[str, float] = Field(default={}, description="That share for each fault, by its name.")
    decided_at: Point
    measured: list[Point] = Field(description="Rates along the thresholds, on the runs that did not choose them.")
    claimed: list[tuple[float, float]] = Field(description="Claimed curve: false positive and false negative rates.")
    findings: list[str]

    @computed_field
    @property
    def weak(self) -> bool:
        """Whether the guesses would miss each fault more often than they would find it."""
        return max([self.power, *self.powers.values()]) < WEAK


class ModelResult(_Part):
    """The first check on a real model, with the transformers evaluator."""

    parameters: int
    comparisons: int
    largest_shift: float = Field(description="Largest shift of the sum in multiples of C.")
    rounding: float = Field(description="What rounding in the model may add: B·r/(λ√K·C), with r measured.")
    findings: list[str]


class CaseResult(_Part):
    """The result for one method or configuration."""

    method: str
    title: str = Field(description="The method's name, with K, noise and adjacency where unusual.")
    noise: str
    adjacency: str
    sampling_prob: float
    noise_multiplier: float
    num_directions: int
    num_steps: int = Field(description="Steps of the audited runs.")
    planned_steps: int = Field(description="Steps that the configuration plans.")
    delta: float = Field(description="δ of epsilon; 0 for a claim of pure ε.")
    epsilon: float = Field(description="Claimed ε of the audited steps.")
    replay: ReplayResult
    residuals: ResidualResult
    membership: MembershipResult

    @computed_field
    @property
    def violations(self) -> list[str]:
        """Every finding, after the name of its check."""
        checks = {"replay": self.replay, "residuals": self.residuals, "membership": self.membership}
        return [f"{name}: {finding}" for name, check in checks.items() for finding in check.findings]


class ExtraResult(_Part):
    """A check of something else that a run promises: its scores, its users, its gradients, its caps."""

    title: str
    detail: str = Field(description="What was seen, for people.")
    findings: list[str]


class AuditResult(_Part):
    """The result of a whole audit."""

    cases: list[CaseResult]
    extras: list[ExtraResult] = []
    model: ModelResult
    seconds: float
    versions: dict[str, str]
    honesty: str = HONESTY

    @computed_field
    @property
    def violations(self) -> list[str]:
        """Every finding, after the title of its case and the name of its check."""
        of_cases = [f"{case.title}: {finding}" for case in self.cases for finding in case.violations]
        of_cases += [f"{extra.title}: {finding}" for extra in self.extras for finding in extra.findings]
        return of_cases + [f"transformers evaluator: replay: {finding}" for finding in self.model.findings]
