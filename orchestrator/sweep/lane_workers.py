"""The workers of a lane: one group of Ray Train that lives through many trials, and is told what to do next.

Starting a group takes many seconds, a trial may take one. The lane puts an order into the mailbox (which trial, and up
to which score), rank 0 takes it and tells the others, all of them train, rank 0 leaves the report. Orders and reports
are settings and public (or released) scores. A group that was started again after a loss finds the latest order, and
the trial's release log: it replays what was released, and goes on.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from threading import Thread
from typing import Any

import ray
from ray.exceptions import RayTaskError

from orchestrator.sweep.trial import SweepContext, Trial
from trainers.run.context import Workspace
from trainers.workers.mailbox import Mailbox
from trainers.workers.ranks import Ranks
from trainers.workers.ray_worker import run_workers

_LOOK_S = 1.0  # how often a lane that waits looks whether its workers still live
_GOODBYE_S = 20.0


@dataclass(frozen=True)
class TrialLoop:
    """The task: take the trials that the mailbox orders, until it orders none."""

    context: SweepContext

    def __call__(self, ranks: Ranks, mailbox: Any) -> None:
        """Take them together with the other ranks."""
        with closing(self.context.workspace(ranks)) as workspace:
            self._take(workspace, ranks, mailbox)

    def _take(self, workspace: Workspace, ranks: Ranks, mailbox: Any) -> None:
        number, at_work, trial, reports = 0, None, None, []
        while True:
            number, order = _after(number, ranks, mailbox)
            if trial is not None and (order is None or order["trial"] != at_work):
                trial.close()
            if order is None:
                return
            if trial is None or order["trial"] != at_work:
                at_work, trial, reports = order["trial"], Trial(self.context, workspace, order["values"], ranks), []
            while len(reports) <= order["segment"]:  # more than one after a restart: replayed, and scored as before
                reports.append(trial.report())
            if ranks.is_rank_0:
                ray.get(mailbox.answer.remote(number, reports[order["segment"]]))


def _after(done: int, ranks: Ranks, mailbox: Any) -> tuple[int, Any]:
    """Return the order after number `done`, on every rank."""
    return ranks.broadcast(lambda: ray.get(mailbox.next_order.remote(done)))


class WorkerGroupRunner:
    """A group of workers, started at once and dismissed by `close`."""

    def __init__(self, context: SweepContext) -> None:
        self._context = context
        self._mailbox = Mailbox.remote()
        self._trial, self._segment, self._values = 0, 0, {}
        self._lost: BaseException | None = None
        self._thread = Thread(target=self._live, daemon=True)
        self._thread.start()

    def begin(self, values: dict[str, Any]) -> None:
        """Take the next trial; the workers hear of it with its first order."""
        self._trial, self._segment, self._values = self._trial + 1, 0, values

    def report(self) -> dict[str, Any]:
        """Order the next segment, and return its report.

        Raises:
            Exception: what the trial failed of.
            RuntimeError: the workers were lost too often.
        """
        order = {"trial": self._trial, "values": self._values, "segment": self._segment}
        number = ray.get(self._mailbox.order.remote(order))
        self._segment += 1
        answer = self._mailbox.answer_to.remote(number)
        while not ray.wait([answer], timeout=_LOOK_S)[0]:
            if not self._thread.is_alive():
                raise RuntimeError("the workers of a lane were lost, and Ray Train gave them up") from self._lost
        try:
            return ray.get(answer)
        except RayTaskError as error:
            raise error.cause from None

    def close(self) -> None:
        """Dismiss the workers; those that do not go by themselves go with the lane's process."""
        ray.get(self._mailbox.order.remote(None))
        self._thread.join(_GOODBYE_S)

    def _live(self) -> None:
        storage = self._context.storage
        try:
            run_workers(
                TrialLoop(self._context),
                self._context.config,
                f"{storage.name}-lane",
                storage.operator_folder / "train",
                self._mailbox,
            )
        except Exception as error:  # noqa: BLE001 - the lane raises it, when it next asks
            self._lost = error
