"""What a report says, from released values alone: configuration, results, statement and released release logs."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.api.views.tables import score_text, short
from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.privacy.display import epsilon_text
from orchestrator.privacy.statement.statement import PrivacyStatement
from orchestrator.storage.existing import Existing
from orchestrator.storage.results import StoredRun, StoredSweep, stored_result
from orchestrator.storage.trials import TrialRow
from trainers.mechanism.release_log import LOG_NAME
from trainers.methods.catalogue import METHODS

Result = StoredRun | StoredSweep


@dataclass(frozen=True)
class Facts:
    """A finished run or sweep."""

    existing: Existing
    result: Result

    @property
    def config(self) -> LedgeredConfig:
        return self.existing.config

    @property
    def statement(self) -> PrivacyStatement:
        return self.result.statement

    @property
    def best(self) -> TrialRow | None:
        return self.result.best if isinstance(self.result, StoredSweep) else None

    @property
    def trials(self) -> Sequence[TrialRow]:
        """The released trials of a sweep; none of a run."""
        return self.result.trials if isinstance(self.result, StoredSweep) else ()

    @property
    def score(self) -> float | None:
        """The score of what came out."""
        if isinstance(self.result, StoredRun):
            return self.result.score
        if self.result.private_score is not None:
            return self.result.private_score
        return self.best.score if self.best else None

    @property
    def log(self) -> Path:
        """The release log of what came out."""
        storage, config = self.existing.storage, self.config
        of_trial = isinstance(config, SweepConfig) and storage.releases_trials and config.search.tune_on is None
        return (storage.trial_folder(self.best.number) if of_trial and self.best else storage.folder) / LOG_NAME


def facts_of(existing: Existing) -> Facts:
    """Return what is known of a finished run or sweep; ValueError if it has not finished."""
    result = stored_result(existing.storage)
    if result is None:
        place, state = existing.storage.folder, existing.state()
        how = f"`dpzo status {place}` shows how far it is" if state == "running" else f"`dpzo resume {place}` goes on"
        raise ValueError(f"{place}: this {existing.kind} is {state}, and a report is of a finished one; {how}")
    return Facts(existing, result)


def totals(statement: PrivacyStatement) -> dict[str, str]:
    """Return the numbers of the first section."""
    total, delta = statement.epsilon_total, statement.delta_total
    return {
        "total": epsilon_text(math.inf if total is None else total),
        "delta": epsilon_text(delta or 0.0),
        "here": epsilon_text(math.inf if statement.epsilon_here is None else statement.epsilon_here),
        "winner": "" if statement.epsilon_per_trial is None else epsilon_text(statement.epsilon_per_trial),
        "factor": f"{math.exp(min(total, 700.0)):,.3g}" if total is not None else "",
    }


def outcome(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield label and text of what came out."""
    config, result, best = facts.config, facts.result, facts.best
    if facts.score is not None:
        yield "score", score_text(facts.score, config.metric) + f" ({config.metric})"
    if result.zero_shot is not None:
        yield "before training", score_text(result.zero_shot, config.metric)
    if best is not None and facts.existing.storage.releases_trials:
        yield "best trial", f"number {best.number}; there were {len(facts.trials)}"
    if best is not None:
        yield "its settings", ", ".join(f"{name.removeprefix('method.')} {short(v)}" for name, v in best.values.items())
    yield "method", f"{METHODS[config.method.name].title}, {METHODS[config.method.name].source}"
    yield "model", "not exported: no trial finished" if result.model_folder is None else result.model_folder.name + "/"


def tokens(statement: PrivacyStatement) -> list[dict[str, Any]]:
    """Return what was reserved, drawn and left, by kind of token."""
    drawn = statement.tokens_drawn or {}
    return [
        {"kind": kind.replace("_", " "), "cap": cap, "drawn": drawn.get(kind), "left": cap - drawn.get(kind, cap)}
        for kind, cap in statement.caps.items()
    ]


def trial_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return a row for each released trial."""
    return [
        {
            "number": row.number,
            "values": [short(row.values[name]) if name in row.values else "" for name in searched(facts)],
            "steps": f"{row.steps}/{row.num_steps or facts.config.method.num_steps}",
            "score": "" if row.score is None else score_text(row.score, facts.config.metric),
            "epsilon": "" if row.epsilon is None else epsilon_text(row.epsilon, 3),
            "state": row.state,
            "is_best": facts.best is not None and row.number == facts.best.number,
        }
        for row in facts.trials
    ]


def searched(facts: Facts) -> list[str]:
    """Return the names of the searched settings that a trial has."""
    return sorted({name for row in facts.trials for name in row.values})


def configuration_yaml(existing: Existing) -> str:
    """Return the resolved configuration as YAML, without paths above the files: those tell who ran it."""
    settings: Mapping[str, Any] = json.loads(existing.config.model_dump_json())
    return yaml.safe_dump(_without_folders(settings), sort_keys=False, allow_unicode=True)


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value
