"""The workers of a run under Ray Train: they meet over gloo, do a task together, and are replaced when one dies.

Ray Train starts the workers, watches them, and starts all of them again when one is lost. A step uses no Ray object and
no report of Ray Train. A new group of workers resumes from the release log; it may have another number of workers.

A task that fails for a reason of its own is not repeated: its error goes into the mailbox, and is raised in the process
that started the workers.
"""

import os
import secrets
import socket
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import RayError

from trainers.config import RunConfig
from trainers.errors import EngineLost, note_origin
from trainers.mechanism.release_log import LogInUseError
from trainers.workers.exchange import MEETING, PeerLost
from trainers.workers.patience import Patience
from trainers.workers.ranks import Ranks
from trainers.workers.sealing import KEY_BYTES

MAX_RESTARTS = 20  # of the group, each after a worker was lost
MAX_RETRIES = 5  # of the controller: Ray Train gives up if a worker dies at certain moments of its start


class WorkerTask(Protocol):
    """What all workers do together. It is pickled; rank 0 must return nothing that may not be released."""

    def __call__(self, ranks: Ranks, mailbox: Any) -> Any: ...


def run_workers(task: WorkerTask, config: RunConfig, name: str, storage_path: Path, mailbox: Any) -> Any:
    """Start the workers that `config.resources` asks for, and return what rank 0's task returns.

    Args:
        task: run by every worker; when a worker is lost, all workers are started again and repeat it.
        name: of the run; this function makes it unique, since Ray Train resumes a run that has the same name.
        storage_path: folder for Ray Train's own files.

    Raises:
        TrainingFailedError: workers were lost too often. The error of a task that failed is raised as it is.
    """
    from ray.train import ControllerError

    environment = {
        **{name: value for name, value in os.environ.items() if name.startswith("RAY_TRAIN_")},
        # without an address Ray's State API asks the newest cluster of this machine, which may be another one: Ray
        # Train's cleaner would not find its run there, and would end the workers
        "RAY_API_SERVER_ADDRESS": ray.get_runtime_context().gcs_address,
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it costs a process, and we handle lost workers ourselves
    }
    fit: Any = ray.remote(max_calls=1)(_fit)  # the end of its process ends all that a failed controller left alive
    fit = fit.options(
        num_cpus=0,
        resources={"node:__internal_head__": 0.001},
        scheduling_strategy="DEFAULT",  # outside the placement group of a lane, which has room for the workers only
        runtime_env={"env_vars": environment},
        max_retries=MAX_RETRIES,
        retry_exceptions=[ControllerError],
    )
    try:
        return ray.get(fit.remote(task, config, name, storage_path, mailbox))
    finally:
        error: Any = ray.get(mailbox.error.remote())
        if error is not None:
            raise error


def _fit(task: WorkerTask, config: RunConfig, name: str, storage_path: Path, mailbox: Any) -> Any:
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
            accelerator_type=resources.accelerator,
            label_selector=resources.labels or None,
        ),
        run_config=TrainConfig(
            name=f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}",
            storage_path=str(storage_path),
            failure_config=FailureConfig(max_failures=MAX_RESTARTS),
        ),
    )
    return trainer.fit().return_value


def worker_resources(config: RunConfig) -> dict[str, float]:
    resources = config.resources
    cpus = resources.cpus_per_worker or config.performance.num_threads or 1
    return {"CPU": cpus} | ({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {})


def with_worker_threads(config: RunConfig) -> RunConfig:
    """Return the configuration with `num_threads` set to the CPUs of one worker."""
    threads = max(1, int(worker_resources(config)["CPU"]))
    return config.model_copy(update={"performance": config.performance.model_copy(update={"num_threads": threads})})


def _live(task: WorkerTask, config: RunConfig, mailbox: Any) -> Any:
    ranks = _meet(config)
    try:
        if ranks.broadcast(lambda: ray.get(mailbox.error.remote()) is not None):
            return None  # an earlier group failed: its error is in the mailbox, and the task is not repeated
        return task(ranks, mailbox)
    except (PeerLost, EngineLost, LogInUseError, RayError):
        raise  # not the task's own failure: Ray Train starts all workers again
    except Exception as error:
        note_origin(error)
        ray.get(mailbox.fail.remote(error))
        raise
    finally:
        ranks.close()


def _meet(config: RunConfig) -> Ranks:
    """Meet the other workers: rank 0 opens a store and draws a key, and Ray Train broadcasts both, as Ray's messages.

    The synchronization actor of Ray Train forgets them when all workers have them. On one machine all listen on the
    loopback only.
    """
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    context = get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    if size == 1:
        return Ranks()
    address = "127.0.0.1" if context.get_local_world_size() == size else ray.util.get_node_ip_address()
    store = open_store(address) if rank == 0 else None
    met: Any = broadcast_from_rank_zero(store and (address, store.port, secrets.token_bytes(KEY_BYTES)))
    host, port, key = met
    store = store or TCPStore(host, port, is_master=False, timeout=MEETING)
    group_size, patience = config.resources.group_size(size), Patience(config.resources.step_patience_s)
    return Ranks.meet(store, key, rank, size, group_size=group_size, address=address, patience=patience)


def open_store(address: str) -> Any:
    """Return a torch.distributed store that listens on this address alone; TCPStore's own socket is on all."""
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    listener = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    port = listener.getsockname()[1]
    return TCPStore(address, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
