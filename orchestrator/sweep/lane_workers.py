"""The workers of a lane: one group of Ray Train that lives through many trials.

Starting a group takes many seconds; a trial may take one. So the lane orders one segment after the other (a trial, up
to its next score) through a mailbox: rank 0 reads the order and broadcasts it, all ranks train, and rank 0 answers with
the report. Orders and reports hold only settings and releasable scores. A group that was started again after a loss
reads the latest order, replays the trial's release log, and continues.
"""

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

_POLL_S = 1.0  # how often a waiting lane tests whether its workers are alive
_JOIN_S = 20.0


@dataclass(frozen=True)
class TrialLoop:
    """The task of the workers: run the trials that the mailbox orders, until an order is None."""

    context: SweepContext

    def __call__(self, ranks: Ranks, mailbox: Any) -> None:
        """Run them together with the other ranks."""
        self.context.require_fit_node()
        with closing(self.context.workspace(ranks)) as workspace:
            self._run(workspace, ranks, mailbox)

    def _run(self, workspace: Workspace, ranks: Ranks, mailbox: Any) -> None:
        number, current, trial, reports = 0, None, None, []
        while True:
            number, order = _order_after(number, ranks, mailbox)
            if trial is not None and (order is None or order["trial"] != current):
                trial.close()
            if order is None:
                return
            if trial is None or order["trial"] != current:
                current, trial, reports = order["trial"], Trial(self.context, workspace, order["values"], ranks), []
            while len(reports) <= order["segment"]:  # after a restart also the segments before, which are replayed
                reports.append(trial.report())
            if ranks.is_rank_0:
                ray.get(mailbox.answer.remote(number, reports[order["segment"]]))


def _order_after(done: int, ranks: Ranks, mailbox: Any) -> tuple[int, Any]:
    """Return the number of the order after `done`, and the order, on every rank."""
    return ranks.broadcast(lambda: ray.get(mailbox.next_order.remote(done)))


class WorkerGroupRunner:
    """Runs trials on a group of workers, which is started at once and stopped by `close`."""

    def __init__(self, context: SweepContext) -> None:
        self._context = context
        self._mailbox = Mailbox.remote()
        self._trial, self._segment, self._values = 0, 0, {}
        self._loss: BaseException | None = None
        self._thread = Thread(target=self._run_group, daemon=True)
        self._thread.start()

    def begin(self, values: dict[str, Any]) -> None:
        """Begin the next trial; the workers read of it in its first order."""
        self._trial, self._segment, self._values = self._trial + 1, 0, values

    def report(self) -> dict[str, Any]:
        """Order the next segment, and return its report.

        Raises:
            Exception: what the trial raised.
            RuntimeError: the workers were lost too often.
        """
        order = {"trial": self._trial, "values": self._values, "segment": self._segment}
        number = ray.get(self._mailbox.order.remote(order))
        self._segment += 1
        answer = self._mailbox.answer_to.remote(number)
        while not ray.wait([answer], timeout=_POLL_S)[0]:
            if not self._thread.is_alive():
                raise RuntimeError("the workers of a lane were lost, and Ray Train gave up") from self._loss
        try:
            return ray.get(answer)
        except RayTaskError as error:
            raise error.cause from None

    def close(self) -> None:
        """Stop the workers; those that do not stop by themselves end with the lane's process."""
        ray.get(self._mailbox.order.remote(None))
        self._thread.join(_JOIN_S)

    def _run_group(self) -> None:
        storage, config = self._context.storage, self._context.lane_config
        folder = storage.operator_folder / "train"
        try:
            run_workers(TrialLoop(self._context), config, f"{storage.name}-lane", folder, self._mailbox)
        except Exception as error:  # noqa: BLE001 - `report` raises it
            self._loss = error
