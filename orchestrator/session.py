"""The Ray session of a sweep: a cluster that is there already, or this machine; with the arithmetic checked before."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

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
    """Return the CPU threads of one trial: as configured, or an even share of this machine's cores.

    Raises:
        ValueError: the trials at once want more cores than there are.
    """
    cores = os.cpu_count() or 1
    concurrent = config.search.concurrent_trials
    threads = config.performance.num_threads or max(1, cores // concurrent)
    if "RAY_ADDRESS" not in os.environ and concurrent * threads > cores:
        raise ValueError(
            f"{concurrent} trials at once × {threads} threads want {concurrent * threads} CPU cores; this machine has "
            f"{cores}. Lower search.concurrent_trials or performance.num_threads."
        )
    return threads


@contextmanager
def ray_session(num_cpus: int) -> Iterator[str | None]:
    """Connect to the cluster at RAY_ADDRESS, or start Ray on this machine for as long as the body runs.

    Yields the dashboard's address, None where there is no dashboard.

    Raises:
        ValueError: the cluster has fewer CPUs than the sweep wants at once; its trials would wait for ever.
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    address = os.environ.get("RAY_ADDRESS")
    context = ray.init(
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
        yield context.dashboard_url or None
    finally:
        ray.shutdown()
