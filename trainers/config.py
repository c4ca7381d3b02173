"""The configuration of one run, as frozen models that need neither torch nor ray to be read.

`performance` can change neither the mechanism nor its event; everything that can stands in the other sections.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from trainers.agreement import require_agreement
from trainers.mechanism import Adjacency, NoiseLaw
from trainers.methods.catalogue import METHODS
from trainers.methods.presets import require_kind_of_model
from trainers.methods.settings import MaskConfig, check, filled
from trainers.schedules import Schedule
from trainers.sections import Count, Decay, Positive, Section
from trainers.tasks.catalogue import filled_in
from trainers.tasks.shots import refuse_shots, with_declared_size
from trainers.tasks.templates import MASK, Template

__all__ = ["Count", "MethodConfig", "Positive", "RunConfig", "Section"]

Metric = Literal["accuracy", "f1", "precision", "recall", "loss", "likelihood", "exact-match", "token-f1"]
Head = Literal["causal-lm", "masked-lm", "sequence-classification"]


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
    shots: Count | None = Field(
        default=None,
        description="Train on so many rows of each label, chosen by a public key. The data set that epsilon speaks of "
        "is then this selection, not the file.",
    )
    shots_seed: int = Field(default=0, ge=0, description="PUBLIC key of the selection.")
    validation_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Instead of data.validation: the share of data.train to score on, chosen by a keyed coin for each "
        "record (or user). Needs score.on: private. The declared numbers are divided in the same proportion.",
    )
    user_column: str | None = Field(
        default=None, description="Column that names the user, who then is the unit of privacy instead of the example."
    )
    max_examples_per_user: Count | None = Field(
        default=None, description="With user_column: examples m of a drawn user that a step averages, at most."
    )
    num_users: Count | None = Field(
        default=None, description="With user_column: declared number of users, public; then B counts users."
    )

    @model_validator(mode="after")
    def _one_unit_one_validation(self) -> DataConfig:
        users = {name: getattr(self, name) for name in ("user_column", "max_examples_per_user", "num_users")}
        missing = [name for name, value in users.items() if value is None]
        if 0 < len(missing) < len(users):
            raise ValueError(
                f"user_column, max_examples_per_user and num_users belong together, for privacy of users; {missing[0]} "
                "is missing. Give all three, or none for privacy of examples"
            )
        if self.num_users is not None and self.num_users > self.num_examples:
            raise ValueError(
                f"num_users {self.num_users} exceeds num_examples {self.num_examples}: declare one as it is"
            )
        if self.validation is not None and self.validation_share is not None:
            raise ValueError("validation and validation_share both say what to score on: give one of them")
        return self

    @property
    def unit(self) -> Literal["example", "user"]:
        """Unit of privacy."""
        return "example" if self.user_column is None else "user"

    @property
    def num_units(self) -> int:
        """Declared number of units of privacy, training and validation together where they are split."""
        return self.num_users or self.num_examples

    @property
    def has_validation(self) -> bool:
        """Whether there is anything to score on."""
        return self.validation is not None or self.validation_share is not None


class TaskConfig(Section):
    """How a row becomes a prompt and what is to be predicted."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # labels 0 and 1 are written without quotes

    name: str | None = Field(
        default=None, description="A task of the catalogue, such as sst2; it fills in what is not given here."
    )
    template: str = Field(
        description="The prompt, with columns in braces: '{sentence} It was', with [MASK] for a masked model."
    )
    label_column: str | None = Field(default=None, description="Column of the label.")
    label_words: dict[str, str] | None = Field(
        default=None,
        description="Label → continuation that a causal model chooses between, with its leading space, or word that a "
        "masked model puts at [MASK].",
    )
    labels: list[str] | None = Field(default=None, description="Labels in class order, for a classification head.")
    options: list[str] | None = Field(
        default=None,
        description="Templates of a row's own options, for a causal model: [' {choice1}', ' {choice2}'], or one that "
        "goes through a list: [' {choices|each}']. The label is an option's number from 0, or the list's right items.",
    )
    target: str | None = Field(default=None, description="Template of the text to be generated: '{summary}'.")
    skip_labels: list[str] = Field(
        default=[], description="Rows with these labels are left out, such as -1 for no label; not of options."
    )
    metric: Metric | None = Field(
        default=None,
        description="Score on public examples: accuracy (the default for choices) or f1 (of the last of two labels, or "
        "the mean over more); exact-match or token-f1 of a generated text (a target's default is the mean probability "
        "of its tokens).",
    )
    max_tokens: Count = Field(default=256, description="Longest prompt in tokens; longer ones lose their beginning.")
    max_new_tokens: Count = Field(default=32, description="Longest generated text in tokens, where a metric needs one.")

    @model_validator(mode="after")
    def _one_kind_of_target(self) -> TaskConfig:
        _ = self.columns  # a template that cannot be read is refused here
        given = [name for name in ("label_words", "labels", "options", "target") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of label_words (a model chooses between words), labels (a classification head), "
                f"options (a row's own choices) and target (a text to generate); got {', '.join(given) or 'none'}"
            )
        if self.target is None and self.label_column is None:
            raise ValueError(f"{given[0]} needs label_column: the column that holds the label")
        names = self.label_names
        if given[0] in ("label_words", "labels") and len(set(names)) < max(2, len(names)):
            raise ValueError(f"{given[0]} needs at least two labels, each once; got {', '.join(names)}")
        if self.template.count(MASK) > 1:
            raise ValueError(f"template has {self.template.count(MASK)} {MASK}; a masked model predicts at one place")
        if (self.metric in ("exact-match", "token-f1")) != (self.target is not None) and self.metric is not None:
            wanted = "exact-match or token-f1" if self.target is not None else "accuracy or f1"
            raise ValueError(f"metric {self.metric} does not fit {given[0]}: use {wanted}")
        if self.metric == "f1" and self.options is not None:
            raise ValueError("metric f1 is over labels, and options differ from row to row: use accuracy")
        return self

    @property
    def columns(self) -> list[str]:
        """Columns that a row must have."""
        columns = list(Template.parse(self.template, "task.template").columns)
        for field, text in [("target", self.target), *(("options", option) for option in self.options or [])]:
            if text is not None:
                columns += Template.parse(text, f"task.{field}").columns
        return list(dict.fromkeys([*columns, *([self.label_column] if self.label_column else [])]))

    @property
    def label_names(self) -> list[str]:
        """Labels in the order of options or classes; empty for a target text and for a row's own options."""
        return list(self.label_words or self.labels or [])

    def refuse_head(self, head: Head) -> None:
        """Check that the task is one for a model's head.

        Raises:
            ValueError: it is not.
        """
        if (self.labels is not None) != (head == "sequence-classification"):
            needed = (
                "task.labels"
                if self.labels is None
                else "task.label_words or task.target, or head 'sequence-classification'"
            )
            raise ValueError(f"task and model.head disagree: head {head!r} needs {needed}")
        if head == "masked-lm" and self.label_words is None:
            raise ValueError(
                "task and model.head disagree: head 'masked-lm' chooses between task.label_words at its mask; a row's "
                "own options and target texts need head 'causal-lm'"
            )
        if head == "masked-lm" and MASK not in self.template:
            raise ValueError(f"task.template has no {MASK}: write it where the masked model is to predict")
        if head != "masked-lm" and MASK in self.template:
            raise ValueError(f"task.template holds {MASK}, which head {head!r} does not fill: use head 'masked-lm'")


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
    head: Head = Field(
        default="causal-lm",
        description="Which loss it computes: of a continuation, of a word at [MASK], or of a class.",
    )
    trainable: Literal["full", "lora"] = Field(default="full", description="All parameters, or a LoRA adapter.")
    lora: LoraConfig = Field(default_factory=LoraConfig, description="Used with trainable: lora.")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="What it computes in. Parameters that train are kept and moved in float32 either way.",
    )


