"""The configuration of one run, as frozen models that need neither torch nor ray to be read: one file a section.

`performance` can change neither the mechanism nor its event; everything that can stands in the other sections.
"""

from trainers.config.data import DataConfig
from trainers.config.method import MethodConfig
from trainers.config.model import Head, LoraConfig, ModelConfig
from trainers.config.performance import PerformanceConfig, VllmConfig
from trainers.config.privacy import PrivacyConfig
from trainers.config.run import RunConfig
from trainers.config.score import ScoreConfig
from trainers.config.task import Metric, TaskConfig

__all__ = [
    "DataConfig",
    "Head",
    "LoraConfig",
    "MethodConfig",
    "Metric",
    "ModelConfig",
    "PerformanceConfig",
    "PrivacyConfig",
    "RunConfig",
    "ScoreConfig",
    "TaskConfig",
    "VllmConfig",
]
