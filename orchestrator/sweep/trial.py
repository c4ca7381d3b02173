"""What all trials of a sweep share, and one trial that trains from score to score."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from orchestrator.budget.accounted_run import open_accounted_run
from orchestrator.budget.release_logs import holder_of
from orchestrator.cluster.nodes import DriverMark, require_as_driver
from orchestrator.config.models import SweepConfig
from orchestrator.planning.facts import finite_or_none
from orchestrator.planning.plan import Plan
from orchestrator.planning.work_estimate import passes_of_a_step
from orchestrator.privacy.ledger.drawer import retry_while_unreachable
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Terms
from orchestrator.storage.log_copy import log_copy
from orchestrator.storage.paths import Storage
from orchestrator.storage.progress import ProgressFile
from orchestrator.sweep.public_tuning import PublicRows, open_public_run
from orchestrator.sweep.ray_metrics import show_score
from search_spaces.config import MENU
from trainers.config import RunConfig
from trainers.run.base_run import BaseRun
from trainers.run.context import Workspace
from trainers.run.divergence import Diverged
from trainers.workers.ranks import Ranks
from trainers.workspace import open_workspace

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepContext:
    """What every trial of a sweep shares; it is sent to the lanes.

    Args:
        plan: of the sweep.
        storage: where logs and ledger lie.
        threads: CPU threads of one trial, or of one of its workers.
        tune_on: public rows to train on instead of the private ones, at no cost.
        mark: what a node must have in common with the driver, once the driver holds the storage.
    """

    plan: Plan
    storage: Storage
    threads: int
    tune_on: PublicRows | None = None
    mark: DriverMark | None = None

    @property
    def config(self) -> SweepConfig:
        """The configuration of the sweep."""
        assert isinstance(self.plan.config, SweepConfig)
        return self.plan.config

    @property
    def lane_config(self) -> RunConfig:
        """The configuration that a lane loads: with its threads, and with the public rows where there are some."""
        performance = self.config.performance.model_copy(update={"num_threads": self.threads})
        config = self.config.model_copy(update={"performance": performance})
        return config if self.tune_on is None else self.tune_on.replace_training_rows(config)

    def require_fit_node(self) -> None:
        """Refuse to work on a node that joined later and has another storage folder or other code: an UnfitNode."""
        if self.mark is not None:
            require_as_driver(self.storage, self.mark)

    def workspace(self, ranks: Ranks | None = None) -> Workspace:
        """Load the data and the model that all trials of a lane share."""
        train = "data.train" if self.tune_on is None else "search.tune_on"
        return open_keyed_workspace(self.lane_config, self.storage, ranks or Ranks(), create_ledger=False, train=train)


def open_keyed_workspace(
    config: RunConfig, storage: Storage, ranks: Ranks, *, create_ledger: bool, train: str = "data.train"
) -> Workspace:
    """Load data and model; rank 0 asks the ledger for its key, and for the rows that are charged if any are yet.

    Args:
        config: of the run, with the threads of this process.
        storage: names the ledger.
        ranks: that load it together; the others have the key only where data.validation_share splits the rows. A run
            refuses ranks that have not read the same.
        create_ledger: whether the ledger may be missing; a new one has a new key, and so another split.
        train: place of the training rows in the configuration that was reserved.
    """
    key, charged = None, {}
    if ranks.is_rank_0:

        def of_ledger() -> tuple[bytes, Terms | None]:
            ledger = Ledger(storage.database_url, create=create_ledger)
            return ledger.key(), ledger.terms_of(storage.name)

        key, terms = retry_while_unreachable(of_ledger, storage.patience_s)
        charged = dict(terms.sources or {}) if terms else {}
        if train in charged:
            charged["data.train"] = charged[train]
    if config.data.validation_share is not None:
        key = bytes.fromhex(ranks.broadcast(lambda: key.hex() if key else ""))
    return open_workspace(config, key=key, charged=charged)


def on_step(run: BaseRun, storage: Storage, holder: str) -> Callable[[int], None]:
    """Return what a run calls after each step: the progress file on rank 0, nothing where trials stay secret."""
    if not storage.releases_trials or not run.ranks.is_rank_0:
        return lambda steps: None
    return ProgressFile(storage.progress_folder, holder, run.config.method.num_steps, run.steps_released)


class Trial:
    """One trial that trains from score to score.

    Where a trial has several runs (`search.seeds`), the first one gives the scores on the way, and its model is the
    trial's. The others follow when it has ended, and the last score is the mean of all that took as many steps.

    Args:
        context: of the sweep.
        workspace: data and model.
        values: chosen by the search, with the trial's `number`.
        ranks: that take the steps together; one process when None.
    """

    def __init__(
        self, context: SweepContext, workspace: Workspace, values: dict[str, Any], ranks: Ranks | None = None
    ) -> None:
        values = dict(values)
        self._context, self._number = context, values.pop("number")
        self._open = partial(self._open_run, workspace, values, ranks)
        self.run = self._open(0)
        self._points = self.run.score_points()
        self._num_segments = self._charged_to_others = 0
        self._why: str | None = None
        self._holder = holder_of(self._number)
        self._segments = self.run.segments(on_step(self.run, context.storage, self._holder))

    def report(self) -> dict[str, Any]:
        """Train to the next score and return it for Tune; `finished` marks the last one. Only rank 0 has a score."""
        steps, score, finished = self._segment()
        self._num_segments += 1
        if finished:
            self.close()  # the process that exports the best model opens the log
            if steps == self._points[-1]:
                score = self._mean_over_seeds(score)
        if not self.run.ranks.is_rank_0:
            return {}
        epsilon = finite_or_none(self._epsilon())
        show_score(self._context.storage, self._holder, steps, score, epsilon)
        return {
            "score": math.nan if score is None else score,
            "steps": steps,
            "steps_charged": self.run.steps_charged + self._charged_to_others,
            "num_steps": self._points[-1],
            "forward_passes": passes_of_a_step(self.run.config) * (self.run.steps_charged + self._charged_to_others),
            "folder": str(self.run.log.path.parent),
            "epsilon": epsilon,
            "sweep_epsilon": finite_or_none(self._context.plan.epsilon),
            "finished": finished,
            "done": finished,
            "why": self._why,
        }

    def close(self) -> None:
        """Close the log."""
        self.run.close()

    def _open_run(self, workspace: Workspace, values: dict[str, Any], ranks: Ranks | None, seed: int) -> BaseRun:
        """Open one run of the trial with tokens from the ledger, or without any on public rows."""
        plan, storage, tune_on = self._context.plan, self._context.storage, self._context.tune_on
        trial, folder = with_seed(plan.trial(values), seed), storage.trial_folder(self._number, seed)
        if tune_on is not None:
            return open_public_run(
                workspace, tune_on.replace_training_rows(trial), folder, ranks, log_copy(storage, folder)
            )
        holder = holder_of(self._number, seed)
        return open_accounted_run(workspace, plan, trial, storage, holder, folder, values.get(MENU), ranks)

    def _mean_over_seeds(self, first: float | None) -> float | None:
        """Take the other runs of the trial, and return the mean score; None where one diverged.

        A run that ends short for want of tokens is no run of these settings: it is left out, and no other begins.
        """
        scores = [first]
        try:
            for seed in range(1, self._context.plan.seeds):
                steps, score = self._last_score(seed)
                if steps < self._points[-1]:
                    break
                scores.append(score)
        except Diverged as divergence:
            self._note(divergence)
            return None
        known = [score for score in scores if score is not None]  # on rank 0, and while score tokens are left
        return fmean(known) if known else None

    def _last_score(self, seed: int) -> tuple[int, float | None]:
        """Take a whole run, and return its steps and its last score."""
        run = self._open(seed)
        try:
            *_, last = run.segments(on_step(run, self._context.storage, holder_of(self._number, seed)))
            return last
        finally:
            self._charged_to_others += run.steps_charged
            run.close()

    def _note(self, divergence: Diverged) -> None:
        LOGGER.warning("%s", divergence)
        self._why = str(divergence)

    def _segment(self) -> tuple[int, float | None, bool]:
        """Train to the next score; a trial that diverged ends there without a score, and is not started again."""
        try:
            steps, score = next(self._segments)
        except Diverged as divergence:
            self._note(divergence)
            return self.run.steps_taken, None, True
        return steps, score, steps == self._points[-1] or steps < self._points[self._num_segments]

    def _epsilon(self) -> float:
        """Return epsilon of this trial's tokens so far; 0 on public rows."""
        if self._context.tune_on is not None:
            return 0.0
        return self._context.plan.epsilon_after(self.run.config, self.run.steps_charged + self._charged_to_others)


def with_seed(trial: RunConfig, seed: int) -> RunConfig:
    """Return a run of a trial: each has directions of its own, and batches are never the same."""
    method = trial.method.model_copy(update={"seed": trial.method.seed + seed})
    return trial.model_copy(update={"method": method}) if seed else trial
