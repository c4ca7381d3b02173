"""A sweep without a cluster: what stands in for Ray Tune runs trials one after the other, and can be killed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import FIFOScheduler

from orchestrator.sweep import driver as sweep_module
from orchestrator.sweep.lane import Lane
from orchestrator.sweep.trial import SweepContext
from tests.support.quadratic import Quadratic, example
from trainers.mechanism.release_log import Stopped
from trainers.run.context import Workspace

PLACES = (
    "orchestrator.sweep.trial",
    "orchestrator.sweep.preparation",
    "orchestrator.sweep.rebuild",
)


class Killed(BaseException):
    """The driver dies here."""


class Exported(Quadratic):
    """The quadratic model, which makes the folder that it is exported into."""

    def export(self, folder: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().export(folder)


CONTROLLER = SimpleNamespace(get_live_trials=set)  # what schedulers ask of Tune's own


class TuneTrial(SimpleNamespace):
    """A trial of Tune, as schedulers keep it in sets."""

    __hash__ = object.__hash__


class InlineTune:
    """What `orchestrator.sweep.driver` uses of `ray.tune`.

    Args:
        scores: of each trial by its number, in place of what the lane found; the lane's own where there is none.
        kill_after: results until the driver dies, and its lane with it; None: never.
        stop_after: results of a trial after which a scheduler would stop it, by number.
        schedules: whether to ask the sweep's own scheduler too.
    """

    FailureConfig = RunConfig = TuneConfig = SimpleNamespace

    def __init__(
        self,
        scores: dict[int, float] | None = None,
        kill_after: int | None = None,
        stop_after: dict | None = None,
        schedules: bool = False,
    ) -> None:
        self.schedules = schedules
        self.scores, self.kill_after, self.stop_after = scores or {}, kill_after, stop_after or {}
        self.num_results, self.taken = 0, []

    @staticmethod
    def with_parameters(lane: type[Lane], context: SweepContext) -> SweepContext:
        return context

    @staticmethod
    def with_resources(context: SweepContext, resources: dict[str, float]) -> SimpleNamespace:
        return SimpleNamespace(context=context)

    def Tuner(self, lane: SimpleNamespace, tune_config: Any, run_config: Any) -> SimpleNamespace:  # noqa: N802 - as in ray.tune
        return SimpleNamespace(fit=lambda: self._fit(lane.context, tune_config, run_config.callbacks[0]))

    def _fit(self, context: SweepContext, tune_config: Any, board: Any) -> SimpleNamespace:
        search, lane, errors = tune_config.search_alg, None, []
        self.scheduler = tune_config.scheduler if self.schedules else FIFOScheduler()
        for count in range(tune_config.num_samples):
            values = search.suggest(f"tune-{count}")
            if values == search.FINISHED:
                break
            trial = TuneTrial(config=values, trial_id=f"tune-{count}")
            self.scheduler.on_trial_add(CONTROLLER, trial)
            board.on_trial_start(iteration=0, trials=[], trial=trial)
            self.taken.append(dict(values))
            try:
                if lane is None:
                    lane = Lane.__new__(Lane)
                    lane.setup(values, context)
                else:
                    lane.reset_config(values)
                self._run(lane, search, board, trial)
            except (Killed, Stopped):
                lane.cleanup()
                raise
            except Exception as error:  # noqa: BLE001 - as Tune does
                search.on_trial_complete(trial.trial_id, error=True)
                board.on_trial_error(iteration=0, trials=[], trial=trial)
                errors.append(error)
                lane = None
        if lane is not None:
            lane.cleanup()
        return SimpleNamespace(errors=errors)

    def _run(self, lane: Lane, search: Any, board: Any, trial: Any) -> None:
        number = trial.config["number"]
        for iteration in range(1, 100):
            result = {**lane.step(), "training_iteration": iteration}
            result["score"] = self.scores.get(number, result["score"])
            self.num_results += 1
            if self.num_results == self.kill_after:
                raise Killed
            board.on_step_begin(iteration=0, trials=[])
            stopped = board(trial.trial_id, result)
            if not result["finished"]:
                stopped = stopped or self.scheduler.on_trial_result(CONTROLLER, trial, result) == FIFOScheduler.STOP
            if stopped or result["finished"] or iteration == self.stop_after.get(number):
                search.on_trial_complete(trial.trial_id, result)
                self.scheduler.on_trial_complete(CONTROLLER, trial, result)
                board.on_trial_complete(iteration=0, trials=[], trial=trial)
                return
            search.on_trial_result(trial.trial_id, result)


def without_cluster(
    monkeypatch: pytest.MonkeyPatch, workspace: Callable[..., Workspace] | None = None
) -> Callable[..., InlineTune]:
    """Put the quadratic model and `InlineTune` in place; call the result to say how the next sweep goes."""
    shared = Workspace([example(n) for n in range(40)], [example(n) for n in range(10)], Exported())
    for place in PLACES:
        monkeypatch.setattr(f"{place}.open_workspace", workspace or (lambda *_, **__: shared))
    monkeypatch.setattr(sweep_module, "ray_session", lambda *_: contextlib.nullcontext())

    def next_sweep(**how: Any) -> InlineTune:
        inline = InlineTune(**how)
        monkeypatch.setattr(sweep_module, "tune", inline)
        return inline

    next_sweep()
    return next_sweep
