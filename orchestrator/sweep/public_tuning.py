"""Trials on public or synthetic examples, which cost no privacy, before one private run with the best settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainers.config import RunConfig
from trainers.config.data import DataConfig
from trainers.config.mechanism import mechanism_plan
from trainers.data.sources import same_source, stream_records
from trainers.mechanism.release_log import LogCopy
from trainers.run.base_run import BaseRun
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.workers.ranks import Ranks
from trainers.workspace import open_run

Config = TypeVar("Config", bound=RunConfig)


class FreeTokens:
    """Tokens of a run on public rows, where nothing is counted."""

    def draw(self, step: int) -> None:
        """Allow the step."""


@dataclass(frozen=True)
class PublicRows:
    """Rows that were declared public, used instead of the private ones."""

    source: str
    num_rows: int

    @classmethod
    def count(cls, source: str, data: DataConfig) -> PublicRows:
        """Count the rows of a public source.

        Args:
            source: as `search.tune_on` names it.
            data: the private and the validation rows, which must be other sources; a reservation compares the rows.

        Raises:
            ValueError: the source cannot be read, is empty, or is one of those.
        """
        if data.validation is not None and same_source(data.validation, source, "search.tune_on"):
            raise ValueError(
                "search.tune_on is data.validation: trials would be scored on what they train on. Divide it."
            )
        if same_source(data.train, source, "search.tune_on"):
            raise ValueError(
                "search.tune_on is data.train itself, and trials on public rows are not charged. Give public or "
                "synthetic rows, or leave it out: then every trial is counted."
            )
        num_rows = sum(1 for _ in stream_records(source, "search.tune_on"))
        if num_rows == 0:
            raise ValueError(f"search.tune_on: {source} has no rows")
        return cls(source, num_rows)

    def replace_training_rows(self, config: Config) -> Config:
        """Return a configuration that trains on these rows with its own batch size and noise."""
        data = config.data.model_copy(
            update={
                "train": self.source,
                "num_examples": self.num_rows,
                "user_column": None,
                "max_examples_per_user": None,
                "num_users": None,
                "shots": None,
            }
        )
        batch_size = min(config.privacy.expected_batch_size, float(self.num_rows))
        privacy = config.privacy.model_copy(update={"expected_batch_size": batch_size})
        return config.model_copy(update={"data": data, "privacy": privacy})


def open_public_run(
    workspace: Workspace, config: RunConfig, folder: Path, ranks: Ranks | None = None, copy: LogCopy | None = None
) -> BaseRun:
    """Open a trial on public rows, with the same method and noise and without tokens from the ledger."""
    free = FreeTokens()
    mechanism = mechanism_plan(config, config.privacy.noise_multiplier)
    return open_run(RunContext(workspace, config, mechanism, Tokens(free, free), folder, ranks or Ranks(), copy))
