"""The workers of a run under Ray Train: they meet over gloo, do one task together, and are replaced when they die.

Ray starts them, watches them and starts all of them again when one is lost; that is all it does. No Ray object and no
report stands on the path of a step. What lasts is the release log: a group that was started again finds it, and its
number of workers may be another one.

An task that fails by itself (and not because a worker is gone) is not tried again: its error is left on the mailbox, an
actor of whoever started the workers, and raised there.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import RayError

from trainers.config import RunConfig
from trainers.mechanism.release_log import LogInUseError
from trainers.workers.exchange import MEETING, PeerLost
from trainers.workers.patience import Patience
from trainers.workers.ranks import Ranks

MAX_RESTARTS = 20  # of a group of workers, each after one of them was lost
MAX_CONTROLLERS = 5  # more of them than one: Ray Train gives up where a worker dies in certain moments of its start


class WorkerTask(Protocol):
    """What all workers do together. It travels to them by pickle; what rank 0 returns must be releasable."""

    def __call__(self, ranks: Ranks, mailbox: Any) -> Any:
        """Do it, as one of the ranks."""
        ...


@ray.remote(num_cpus=0)
class Mailbox:
    """Where the workers and whoever started them leave word for each other. It outlives groups of workers."""

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._order: tuple[int, Any] = (0, None)
        self._answer: tuple[int, Any] = (0, None)
        self._news = asyncio.Condition()

    async def fail(self, error: Exception) -> None:
        """Leave word that the task failed; the first one counts."""
        async with self._news:
            self._error = self._error or error
            self._news.notify_all()

    async def error(self) -> Exception | None:
        """Return why the task failed, None if it did not."""
        return self._error

    async def order(self, order: Any) -> int:
        """Leave the next order, and return its number."""
        async with self._news:
            self._order = self._order[0] + 1, order
            self._news.notify_all()
            return self._order[0]

    async def next_order(self, done: int) -> tuple[int, Any]:
        """Return the latest order, when there is one after number `done`."""
        async with self._news:
            await self._news.wait_for(lambda: self._order[0] > done)
            return self._order

    async def answer(self, number: int, answer: Any) -> None:
        """Leave the answer to an order."""
        async with self._news:
            self._answer = number, answer
            self._news.notify_all()

    async def answer_to(self, number: int) -> Any:
        """Return the answer to an order when it is there.

        Raises:
            Exception: what the task failed of.
        """
        async with self._news:
            await self._news.wait_for(lambda: self._error is not None or self._answer[0] == number)
            if self._error is not None:
                raise self._error
            return self._answer[1]


def run_workers(task: WorkerTask, config: RunConfig, name: str, storage_path: Path, mailbox: Any) -> Any:
    """Start the workers that `config.resources` asks for, and return what rank 0's task returned.

    Args:
        task: what they do; when a worker is lost all are started again, and do it again.
        config: of the run; workers and what each needs are read here.
        name: of the run; made unique here, since Ray Train takes up what it knows by name.
        storage_path: folder for Ray Train's own files.
        mailbox: a `Mailbox` of the caller.

    Raises:
        Exception: what the task failed of.
        TrainingFailedError: workers were lost too often.
    """
    from ray.train import ControllerError

    environment = {
        **{name: value for name, value in os.environ.items() if name.startswith("RAY_TRAIN_")},
        # whatever asks Ray's State API without an address asks the newest cluster of this machine, be it another one:
        # Ray Train's own cleaner would not find its run there, and end the workers
        "RAY_API_SERVER_ADDRESS": ray.get_runtime_context().gcs_address,
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more: a run that loses its workers needs no warning
    }
    fit: Any = ray.remote(max_calls=1)(_fit)  # with its process all goes that a controller which gave up left alive
    fit = fit.options(
        num_cpus=0,
        resources={"node:__internal_head__": 0.001},
        scheduling_strategy="DEFAULT",  # not in the place of a lane, which is as large as the lane
        runtime_env={"env_vars": environment},
        max_retries=MAX_CONTROLLERS,
        retry_exceptions=[ControllerError],
    )
    try:
        return ray.get(fit.remote(task, config, name, storage_path, mailbox))
    finally:
        error: Any = ray.get(mailbox.error.remote())
        if error is not None:
            raise error


def _fit(task: WorkerTask, config: RunConfig, name: str, storage_path: Path, mailbox: Any) -> Any:
    """Be the driver of Ray Train; return what rank 0's task returned."""
    from ray.train import FailureConfig, ScalingConfig
    from ray.train import RunConfig as TrainConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    resources = config.resources
    elastic = (resources.workers, resources.max_workers) if resources.max_workers else resources.workers

    def loop() -> Any:
        return _live(task, config, mailbox)

    trainer = DataParallelTrainer(
        loop,
        scaling_config=ScalingConfig(
            num_workers=elastic,
            resources_per_worker=worker_resources(config),
            use_gpu=resources.gpus_per_worker > 0,
        ),
        run_config=TrainConfig(
            name=f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}",
            storage_path=str(storage_path),
            failure_config=FailureConfig(max_failures=MAX_RESTARTS),
        ),
    )
    return trainer.fit().return_value


def worker_resources(config: RunConfig) -> dict[str, float]:
    """Return what Ray sets aside for one worker."""
    resources = config.resources
    cpus = resources.cpus_per_worker or config.performance.num_threads or 1
    return {"CPU": cpus} | ({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {})


def with_worker_threads(config: RunConfig) -> RunConfig:
    """Return the configuration with the threads that one worker has."""
    threads = max(1, int(worker_resources(config)["CPU"]))
    return config.model_copy(update={"performance": config.performance.model_copy(update={"num_threads": threads})})


def _live(task: WorkerTask, config: RunConfig, mailbox: Any) -> Any:
    ranks = _meet(config)
    try:
        if ranks.broadcast(lambda: ray.get(mailbox.error.remote()) is not None):
            return None  # an earlier group failed: whoever started it is told, and nothing is tried again
        return task(ranks, mailbox)
    except (PeerLost, LogInUseError, RayError):
        raise  # what an earlier group leaves behind: Ray Train starts all workers again
    except Exception as error:
        ray.get(mailbox.fail.remote(error))
        raise
    finally:
        ranks.close()


def _meet(config: RunConfig) -> Ranks:
    """Find the other workers: rank 0 opens a store, and tells its address through Ray Train, once."""
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    rank, size = get_context().get_world_rank(), get_context().get_world_size()
    if size == 1:
        return Ranks()
    address = ray.util.get_node_ip_address()
    store = TCPStore(address, 0, is_master=True, wait_for_workers=False) if rank == 0 else None
    place: Any = broadcast_from_rank_zero(None if store is None else (address, store.port))
    store = store or TCPStore(*place, is_master=False, timeout=MEETING)
    group_size, patience = config.resources.group_size(size), Patience(config.resources.step_patience_s)
    return Ranks.meet(store, rank, size, group_size=group_size, address=address, patience=patience)
