"""The configuration of a sweep, and how files become configurations.

A sweep's file is a run's file with a `search` section more: `dpzo train` reads the same file and leaves that section
out. Paths (data.train, data.validation, model.path, storage_path) are relative to the working directory, not to the
file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError, model_validator

from orchestrator.config_errors import ConfigError, explain, reasons
from orchestrator.config_source import override, read
from search_spaces.config import SearchConfig
from search_spaces.problems import Problem, refuse
from search_spaces.space import refused_ends
from trainers.config import RunConfig

__all__ = ["ConfigError", "SweepConfig", "load_run", "load_sweep", "resolved_json"]

Config = TypeVar("Config", bound=RunConfig)


class SweepConfig(RunConfig):
    """Everything about one sweep: the run that all trials share, and what varies between them.

    privacy.epsilon and privacy.delta are the promise of the whole sweep. method.num_steps and score.times are those of
    one trial, so the caps are num_trials times as many; privacy.spare_steps is added to the cap once, for all trials
    together. Settings that search.space names are drawn for each trial; their value under `method` serves `dpzo train`.
    """

    search: SearchConfig = Field(description="How trials are chosen: num_trials and space, and how to sample it.")

    @model_validator(mode="after")
    def _can_search(self) -> SweepConfig:
        problems: list[Problem] = []
        if not self.data.has_validation:
            problems.append((("data", "validation"), "missing. A sweep compares its trials by their score on it."))
        if self.search.early_stopping == "asha" and self.score.times < 2:
            problems.append(
                (
                    ("search", "early_stopping"),
                    "asha compares scores along the way: set score.times to 2 or more, got 1",
                )
            )
        for name, end, error in refused_ends(self.search.space, self):
            problems.append((("search", "space", name), f"{end!r} cannot be tried: {'; '.join(reasons(error))}"))
        if problems:
            refuse("SweepConfig", problems)
        return self


def load_run(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Load the configuration of one run from a YAML or JSON file or a mapping, with 'key=value' overrides.

    A `search` section is left out, so that one file serves a sweep and a single run; an override of it is refused.

    Raises:
        ConfigError: one line for each problem.
    """
    useless = [text for text in overrides if text.partition("=")[0].strip().split(".")[0] == "search"]
    if useless:
        raise ConfigError(*(f"{text}: one run has no search; leave it out, or start a sweep" for text in useless))
    found = read(source)
    found.pop("search", None)
    return _validated(RunConfig, override(found, overrides, RunConfig))


def load_sweep(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> SweepConfig:
    """Load the configuration of a sweep from a YAML or JSON file or a mapping, with 'key=value' overrides.

    Raises:
        ConfigError: one line for each problem.
    """
    return _validated(SweepConfig, override(read(source), overrides, SweepConfig))


def resolved_json(config: RunConfig) -> str:
    """Return every setting, defaults included, as JSON; loading it gives an equal configuration."""
    return config.model_dump_json(indent=2) + "\n"


def _validated(model: type[Config], mapping: Mapping[str, Any]) -> Config:
    try:
        return model.model_validate(mapping)
    except ValidationError as error:
        raise ConfigError(*explain(error, model)) from error
