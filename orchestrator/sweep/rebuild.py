"""Rebuilds a trial's model from its release log, and exports it."""

import math
import shutil
from contextlib import closing
from pathlib import Path

from orchestrator.budget.standing_noise import SAME_SIGMA
from orchestrator.planning.plan import Plan
from orchestrator.storage.bucket import publish
from orchestrator.storage.files import sync_files, write_whole
from orchestrator.storage.log_copy import fetch_logs
from orchestrator.storage.paths import Storage
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.exported_model import export_and_compare
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.log_reading import recorded_tokens, uninterrupted
from trainers.mechanism.release_log import BASIS_FILES, LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.methods.catalogue import METHODS
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.workspace import open_run, open_workspace


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
    config: RunConfig, log_folder: Path, steps: int, to: Path, what: str, base: str | None = None
) -> Path:
    """Replay a release log on the base model, export the model to `to`, and return the path of the log.

    Args:
        config: of the run that wrote the log.
        log_folder: folder of the log.
        steps: number of steps that the log must hold.
        to: folder for the model.
        what: name of the run, for the error.
        base: where the base model lies now; where the configuration says when None.

    Raises:
        ValueError: the log is of another run, or holds fewer than `steps` steps.
    """
    nothing, config = LocalTokens(0), _with_logged_noise(config, log_folder / LOG_NAME)
    loaded = config  # the log's header names the base model as it was named then
    if base is not None:
        loaded = config.model_copy(update={"model": config.model.model_copy(update={"path": base})})
    with closing(open_workspace(loaded, private=False)) as opened:
        mechanism = mechanism_plan(config, config.privacy.noise_multiplier)
        workspace = Workspace([], [], opened.evaluator, public=opened.public, public_rows=opened.public_rows)
        replayed = open_run(RunContext(workspace, config, mechanism, Tokens(nothing, nothing), log_folder))
        with replayed.log:
            replayed.replay()
        if replayed.steps_taken < steps:
            raise ValueError(
                f"{replayed.log.path} holds {replayed.steps_taken} of the {steps} steps that {what} "
                "released: the log was lost or cut. Restore it, and start again."
            )
        export_and_compare(loaded, workspace, to)
        sync_files(to)
    return replayed.log.path


def _with_logged_noise(config: RunConfig, log: Path) -> RunConfig:
    """Return a configuration with the σ of a log, where it differs by no more than a calibration of another version."""
    planned, logged = config.privacy.noise_multiplier, None
    if log.is_file():
        logged = recorded_tokens(log)[0].get("mechanism.noise_multiplier")
    if planned is None or logged is None or not math.isclose(planned, logged, rel_tol=SAME_SIGMA):
        return config
    return config.model_copy(update={"privacy": config.privacy.model_copy(update={"noise_multiplier": logged})})
