"""The configuration of one run, as frozen models that need neither torch nor ray to be read.

`performance` can change neither the mechanism nor its event; everything that can stands in the other sections.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from trainers.methods.catalogue import METHODS
from trainers.methods.presets import require_kind_of_model
from trainers.methods.settings import MaskConfig, check, filled
from trainers.schedules import Schedule
from trainers.sections import Count, Decay, Positive, Section
from trainers.tasks.templates import Template

__all__ = ["Count", "MethodConfig", "Positive", "RunConfig", "Section"]


class DataConfig(Section):
    """Where the examples come from."""

    train: str = Field(description="Private examples: a JSONL, CSV, TSV or Parquet file, or 'hub:<name>[:split]'.")
    num_examples: Count = Field(
        description="Declared number of private examples, a public constant: q and B are multiples of it. "
        "Declare it without looking at who is in the data; it need not be exact for epsilon to hold."
    )
    validation: str | None = Field(
        default=None, description="Examples to score on, in the same forms. Held public unless score.on is 'private'."
    )


class TaskConfig(Section):
    """How a row becomes a prompt and what is to be predicted."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # labels 0 and 1 are written without quotes

    template: str = Field(description="The prompt, with columns in braces: '{sentence} It was'.")
    label_column: str | None = Field(default=None, description="Column of the label.")
    label_words: dict[str, str] | None = Field(
        default=None, description="Label → continuation that a causal model chooses between, with its leading space."
    )
    labels: list[str] | None = Field(default=None, description="Labels in class order, for a classification head.")
    target: str | None = Field(default=None, description="Template of the text to be generated: '{summary}'.")
    max_tokens: Count = Field(default=256, description="Longest prompt in tokens; longer ones lose their beginning.")

    @model_validator(mode="after")
    def _one_kind_of_target(self) -> TaskConfig:
        _ = self.columns  # a template that cannot be read is refused here
        given = [name for name in ("label_words", "labels", "target") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of label_words (a causal model chooses a continuation), labels (a classification "
                f"head) and target (a text to generate); got {', '.join(given) or 'none'}"
            )
        if self.target is None and self.label_column is None:
            raise ValueError(f"{given[0]} needs label_column: the column that holds the label")
        if self.target is None and len(set(self.label_names)) < max(2, len(self.label_names)):
            raise ValueError(f"{given[0]} needs at least two labels, each once; got {', '.join(self.label_names)}")
        return self

    @property
    def columns(self) -> list[str]:
        """Columns that a row must have."""
        columns = list(Template.parse(self.template, "task.template").columns)
        if self.target is not None:
            columns += Template.parse(self.target, "task.target").columns
        return list(dict.fromkeys([*columns, *([self.label_column] if self.label_column else [])]))

    @property
    def label_names(self) -> list[str]:
        """Labels in the order of options or classes; empty for a target text."""
        return list(self.label_words or self.labels or [])


class LoraConfig(Section):
    """A low-rank adapter (Hu et al., 2021, arXiv:2106.09685); defaults of the MeZO paper."""

    rank: Count = Field(default=8, description="Rank r.")
    alpha: Count = Field(default=16, description="Scale: the adapter is multiplied by alpha / r.")
    target_modules: list[str] | None = Field(
        default=None, description="Modules that get one; PEFT's choice when absent."
    )


class ModelConfig(Section):
    """Which model, and which of its parameters train."""

    path: str = Field(description="A folder, or a name on the Hugging Face hub.")
    head: Literal["causal-lm", "sequence-classification"] = Field(
        default="causal-lm", description="Which loss it computes."
    )
    trainable: Literal["full", "lora"] = Field(default="full", description="All parameters, or a LoRA adapter.")
    lora: LoraConfig = Field(default_factory=LoraConfig, description="Used with trainable: lora.")


class MethodConfig(Section):
    """The method and its settings; none of them enters epsilon but num_steps."""

    name: Literal["mezo", "dp-zo", "dpzero", "dp-zoso", "dp-zopo", "dp-aggzo"] = Field(
        default="dp-aggzo", description="A method of the catalogue."
    )
    num_steps: Count = Field(default=1000, description="Steps T of one run (one trial of a sweep).")
    num_directions: Count = Field(
        default=16,
        description="Directions K a step; 2K forward passes of the batch (see difference). 1 when absent for a method "
        "whose paper takes one.",
    )
    smoothing: Schedule = Field(default=1e-3, description="Perturbation radius λ, in units of a parameter.")
    clip_norm: Schedule = Field(
        default=5.0, description="L2 bound C on an example's K-vector, nats per parameter unit."
    )
    learning_rate: Schedule = Field(default=1e-5, description="Learning rate η; η_0 of a staged method.")
    direction: Literal["gaussian", "rademacher", "sphere", "orthonormal", "low-rank"] = Field(
        default="gaussian",
        description="Law of the directions z: independent values, uniform on the sphere of radius √d, K orthogonal "
        "ones of norm √d, or U Vᵀ for each matrix.",
    )
    direction_rank: Count = Field(default=1, description="Columns of U and V; used with direction: low-rank.")
    difference: Literal["two-sided", "one-sided", "centred"] = Field(
        default="two-sided",
        description="Two-sided takes 2K forward passes; one-sided K + 1, with one loss at θ for all directions; "
        "centred K, which are one-sided less their mean over directions.",
    )
    stage_steps: Count | None = Field(
        default=None, description="Steps T_0 of the first stage; each one after it takes twice as many."
    )
    proximal: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="Pull ρ = 1/γ towards the θ that a stage began with."
    )
    mask: MaskConfig | None = Field(default=None, description="Which parameters train, of DP-ZOPO.")
    shrinkage: Decay | None = Field(
        default=None, description="Shrink noisy values by their known noise, as estimated over steps with this decay."
    )
    momentum: Decay = Field(default=0.0, description="Decay of a running mean of released updates; needs memory of θ.")
    rms_decay: Decay | None = Field(
        default=None, description="Divide noisy values by their root mean square over steps, of this decay, as Adam."
    )
    preset: str | None = Field(
        default=None, description="A paper's settings for one model, 'dpzero/roberta-large'; what is given goes first."
    )
    seed: int = Field(
        default=0, ge=0, description="PUBLIC key of the directions. Noise and batches never depend on it."
    )

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, values: Any) -> Any:
        """Fill in what the preset and the method settle."""
        return filled(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _settings_agree(self) -> MethodConfig:
        check(self)
        return self

    @property
    def num_probes(self) -> int:
        """Forward passes of the batch in a step."""
        return {"two-sided": 2 * self.num_directions, "one-sided": self.num_directions + 1}.get(
            self.difference, self.num_directions
        )


class PrivacyConfig(Section):
    """The promise, and the rate and noise that keep it."""

    epsilon: Positive | None = Field(default=None, description="Total epsilon, of the whole sweep where there is one.")
    delta: Annotated[float, Field(gt=0, lt=1)] = Field(default=1e-5, description="Total delta.")
    noise_multiplier: Positive | None = Field(
        default=None, description="σ: noise standard deviation / C. Calibrated to epsilon when absent."
    )
    expected_batch_size: Positive = Field(default=64.0, description="B = q · num_examples, the only divisor of a sum.")
    spare_steps: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Steps a run may repeat after a kill, paid for in advance; an interrupted step stays charged.",
    )

    @field_validator("noise_multiplier", "expected_batch_size", mode="before")
    @classmethod
    def _no_schedule(cls, value: Any) -> Any:
        if isinstance(value, dict):
            raise ValueError(
                "takes no schedule: σ and q are what a step costs, and the plan counts every step at one price. "
                "Schedule method.clip_norm, method.smoothing or method.learning_rate, which cost nothing"
            )
        return value


