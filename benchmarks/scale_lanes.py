"""How soon a lane of two workers takes its next trial, compared with trials that each start Ray Train.

`scale.py` prints this table last. Both ways use the same small model and data, and two workers on this machine. The
sweep holds no code for the timing: a trial ends with the last line of its release log, and the next trial starts when
its log appears.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from measuring import result_table
from rich.table import Table

from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.trial import SweepContext, Trial
from tests.support.project import write_project
from trainers.mechanism.release_log import LOG_NAME
from trainers.workers.ranks import Ranks


def project(folder: Path, name: str, num_trials: int) -> dict[str, Any]:
    """Write a small model and data, and return the configuration of a sweep of trials on two workers."""
    config = write_project(folder)
    config["search"] |= {"num_trials": num_trials, "concurrent_trials": 1}
    return config | {"name": name, "resources": {"workers": 2}}


def warm_starts(folder: Path, num_trials: int) -> list[float]:
    """Return the seconds from each trial's last release to the next one's log, of a sweep on one lane."""
    plan = make_plan(load_sweep(project(folder, "lanes", num_trials)))
    run_sweep(plan)
    trials = storage_of(plan.config).trials_folder
    folders = [trials / f"{number:03d}" for number in range(num_trials)]
    return [later.stat().st_ctime - (earlier / LOG_NAME).stat().st_mtime for earlier, later in pairwise(folders)]


@dataclass(frozen=True)
class OneTrial:
    """The task of workers that take one trial only; it returns the time at which the trial's log was there."""

    context: SweepContext
    values: dict[str, Any]

    def __call__(self, ranks: Ranks, mailbox: Any) -> float:
        trial = Trial(self.context, self.context.workspace(ranks), self.values, ranks)
        opened = time.time()
        trial.report()
        return opened


def naive_starts(folder: Path, num_trials: int) -> list[float]:
    """Return the seconds that trials of Ray Tune, which start Ray Train each, take until their log is there."""
    from ray import tune

    from orchestrator.cluster.session import ray_session

    plan = make_plan(load_sweep(project(folder, "naive", num_trials)))
    config = with_absolute_paths(plan.config)
    storage = storage_of(config)
    reserve_plan(plan, storage)
    context = SweepContext(plan, storage, threads=1)

    def trainable(values: dict[str, Any]) -> dict[str, float]:
        from trainers.workers.mailbox import Mailbox
        from trainers.workers.ray_worker import run_workers

        asked = time.time()
        opened = run_workers(
            OneTrial(context, values), config, "naive", storage.operator_folder / "train", Mailbox.remote()
        )
        return {"seconds": opened - asked}

    space = {"number": tune.grid_search(list(range(num_trials))), "method.learning_rate": 1e-3}
    with ray_session(2):
        results = tune.Tuner(
            tune.with_resources(trainable, {"node:__internal_head__": 0.001}),
            param_space=space,
            tune_config=tune.TuneConfig(max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=str(storage.operator_folder), verbose=0),
        ).fit()
    return [result.metrics["seconds"] for result in results if result.metrics]


def lanes_table(num_trials: int = 6, naive_trials: int = 2) -> Table:
    """Measure both ways to start a trial."""
    table = result_table("From one trial's last release to the next one's log, s (two workers)", "", "median", "all")
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in (
            ("warm lane", warm_starts(Path(folder), num_trials)),
            ("Ray Train in each trial", naive_starts(Path(folder), naive_trials)),
        ):
            table.add_row(name, f"{statistics.median(seconds):.2f}", " ".join(f"{one:.2f}" for one in seconds))
    return table
