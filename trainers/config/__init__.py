"""The configuration of one run, as frozen models that load neither torch nor Ray: one file a section."""

from trainers.config.data import DataConfig
from trainers.config.method import MethodConfig
from trainers.config.model import Head, Layers, LoraConfig, ModelConfig
from trainers.config.performance import EvaluatorName, PerformanceConfig, VllmConfig
from trainers.config.privacy import PrivacyConfig
from trainers.config.resources import ResourcesConfig
from trainers.config.run import RunConfig
from trainers.config.score import ScoreConfig
from trainers.config.task import Metric, TaskConfig

__all__ = [
    "DataConfig",
    "EvaluatorName",
    "Head",
    "Layers",
    "LoraConfig",
    "MethodConfig",
    "Metric",
    "ModelConfig",
    "PerformanceConfig",
    "PrivacyConfig",
    "ResourcesConfig",
    "RunConfig",
    "ScoreConfig",
    "TaskConfig",
    "VllmConfig",
]