class MethodConfig(Section):
    """The method and its settings; none of them enters epsilon but num_steps."""

    name: Literal["mezo", "dp-zo", "dpzero", "dp-zoso", "dp-zopo", "dp-aggzo", "dp-sgd", "dp-adamw", "adamw"] = Field(
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
        default=5.0, description="L2 bound C on an example's K-vector (or gradient), nats per parameter unit."
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
    weight_decay: Decay = Field(
        default=0.0, description="Of a first-order method: a step takes this share of θ away, times η."
    )
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
    delta: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=1e-5, description="Total delta; 0, pure epsilon, with Laplace noise only."
    )
    adjacency: Adjacency = Field(
        default="add-or-remove-one",
        description="What may differ between two data sets: one example (or user) more, or another in its place.",
    )
    noise: NoiseLaw = Field(
        default="gaussian", description="Law of the noise, also on private scores; laplace clips K-vectors in L1."
    )
    noise_multiplier: Positive | None = Field(
        default=None,
        description="σ: standard deviation (gaussian) or scale (laplace) of the noise / C. Calibrated to epsilon when "
        "absent.",
    )
    expected_batch_size: Positive = Field(
        default=64.0,
        description="B = q · num_examples (num_users, where they are the unit), the only divisor of a sum.",
    )
    spare_steps: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Steps a run may repeat after a kill, paid for in advance; an interrupted step stays charged.",
    )
    spare_scores: Annotated[int, Field(ge=0)] = Field(
        default=0, description="The same for scores on private examples: how many may be repeated after a kill."
    )

    @model_validator(mode="after")
    def _noise_can_promise_it(self) -> PrivacyConfig:
        if self.delta == 0 and self.noise == "gaussian":
            raise ValueError(
                "delta 0 asks for pure epsilon, which Gaussian noise has at no price: set noise: laplace, or a delta "
                "above 0 and well below 1 / num_examples"
            )
        if self.noise == "laplace" and self.adjacency == "replace-one":
            raise ValueError(
                "noise laplace is accounted under add-or-remove-one only: use that adjacency, or noise: gaussian"
            )
        return self

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
    metric: Metric | None = Field(
        default=None,
        description="What a score is; larger is better. f1, precision and recall are of the second of two labels, of "
        "more labels the plain mean; loss is minus the mean loss; likelihood, on public examples, is a target token's "
        "mean probability. When absent accuracy, or likelihood for a target text.",
    )
    loss_bound: Positive | None = Field(
        default=None, description="With metric loss: each example's loss is cut to [0, loss_bound] nats."
    )
    times: Count = Field(default=1, description="Scores of one run, evenly spaced; the last one at its end.")
    noise_multiplier: Positive = Field(
        default=20.0,
        description="On private examples: standard deviation (or Laplace scale) of the noise, in multiples of what one "
        "example can change: a right answer, a cell of the confusion matrix, loss_bound.",
    )
    num_examples: Count | None = Field(
        default=None,
        description="On private examples: their declared number, public (of users, where they are the unit).",
    )


