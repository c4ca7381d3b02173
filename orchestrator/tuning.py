"""Rule 6: trials on public or synthetic examples, which cost nothing, before one private run with the best settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainers.config import RunConfig
from trainers.open_run import open_run
from trainers.run import BaseRun, Tokens, Workspace, mechanism_plan
from trainers.tasks.fingerprint import fingerprint
from trainers.tasks.sources import stream_records
from trainers.workspace import same_source

Config = TypeVar("Config", bound=RunConfig)


class FreeTokens:
    """Tokens of a run on public rows: there is nothing to count."""

    def draw(self, step: int) -> None:
        """Let the step pass."""


@dataclass(frozen=True)
class PublicRows:
    """Rows that were declared public, in place of the private ones."""

    source: str
    count: int

    def put_into(self, config: Config) -> Config:
        """Return a configuration that trains on these rows with its own batch size and noise."""
        data = config.data.model_copy(
            update={
                "train": self.source,
                "num_examples": self.count,
                "user_column": None,
                "max_examples_per_user": None,
                "num_users": None,
            }
        )
        batch_size = min(config.privacy.expected_batch_size, float(self.count))
        privacy = config.privacy.model_copy(update={"expected_batch_size": batch_size})
        return config.model_copy(update={"data": data, "privacy": privacy})


def public_rows(source: str) -> PublicRows:
    """Count the rows of a public source.

    Raises:
        ValueError: it cannot be read, or is empty.
    """
    count = sum(1 for _ in stream_records(source, "search.tune_on"))
    if count == 0:
        raise ValueError(f"search.tune_on: {source} has no rows")
    return PublicRows(source, count)


def require_public(rows: PublicRows, config: RunConfig, key: bytes) -> None:
    """Refuse to tune for nothing on the private rows themselves, and on those that trials are scored on.

    Args:
        rows: what was declared public.
        config: of the sweep.
        key: of the ledger, for the fingerprints.

    Raises:
        ValueError: the rows are those of data.train, whatever the file's name, or of data.validation.
    """
    if same_source(rows.source, config.data.train) or fingerprint(rows.source, key) == fingerprint(
        config.data.train, key
    ):
        raise ValueError(
            "search.tune_on holds the private rows of data.train themselves, and trials on it are not charged. Give "
            "public or synthetic rows, or leave it out."
        )
    if same_source(rows.source, config.data.validation):
        raise ValueError("search.tune_on is data.validation: trials would be scored on what they train on. Divide it.")


def open_public_run(workspace: Workspace, config: RunConfig, folder: Path) -> BaseRun:
    """Open a trial on public rows: the same method and noise, and no ledger."""
    free = FreeTokens()
    return open_run(
        workspace, config, mechanism_plan(config, config.privacy.noise_multiplier), Tokens(free, free), folder
    )
