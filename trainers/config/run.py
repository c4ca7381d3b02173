"""The whole configuration of one run: its sections, and the rules between them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from trainers.config.auto import AutoClip
from trainers.config.data import DataConfig
from trainers.config.method import KINDS_IN_A_BASIS, MethodConfig
from trainers.config.model import ModelConfig
from trainers.config.performance import PerformanceConfig
from trainers.config.privacy import PrivacyConfig
from trainers.config.resources import ResourcesConfig
from trainers.config.score import ScoreConfig
from trainers.config.sections import Section
from trainers.config.task import Metric, TaskConfig
from trainers.methods.catalogue import METHODS
from trainers.methods.presets import require_kind_of_model
from trainers.tasks.catalogue import filled_in

CONFUSION_METRICS = ("f1", "precision", "recall")
_OF_TARGETS = ("likelihood", "exact-match", "token-f1")


class RunConfig(Section):
    """The whole configuration of one run."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$", description="Names the run's folder and ledger entry."
    )
    storage_path: str = Field(
        default="runs",
        description="Folder for ledger, logs and results; or a URL of object storage for results, with "
        "performance.log: database.",
    )
    data: DataConfig
    task: TaskConfig
    model: ModelConfig
    method: MethodConfig = Field(default_factory=MethodConfig)
    privacy: PrivacyConfig = Field(default_factory=PrivacyConfig)
    score: ScoreConfig = Field(default_factory=ScoreConfig)
    performance: PerformanceConfig = Field(default_factory=PerformanceConfig)
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)

    @model_validator(mode="before")
    @classmethod
    def _task_of_catalogue(cls, values: Any) -> Any:
        """Fill in what the task's name says."""
        return with_declared_size(filled_in(values)) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _sections_agree(self) -> RunConfig:
        self.task.refuse_head(self.model.head)
        _require_shots_fit(self.data, self.task)
        require_kind_of_model(self.method.preset, self.model.head, self.model.trainable)
        _require_method_fits(self)
        _require_clip_fits(self)
        _require_batch_fits(self)
        _require_devices_fit(self)
        _require_basis_fits(self)
        _require_kept_states_fit(self)
        _require_split_is_private(self)
        _require_metric_fits(self)
        _require_scores_fit(self)
        return self

    @property
    def metric(self) -> Metric:
        """Metric of a score: score.metric, or the usual one of the task."""
        usual: Metric = "accuracy" if self.task.target is None else "likelihood"
        return self.score.metric or self.task.metric or usual

    @property
    def uses_public_rows(self) -> bool:
        """Whether directions are learned from data.public, or from general text."""
        return self.method.direction in KINDS_IN_A_BASIS or self.model.lora.init == "activation"

    @property
    def num_training_units(self) -> float:
        """Declared number of examples (or users) that train, a public constant."""
        return round(self.data.num_units * (1.0 - (self.data.validation_share or 0.0)), 6)

    @property
    def num_scored_units(self) -> float | None:
        """Declared number of private examples (or users) to score on, a public constant; None if there are none."""
        if self.data.validation_share is not None:
            return round(self.data.num_units * self.data.validation_share, 6)
        return self.score.num_examples

    @property
    def sampling_prob(self) -> float:
        """Poisson rate q = B / declared number of examples (or users) that train."""
        return self.privacy.expected_batch_size / self.num_training_units


