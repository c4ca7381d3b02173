"""The Ray session of a sweep: a cluster that is there already, or this machine; with the arithmetic checked before."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import ray

from orchestrator.config import SweepConfig

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune prints nothing; the live table does
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they lie in operator-only/; what ends the sweep is said in one line
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def threads_per_trial(config: SweepConfig) -> int:
    """Return the CPU threads of one trial, or of one of its workers: as configured, or an even share of the cores.

    Raises:
        ValueError: the trials at once want more cores than there are.
    """
    cores = os.cpu_count() or 1
    concurrent, workers = config.search.concurrent_trials, config.resources.most_workers
    given = config.resources.cpus_per_worker if config.resources.is_distributed else None
    threads = int(given or 0) or config.performance.num_threads or max(1, cores // (concurrent * workers))
    wanted = cpus_at_once(config, threads)
    if "RAY_ADDRESS" not in os.environ and wanted > cores:
        of_workers = f" × {workers} workers" if workers > 1 else ""
        raise ValueError(
            f"{concurrent} trials at once{of_workers} × {threads} threads want {wanted} CPU cores; this machine has "
            f"{cores}. Lower search.concurrent_trials{', resources.workers' if workers > 1 else ''} or "
            "performance.num_threads."
        )
    return threads


def cpus_at_once(config: SweepConfig, threads: int) -> int:
    """Return the CPU cores that all trials at once take, where each (or each of its workers) has so many threads."""
    resources = config.resources
    each = (resources.cpus_per_worker if resources.is_distributed else None) or threads
    return math.ceil(config.search.concurrent_trials * resources.most_workers * each)


@contextmanager
def ray_session(num_cpus: int) -> Iterator[None]:
    """Connect to the cluster at RAY_ADDRESS, or start Ray on this machine for as long as the body runs.

    Raises:
        ValueError: the cluster has fewer CPUs than the sweep wants at once; its trials would wait for ever.
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    address = os.environ.get("RAY_ADDRESS")
    ray.init(
        address=address,
        num_cpus=None if address else num_cpus,
        log_to_driver=False,
        logging_level=logging.ERROR,
        include_dashboard=None if address else True,
    )
    try:
        available = int(ray.cluster_resources().get("CPU", 0))
        if available < num_cpus:
            raise ValueError(f"the trials at once want {num_cpus} CPUs; the Ray cluster at {address} has {available}.")
        with redirect_stdout(sys.stderr):  # what Ray says of a lost worker: standard output holds results
            yield
    finally:
        ray.shutdown()
