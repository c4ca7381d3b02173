"""Histories of runs that several ranks take: data parallel, direction parallel, both, or as many as there are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.config.models import LedgeredConfig
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.sweep import single_run
from tests.simulation.group import Group, replace_workers
from tests.simulation.history import History, values_of
from tests.simulation.machine import FAULTS

SHAPES: tuple[dict[str, Any], ...] = (
    {"workers": 2},
    {"workers": 3},
    {"workers": 2, "parallel": "directions"},
    {"workers": 4, "direction_workers": 2},
    {"workers": 2, "max_workers": 4},
    {"workers": 1, "max_workers": 3, "parallel": "directions"},
)


class WorkerHistory(History):
    """A history of runs on workers. A rank is lost at any operation; the driver lives on."""

    FAULTS = (*FAULTS, "lost", "lost", "lost")
    REACH = (40, 90, 180)

    def plan(self, name: str) -> Plan:
        return _plan_of(self.root, name, self.seed % len(SHAPES))

    def _install(self, setattr_: Callable[..., None]) -> None:
        super()._install(setattr_)
        setattr_(single_run, "ray_session", lambda *_: contextlib.nullcontext())
        replace_workers(self.machine, self._on_loss, setattr_)

    def _on_loss(self, config: Any, group: Group, outcomes: list[Any]) -> None:
        """Hear that ranks ended before the others; each restart may cost a token."""
        self.disk.end_process()
        self.num_ended[config.name] += 1
        self.witness.models.clear()
        self.outcomes.append(f"{config.name}: ranks ended: {outcomes}")
        if group.is_stuck:
            self.witness.problems.append(f"{config.name}: the ranks wait for each other")


@cache
def _plan_of(root: Path, name: str, shape: int) -> Plan:
    resources = SHAPES[shape] | {"check_steps": 2}
    return make_plan(LedgeredConfig.model_validate(values_of(root, name) | {"resources": resources}))
