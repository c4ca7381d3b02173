"""The Ray session of a sweep or run: on the cluster that RAY_ADDRESS names, or on this machine (unset, or "local").

On a cluster the driver may run on a head without the model's hardware. What needs the model then runs as a task with
the resources of a worker (`run_on_worker_node`); on one machine it runs in this process.
"""

import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from threading import current_thread, main_thread
from typing import Any, TypeVar

import ray
from ray.exceptions import AuthenticationError, RayError, RayTaskError
from ray.job_config import JobConfig

from orchestrator.cluster.address import ADDRESS, LOCAL, cluster_address, on_a_cluster, require_listener
from orchestrator.cluster.closed_session import AUTH_MODE, closed_to_others
from orchestrator.cluster.demand import Demand, demand_of, require_resources
from orchestrator.cluster.head_watch import head_watched
from orchestrator.cluster.preflight import require_nodes, require_state_api, require_tokens
from orchestrator.config.models import SweepConfig
from orchestrator.storage.paths import Storage, input_paths
from trainers.config import RunConfig
from trainers.errors import note_origin

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune prints nothing; the live table shows the trials
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they are in operator-only/; an error that ends the sweep is printed once
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # with its own, Tune ends as if all trials had ended
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # sweep/tensorboard.py writes what may be seen
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
Answer = TypeVar("Answer")


