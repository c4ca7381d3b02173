"""Everything about one run: the sections, and what must hold between them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from trainers.agreement import require_agreement
from trainers.config.data import DataConfig
from trainers.config.method import MethodConfig
from trainers.config.model import ModelConfig
from trainers.config.performance import PerformanceConfig
from trainers.config.privacy import PrivacyConfig
from trainers.config.resources import ResourcesConfig
from trainers.config.score import ScoreConfig
from trainers.config.task import Metric, TaskConfig
from trainers.methods.catalogue import METHODS
from trainers.methods.presets import require_kind_of_model
from trainers.sections import Section
from trainers.tasks.catalogue import filled_in
from trainers.tasks.shots import refuse_shots, with_declared_size


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
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)

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