class ScoreConfig(Section):
    """How a run is judged: on public examples for nothing, or on private ones for tokens of their own."""

    on: Literal["public", "private"] = Field(default="public", description="What data.validation is.")
    times: Count = Field(default=1, description="Scores of one run, evenly spaced; the last one at its end.")
    noise_multiplier: Positive = Field(
        default=20.0, description="On private examples: standard deviation of the noise on the number of right answers."
    )
    num_examples: Count | None = Field(default=None, description="On private examples: their declared number, public.")


class PerformanceConfig(Section):
    """Speed only: nothing here can change the mechanism, its event or, beyond rounding, a loss."""

    micro_batch_tokens: Count = Field(default=4096, description="Largest padded size of one forward pass, tokens.")
    num_threads: Count | None = Field(default=None, description="CPU threads of one run; all cores when absent.")
    device: str = Field(default="cpu", description="torch device, 'cpu' or 'cuda'.")


class RunConfig(Section):
    """Everything about one run."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$", description="Names the run's folder and ledger entry."
    )
    storage_path: str = Field(default="runs", description="Folder for ledger, logs and results.")
    data: DataConfig
    task: TaskConfig
    model: ModelConfig
    method: MethodConfig = Field(default_factory=MethodConfig)
    privacy: PrivacyConfig = Field(default_factory=PrivacyConfig)
    score: ScoreConfig = Field(default_factory=ScoreConfig)
    performance: PerformanceConfig = Field(default_factory=PerformanceConfig)

    @model_validator(mode="after")
    def _sections_agree(self) -> RunConfig:
        if self.privacy.expected_batch_size > self.data.num_examples:
            raise ValueError(
                f"privacy.expected_batch_size {self.privacy.expected_batch_size:g} exceeds data.num_examples "
                f"{self.data.num_examples}: the sampling probability would be above 1"
            )
        wants_head = self.task.labels is not None
        if wants_head != (self.model.head == "sequence-classification"):
            raise ValueError(
                f"task and model.head disagree: head {self.model.head!r} needs "
                + (
                    "task.labels"
                    if not wants_head
                    else "task.label_words or task.target, or head 'sequence-classification'"
                )
            )
        require_kind_of_model(self.method.preset, self.model.head, self.model.trainable)
        private = METHODS[self.method.name].private
        given = self.privacy.epsilon is not None or self.privacy.noise_multiplier is not None
        if private and not given:
            raise ValueError("a private method needs privacy.epsilon (σ is calibrated) or privacy.noise_multiplier")
        if not private and given:
            raise ValueError(
                f"{METHODS[self.method.name].title} has no privacy (ε = ∞): remove privacy.epsilon and "
                "privacy.noise_multiplier, or choose a private method (such as dp-aggzo)"
            )
        if self.score.on == "private" and not private:
            raise ValueError(
                f"score.on: private buys nothing under {METHODS[self.method.name].title}: use score.on: public"
            )
        if self.score.on == "private" and self.task.target is not None:
            raise ValueError("score.on: private counts right answers, and a target text has none; score on public data")
        if self.score.on == "private" and (self.data.validation is None or self.score.num_examples is None):
            raise ValueError("score.on: private needs data.validation and score.num_examples, its declared size")
        return self

    @property
    def sampling_prob(self) -> float:
        """Poisson rate q = B / declared number of examples."""
        return self.privacy.expected_batch_size / self.data.num_examples
