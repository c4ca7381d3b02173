"""A trial's model, rebuilt from its release log and exported: the best one of a sweep, or any that may be released."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from orchestrator.planning.plan import Plan
from orchestrator.storage.files import write_whole
from orchestrator.storage.paths import Storage
from orchestrator.storage.trials import TrialRow
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.log_reading import uninterrupted
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.methods.catalogue import METHODS
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.workspace import open_run, open_workspace


def publish_best(plan: Plan, storage: Storage, best: TrialRow) -> None:
    """Export the best trial's model into the run's folder; where trials stay secret, what its log released too."""
    log = rebuild(plan, storage, best, storage.model_folder)
    if not storage.releases_trials and METHODS[plan.config.method.name].order == "zeroth":  # else digests alone
        write_whole(storage.folder / LOG_NAME, uninterrupted(log))


def rebuild(plan: Plan, storage: Storage, trial: TrialRow, folder: Path) -> Path:
    """Replay a trial's releases on the base model, export it, and return the path of its log.

    Raises:
        ValueError: the log holds fewer steps than the trial has taken.
    """
    what, config = f"trial {trial.number}", plan.trial(trial.values)
    return rebuild_from(config, storage.trial_folder(trial.number), trial.steps, folder, what)


def rebuild_from(config: RunConfig, log_folder: Path, steps: int, folder: Path, what: str) -> Path:
    """Replay the releases of the log of `what` on the base model, export it, and return the path of the log.

    Raises:
        ValueError: the log is of another run, or holds fewer than `steps` steps.
    """
    nothing = LocalTokens(0)
    with closing(open_workspace(config, private=False)) as opened:
        mechanism = mechanism_plan(config, config.privacy.noise_multiplier)
        workspace = Workspace([], [], opened.evaluator)
        replayed = open_run(RunContext(workspace, config, mechanism, Tokens(nothing, nothing), log_folder))
        with replayed.log:
            replayed.replay()
        if replayed.steps_taken < steps:
            raise ValueError(
                f"{replayed.log.path} holds {replayed.steps_taken} of the {steps} steps that {what} "
                "released: the log was lost or cut. Bring it back, and start again."
            )
        opened.evaluator.export(folder)
    return replayed.log.path
