"""`dpzo compare`: finished runs and sweeps of one task, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from orchestrator.api.views.report.facts import Facts, facts_of
from orchestrator.api.views.tables import plain_table, score_text, short
from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.privacy.display import epsilon_text, source_name
from orchestrator.storage.existing import find_existing
from trainers.methods.catalogue import METHODS

_SAME = ("metric", "data.validation", "data.validation_share", "score.on")


def compared(places: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each run; ValueError if one has not finished, or their scores do not compare."""
    if len(places) < 2:
        raise ValueError(f"expected two or more runs to compare, got {len(places)}; `dpzo report` shows one")
    found = [facts_of(find_existing(place)) for place in places]
    first, marks = found[0], [_scored_on(facts.config) for facts in found]
    for facts, mark in zip(found, marks, strict=True):
        different = [name for name, one, other in zip(_SAME, marks[0], mark, strict=True) if one != other]
        if different:
            raise ValueError(
                f"{facts.existing.storage.name} and {first.existing.storage.name} are of different tasks: "
                f"{', '.join(different)} differ, so their scores do not compare. Compare runs with the same scores"
            )
    return [_row(facts) for facts in found]


def comparison_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return one column a run, one row a fact."""
    table = plain_table("", *(row["name"] for row in rows))
    for label in rows[0]:
        if label != "name":
            table.add_row(label.replace("_", " "), *(str(row[label]) for row in rows))
    return table


def _scored_on(config: LedgeredConfig) -> tuple[Any, ...]:
    """Return what must be equal for scores to compare; the names of files, since folders move."""
    validation = config.data.validation
    name = validation if validation is None or validation.startswith("hub:") else Path(validation).name
    return config.metric, name, config.data.validation_share, config.score.on


def _row(facts: Facts) -> dict[str, Any]:
    config, statement, best = facts.config, facts.statement, facts.best
    epsilon = float("inf") if statement.epsilon_here is None else statement.epsilon_here
    method = config.method
    return {
        "name": facts.existing.storage.name,
        "method": METHODS[method.name].title,
        "model": source_name(config.model.path),
        "score": "none" if facts.score is None else score_text(facts.score, config.metric),
        "epsilon": epsilon_text(epsilon),
        "delta": "" if statement.delta_here is None else epsilon_text(statement.delta_here),
        "unit": f"one {statement.unit}",
        "trials": _trials(facts),
        "directions_K": method.num_directions,
        "steps_T": method.num_steps,
        "batch_B": f"{config.privacy.expected_batch_size:g}",
        "chosen": ", ".join(f"{name.removeprefix('method.')} {short(value)}" for name, value in best.values.items())
        if best
        else "",
    }


def _trials(facts: Facts) -> str:
    if not isinstance(facts.config, SweepConfig):
        return "1, not searched"
    return str(facts.config.search.num_trials) if facts.existing.storage.releases_trials else "secret"
