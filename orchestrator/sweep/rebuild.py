"""Rebuilds a trial's model from its release log, and exports it."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.budget.standing_noise import SAME_SIGMA
from orchestrator.planning.plan import Plan
from orchestrator.storage.bucket import publish
from orchestrator.storage.files import sync_files, write_whole
from orchestrator.storage.log_copy import fetch_logs
from orchestrator.storage.paths import Storage
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.exported_model import export_and_compare
from orchestrator.sweep.post_processing import PostProcessing, first_iterate
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.log_reading import recorded_tokens, uninterrupted
from trainers.mechanism.release_log import BASIS_FILES, LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.methods.catalogue import METHODS
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.workspace import open_run, open_workspace

if TYPE_CHECKING:
    from trainers.evaluators.late_iterates import LateIterates


def publish_best(plan: Plan, storage: Storage, best: TrialRow) -> None:
    """Export the best trial's model into the run's folder; where trials stay secret, also its releases.

    Raises:
        ValueError: the log holds fewer steps than the trial has taken.
    """
    config, what = plan.trial(best.values), f"trial {best.number}"
    fetch_logs(storage)
    log = rebuild_from_log(config, storage.trial_folder(best.number), best.steps, storage.model_folder, what)
    if not storage.releases_trials and METHODS[config.method.name].order == "zeroth":  # others log only digests
        write_whole(storage.folder / LOG_NAME, uninterrupted(log))
        for basis in log.parent.glob(BASIS_FILES):
            shutil.copyfile(basis, storage.folder / basis.name)
    publish(storage.url, storage.folder, storage.model_folder.name)  # this node may not be the driver's


def rebuild_from_log(
    config: RunConfig,
    log_folder: Path,
    steps: int,
    to: Path,
    what: str,
    loaded: RunConfig | None = None,
    change: PostProcessing | None = None,
) -> Path:
    """Replay a release log on the base model, export the model to `to`, and return the path of the log.

    Args:
        config: of the run that wrote the log.
        log_folder: folder of the log.
        steps: number of steps that the log must hold.
        to: folder for the model.
        what: name of the run, for the error.
        loaded: the same configuration, with the places where the inputs lie now; `config` when None.
        change: what is done to the weights afterwards.

    Raises:
        ValueError: the log is of another run, or holds fewer than `steps` steps.
    """
    loaded, shares = loaded or config, () if change is None else (change.last_percent,)
    with closing(open_workspace(loaded, private=False)) as opened:
        late = replay_log(config, opened, log_folder, steps, what, shares)
        if change is not None:
            late[change.last_percent].place(change.scale)
        export_and_compare(loaded, Workspace([], [], opened.evaluator, public=opened.public), to)
        sync_files(to)
    return log_folder / LOG_NAME


def loaded_from(config: RunConfig, base: str | None) -> RunConfig:
    """Return the configuration that loads the base model from where it lies now; the log names it as it was then."""
    if base is None:
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"path": base})})


def by_transformers(config: RunConfig) -> RunConfig:
    """Return the configuration with transformers in the place of an engine; on the CPU, as one may hold the GPU."""
    if config.performance.evaluator == "transformers":
        return config
    performance = config.performance.model_copy(update={"evaluator": "transformers", "device": "cpu"})
    return config.model_copy(update={"performance": performance})


def replay_log(
    config: RunConfig,
    opened: Workspace,
    log_folder: Path,
    steps: int,
    what: str,
    shares: Collection[int | None] = (),
) -> dict[int | None, LateIterates]:
    """Bring the evaluator of a workspace to the end of a log.

    Return the iterates over each of the last `shares` of the steps, in percent; None is the last step alone.
    ValueError as for `rebuild_from_log`, and for the shares of a method of gradients, whose log holds digests.
    """
    if shares and METHODS[config.method.name].order != "zeroth":
        raise ValueError(f"{what}: {config.method.name} releases gradients, which its log does not hold step by step")
    config, nothing = _with_logged_noise(config, log_folder / LOG_NAME), LocalTokens(0)
    mechanism = mechanism_plan(config, config.privacy.noise_multiplier)
    workspace = Workspace([], [], opened.evaluator, public=opened.public, public_rows=opened.public_rows)
    with _without_snapshots(log_folder) if shares else nullcontext(log_folder) as folder:
        replayed = open_run(RunContext(workspace, config, mechanism, Tokens(nothing, nothing), folder))
        late = _late_iterates(opened.evaluator, shares)

        def add(taken: int) -> None:
            for share, iterates in late.items():
                if taken >= first_iterate(share, replayed.steps_released):
                    iterates.add()

        with replayed.log:
            replayed.replay(add)
    if replayed.steps_taken < steps:
        raise ValueError(
            f"{log_folder / LOG_NAME} holds {replayed.steps_taken} of the {steps} steps that {what} "
            "released: the log was lost or cut. Restore it, and start again."
        )
    return late


@contextmanager
def _without_snapshots(log_folder: Path) -> Iterator[Path]:
    """Give a copy of a log and its bases, from which a replay passes through every step."""
    with tempfile.TemporaryDirectory(prefix="dpzo-") as copy:
        for file in (log_folder / LOG_NAME, *log_folder.glob(BASIS_FILES)):
            shutil.copyfile(file, Path(copy, file.name))
        yield Path(copy)


def _late_iterates(evaluator: Any, shares: Collection[int | None]) -> dict[int | None, LateIterates]:
    if not shares:
        return {}
    from trainers.evaluators.late_iterates import LateIterates  # loads torch

    return {share: LateIterates(evaluator.parameters) for share in shares}


def _with_logged_noise(config: RunConfig, log: Path) -> RunConfig:
    """Return a configuration with the σ of a log, where it differs by no more than a calibration of another version."""
    planned, logged = config.privacy.noise_multiplier, None
    if log.is_file():
        logged = recorded_tokens(log)[0].get("mechanism.noise_multiplier")
    if planned is None or logged is None or not math.isclose(planned, logged, rel_tol=SAME_SIGMA):
        return config
    return config.model_copy(update={"privacy": config.privacy.model_copy(update={"noise_multiplier": logged})})