class PerformanceConfig(Section):
    """Speed only: nothing here can change the mechanism, its event or, beyond rounding, a loss."""

    micro_batch_tokens: Count = Field(default=4096, description="Largest padded size of one forward pass, tokens.")
    num_threads: Count | None = Field(default=None, description="CPU threads of one run; all cores when absent.")
    device: str = Field(default="cpu", description="torch device, 'cpu' or 'cuda'.")
    snapshot_steps: Count = Field(
        default=50, description="Steps between snapshots of a first-order run; a kill loses those after the last one."
    )


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

    @model_validator(mode="before")
    @classmethod
    def _task_of_catalogue(cls, values: Any) -> Any:
        """Fill in what the task's name says."""
        return with_declared_size(filled_in(values)) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _sections_agree(self) -> RunConfig:
        self.task.refuse_head(self.model.head)
        refuse_shots(self.data, self.task)
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
        require_agreement(self, private=private)
        return self

    @property
    def metric(self) -> Metric:
        """What a score is: score.metric, or what suits the task."""
        usual: Metric = "accuracy" if self.task.target is None else "likelihood"
        return self.score.metric or self.task.metric or usual

    @property
    def num_training_units(self) -> float:
        """Declared number of examples (or users) that train, a public constant."""
        return round(self.data.num_units * (1.0 - (self.data.validation_share or 0.0)), 6)

    @property
    def num_scored_units(self) -> float | None:
        """Declared number of private examples (or users) to score on, a public constant; None where there are none."""
        if self.data.validation_share is not None:
            return round(self.data.num_units * self.data.validation_share, 6)
        return self.score.num_examples

    @property
    def sampling_prob(self) -> float:
        """Poisson rate q = B / declared number of examples (or users) that train."""
        return self.privacy.expected_batch_size / self.num_training_units