def threads_per_trial(config: SweepConfig) -> int:
    """Return the CPU threads of one trial, or of one of its workers: as configured, or an even share of the cores.

    ValueError if the trials at once want more cores than this machine has.
    """
    cores = os.cpu_count() or 1
    concurrent, workers = config.search.concurrent_trials, config.resources.most_workers
    given = config.resources.cpus_per_worker if config.resources.is_distributed else None
    threads = int(given or 0) or config.performance.num_threads or max(1, cores // (concurrent * workers))
    wanted = cpus_at_once(config, threads)
    if not on_a_cluster() and wanted > cores:
        of_workers = f" × {workers} workers" if workers > 1 else ""
        raise ValueError(
            f"{concurrent} trials at once{of_workers} × {threads} threads want {wanted} CPU cores; this machine has "
            f"{cores}. Lower search.concurrent_trials{', resources.workers' if workers > 1 else ''} or "
            "performance.num_threads."
        )
    return threads


def cpus_at_once(config: SweepConfig, threads: int) -> int:
    """Return the CPU cores of all trials at once, where each trial or each of its workers has `threads` threads."""
    each = demand_of(config, threads).cpus
    return math.ceil(config.search.concurrent_trials * config.resources.most_workers * each)


@contextmanager
def cluster_session(
    config: RunConfig, demand: Demand, storage: Storage, metadata: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Connect to the cluster at RAY_ADDRESS while the body runs, and check it; without RAY_ADDRESS do nothing.

    Ray's dashboard shows `metadata` with the job that this process is.

    ValueError if it does not answer, is too small, has no dashboard, asks for no token, or does not share the storage
    and the inputs; or if RAY_ADDRESS is not set, and a cluster runs on this machine.
    """
    if ray.is_initialized() or (address := cluster_address()) is None:
        yield
        return
    with _cluster_at(address, metadata) as dashboard_url:
        nodes = ray.nodes()
        require_resources(demand, nodes)
        require_state_api(dashboard_url)
        require_tokens(dashboard_url)
        require_nodes(storage, nodes, local_inputs(config))
        yield


@contextmanager
def cluster_connection() -> Iterator[str | None]:
    """Connect to the cluster at RAY_ADDRESS while the body runs, without any check; yield the dashboard's address.

    ValueError if RAY_ADDRESS names no cluster, or it does not answer.
    """
    if (address := cluster_address()) is None:
        raise ValueError(
            f"{ADDRESS} names no cluster: set it to auto on one of its nodes, or to host:port of its head."
        )
    with _cluster_at(address) as dashboard_url:
        yield dashboard_url


@contextmanager
def ray_session(
    num_cpus: int, demand: Demand | None = None, metadata: Mapping[str, str] | None = None
) -> Iterator[str | None]:
    """Start Ray on this machine, or connect to RAY_ADDRESS, while the body runs; a session that is on is used.

    Yields the dashboard's address; None where there is no dashboard or the session was on already. ValueError as for
    `cluster_session`, if Ray does not start here, or if this machine has no room for `demand`.
    """
    _quieten()
    if ray.is_initialized():
        require_tokens(ray.init(ignore_reinit_error=True, configure_logging=False).dashboard_url)
        yield None
    elif (address := cluster_address()) is not None:
        with _cluster_at(address, metadata) as dashboard_url:
            require_tokens(dashboard_url)
            yield dashboard_url or None
    else:
        with closed_to_others(ADDRESS), _session(lambda: _start(num_cpus, metadata)) as dashboard_url:
            if demand is not None:
                require_resources(demand, ray.nodes())
            yield dashboard_url or None


def run_on_worker_node(demand: Demand, function: Callable[..., Answer], *arguments: object) -> Answer:
    """Call a function that loads the model: on a cluster as a task with a worker's resources, else in this process.

    RuntimeError if its process died, perhaps because memory ran out; otherwise what the function raises.
    """
    if not on_a_cluster():
        return function(*arguments)

    def task(*arguments: Any) -> Answer:
        try:
            return function(*arguments)
        except Exception as error:
            note_origin(error)
            raise

    remote: Any = ray.remote(max_retries=1, **demand.task_options)(task)
    try:
        return ray.get(remote.remote(*arguments))
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise RuntimeError(f"the process that loads the model on the cluster died: {error}") from None


def _quieten() -> None:
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})


def _cluster_at(address: str, metadata: Mapping[str, str] | None = None) -> AbstractContextManager[str | None]:
    """Return the session that connects to a cluster; it yields the dashboard's address."""
    _quieten()
    return _session(lambda: _connect(address, metadata))


@contextmanager
def _session(begin: Callable[[], str | None]) -> Iterator[str | None]:
    """Yield what `begin` returns, and end the session after the body.

    Ray prints on standard output when a node is lost; standard output belongs to the result alone.
    """
    with redirect_stdout(sys.stderr):
        try:
            with _own_sigterm():
                dashboard_url = begin()
            watched = head_watched(ray.get_runtime_context().gcs_address) if on_a_cluster() else nullcontext()
            with watched:
                yield dashboard_url
        finally:
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Put the handler of SIGTERM back after the body; Ray's own prints a stack of C++ and dumps the core."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, handler)


def _start(num_cpus: int, metadata: Mapping[str, str] | None) -> str | None:
    try:
        return ray.init(
            address=LOCAL,  # otherwise Ray joins any cluster that runs on this machine
            num_cpus=num_cpus,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=True,
            job_config=JobConfig(metadata=dict(metadata or {})),
        ).dashboard_url
    except Exception as error:
        raise ValueError(
            f"Ray does not start on this machine, and nothing was charged ({str(error).strip().split(chr(10))[0]}). It "
            "wants memory, free ports, and a folder with room and a short path, such as TMPDIR=/tmp."
        ) from error


def _connect(address: str, metadata: Mapping[str, str] | None) -> str | None:
    require_listener(address)
    try:
        return ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            job_config=JobConfig(metadata=dict(metadata or {})),
        ).dashboard_url
    except (ConnectionError, AuthenticationError):
        mode = os.environ.get(AUTH_MODE, "not set")
        raise ValueError(
            f"{ADDRESS}: the Ray cluster at {address} does not let this process in. RAY_AUTH_MODE is {mode} here: set "
            "it, and with 'token' also RAY_AUTH_TOKEN or ~/.ray/auth_token, to what they are on the cluster's nodes."
        ) from None
    except RuntimeError as error:
        if "Version mismatch" not in str(error):
            raise
        raise ValueError(f"{ADDRESS}: {' '.join(str(error).split())}") from None


def local_inputs(config: RunConfig) -> dict[str, str]:
    """Return the local files and folders that workers read, by setting; a path that is missing here is a hub's name."""
    return {setting: path for setting, path in input_paths(config).items() if os.path.exists(path)}