def with_declared_size(values: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration's mapping with a missing data.num_examples = shots × labels, if shots are given."""
    data, task = values.get("data"), values.get("task")
    if not isinstance(data, dict) or not isinstance(task, dict) or data.get("num_examples") is not None:
        return values
    labels, shots = task.get("label_words") or task.get("labels"), data.get("shots")
    if not isinstance(shots, int) or not isinstance(labels, (dict, list)):
        return values
    return {**values, "data": {**data, "num_examples": shots * len(labels)}}


def _require_shots_fit(data: DataConfig, task: TaskConfig) -> None:
    if data.shots is None:
        return
    other = "user_column" if data.user_column else "validation_share" if data.validation_share else None
    if other is not None:
        raise ValueError(f"data.shots and data.{other} divide the rows in different ways: leave one out")
    labels = len(task.label_names)
    if not labels:
        raise ValueError("data.shots chooses by label: it needs task.label_words or task.labels")
    if data.num_examples != data.shots * labels:
        raise ValueError(
            f"data.num_examples {data.num_examples} is not data.shots {data.shots} × {labels} labels = "
            f"{data.shots * labels}: leave it out, or declare that number"
        )


def _require_clip_fits(config: RunConfig) -> None:
    if isinstance(config.method.clip_norm, AutoClip) and config.privacy.noise != "gaussian":
        raise ValueError("method.clip_norm: auto needs Gaussian noise: give C, or set privacy.noise: gaussian")


def _require_method_fits(config: RunConfig) -> None:
    spec, resources = METHODS[config.method.name], config.resources
    given = config.privacy.epsilon is not None or config.privacy.noise_multiplier is not None
    if spec.private and not given:
        raise ValueError("a private method needs privacy.epsilon (σ is calibrated) or privacy.noise_multiplier")
    if not spec.private and given:
        raise ValueError(
            f"{spec.title} has no privacy (ε = ∞): remove privacy.epsilon and privacy.noise_multiplier, or choose a "
            "private method (such as dp-aggzo)"
        )
    if spec.order == "zeroth":
        return
    if config.privacy.noise == "laplace":
        raise ValueError("privacy.noise: laplace is for zeroth-order methods; gradients get gaussian noise")
    if config.model.master_dtype != "float32":
        raise ValueError(
            f"model.master_dtype {config.model.master_dtype} is for zeroth-order methods, whose updates are rounded to "
            "it; use float32 with gradients"
        )
    if resources.is_distributed:
        raise ValueError(
            f"resources.workers {resources.most_workers}: a first-order run takes one; its gradients are as large as "
            "the model, and not exchanged here"
        )


def _require_batch_fits(config: RunConfig) -> None:
    if config.sampling_prob <= 1:
        return
    declared = f"data.num_{config.data.unit}s {config.data.num_units}"
    if config.data.validation_share is not None:
        declared += f" less the validation share, {config.num_training_units:g}"
    raise ValueError(
        f"privacy.expected_batch_size {config.privacy.expected_batch_size:g} exceeds {declared}: the sampling "
        "probability would be above 1"
    )


def _require_devices_fit(config: RunConfig) -> None:
    resources = config.resources
    if resources.is_distributed and (config.performance.device == "cpu") != (resources.gpus_per_worker == 0):
        raise ValueError(
            f"performance.device {config.performance.device} and resources.gpus_per_worker "
            f"{resources.gpus_per_worker:g} disagree: workers on GPUs need device cuda and a share of one each"
        )


def _require_basis_fits(config: RunConfig) -> None:
    law, trainable, lora = config.method.direction, config.model.trainable, config.model.lora
    if lora.init == "activation" and trainable != "lora":
        raise ValueError(f"model.lora.init: activation needs model.trainable: lora, not {trainable}")
    if law == "activation" and trainable != "all-linear":
        raise ValueError(
            f"method.direction: activation moves linear layers: set model.trainable: all-linear, not {trainable} (for "
            "LoRA, model.lora: {init: activation, train: b})"
        )
    if law == "public-gradient" and config.data.public is None:
        raise ValueError("method.direction: public-gradient needs data.public: labelled public rows")
    if config.uses_public_rows and METHODS[config.method.name].order == "first":
        raise ValueError("model.lora.init: activation is for zeroth-order methods: use init: random with gradients")
    if config.uses_public_rows and config.method.mask is not None:
        raise ValueError("method.mask: directions from public rows already lie where these say: leave the mask out")
    if lora.init == "activation" and law in KINDS_IN_A_BASIS:
        raise ValueError(f"method.direction: {law} and model.lora.init: activation are two bases: choose one")
    if config.performance.evaluator == "vllm" and law in KINDS_IN_A_BASIS:
        raise ValueError(
            f"method.direction: {law} is for performance.evaluator: transformers; vllm has model.lora: "
            "{init: activation, train: b}"
        )
    if config.uses_public_rows and config.resources.is_distributed:
        raise ValueError("resources.workers: directions from public rows take a run without workers")


def _require_kept_states_fit(config: RunConfig) -> None:
    if not config.performance.kept_states_gb:
        return
    if config.model.layers == "all" or config.performance.evaluator != "transformers":
        raise ValueError(
            "performance.kept_states_gb keeps what layers that never move made of a row: set model.layers, and "
            "performance.evaluator: transformers"
        )
    if config.model.dtype == "float32":
        raise ValueError(
            "performance.kept_states_gb: in float32 a row's neighbours change its last bits, and kept states would "
            "differ from new ones: set model.dtype: bfloat16, or leave it out"
        )


def _require_split_is_private(config: RunConfig) -> None:
    if config.data.validation_share is None:
        return
    if config.score.on == "public":
        raise ValueError("data.validation_share takes private rows to score on: set score.on: private")
    if config.score.num_examples is not None:
        raise ValueError(
            "score.num_examples and data.validation_share both give the number of rows to score on: leave out the first"
        )
    if config.privacy.adjacency == "replace-one":
        raise ValueError(
            "data.validation_share needs privacy.adjacency: add-or-remove-one. A record in another's place may fall on "
            "the other side of the split, and then both sides change"
        )


def _require_metric_fits(config: RunConfig) -> None:
    metric, num_labels = config.metric, len(config.task.label_names)
    if config.task.target is not None and metric not in ("loss", *_OF_TARGETS):
        raise ValueError(
            f"score.metric {metric} counts right answers, and a target text has none; use loss or {_OF_TARGETS[0]}"
        )
    if config.task.target is None and metric in _OF_TARGETS:
        raise ValueError(f"score.metric {metric} is that of a target text (task.target); use accuracy or loss")
    if metric in CONFUSION_METRICS and num_labels < 2:
        raise ValueError(f"score.metric {metric} needs at least two labels in task.label_words or task.labels")
    if metric != "loss" and config.score.loss_bound is not None:
        raise ValueError(f"score.loss_bound belongs to score.metric: loss, not {metric}")


def _require_scores_fit(config: RunConfig) -> None:
    spec = METHODS[config.method.name]
    if config.score.on == "public":
        if config.privacy.spare_scores:
            raise ValueError("privacy.spare_scores buys nothing with score.on: public, whose scores cost no token")
        return
    if not spec.private:
        raise ValueError(f"score.on: private buys nothing under {spec.title}: use score.on: public")
    if config.metric in _OF_TARGETS:
        raise ValueError(
            f"score.on: private has no {config.metric}: use score.metric: loss with score.loss_bound, or score on "
            "public data"
        )
    if config.metric == "loss" and config.score.loss_bound is None:
        raise ValueError(
            "score.metric: loss on private examples needs score.loss_bound, the most that one example can add in nats"
        )
    if config.num_scored_units is None or not config.data.has_validation:
        raise ValueError(
            "score.on: private needs data.validation and score.num_examples, its declared size (or "
            "data.validation_share)"
        )
