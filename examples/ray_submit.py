"""Runs a sweep on a Ray cluster, as a job of the sweep's name that outlives the connection to it.

    ray submit cluster.yaml examples/ray_submit.py -- sweep.yaml --set storage_path=/shared/runs

Ray copies this file to the head and runs it there. It submits the job and follows its log. A lost connection or Ctrl-C
leaves the sweep at work. The same command follows it again; where its job has died, it submits one that continues.
Exit code 0: the sweep is finished. 1: anything else, and the last line says why.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import os
import shlex
import sys
import time
from pathlib import Path

from aiohttp import ClientError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from orchestrator.cluster.ray_dashboard import job_metadata
from orchestrator.config.loading import load_sweep, resolved_json
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import root_of, storage_in
from trainers.errors import DpzoError

CHECKOUT = Path("~/dpzo").expanduser()  # where the cluster files put it on every node
NAME, SETTINGS = "job_name", "settings"  # of a job's metadata; Ray's dashboard shows them


def main(arguments: list[str]) -> int:
    """Submit the sweep unless its job is there, and follow the job to its end.

    Args:
        arguments: as of `dpzo sweep`: a configuration file, relative to the checkout, and overrides.

    Returns:
        The exit code.

    Raises:
        ValueError, BudgetExceeded: the configuration or its plan is refused, or a job of its name is at work with
            other settings.
    """
    parser = argparse.ArgumentParser(prog="ray submit cluster.yaml examples/ray_submit.py --")
    parser.add_argument("config", help="YAML or JSON file, relative to the checkout")
    parser.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[])
    given = parser.parse_args(arguments)
    os.chdir(CHECKOUT)
    config = load_sweep(given.config, given.overrides)
    metadata = {NAME: config.name, SETTINGS: hashlib.sha256(resolved_json(config).encode()).hexdigest()[:12]}
    logging.getLogger(JobSubmissionClient.__module__).setLevel(logging.WARNING)  # its end of a log
    client = JobSubmissionClient()
    job_id = _job_there(client, metadata)
    if job_id is None:
        metadata |= job_metadata(storage_in(root_of(config), config, config.name), make_plan(config).epsilon)
        command = f"cd {shlex.quote(str(CHECKOUT))} && exec dpzo sweep --or-resume {shlex.join(arguments)}"
        job_id = client.submit_job(
            entrypoint=command, submission_id=f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}", metadata=metadata
        )
        print(f"Job {job_id} is submitted. It continues when this terminal closes.", flush=True)
    return _follow(client, job_id)


def _job_there(client: JobSubmissionClient, metadata: dict[str, str]) -> str | None:
    """Return the latest job of the sweep if it is at work or done; None where there is none, or it died."""
    jobs = [job for job in client.list_jobs() if (job.metadata or {}).get(NAME) == metadata[NAME]]
    for job in sorted(jobs, key=_start, reverse=True):
        same = (job.metadata or {}).get(SETTINGS) == metadata[SETTINGS]
        if not job.status.is_terminal() and not same:
            raise ValueError(
                f"{metadata[NAME]!r} is at work with other settings, as job {job.submission_id}. Give this sweep "
                f"another name, or stop that job: ray job stop {job.submission_id}"
            )
        if same and (job.status == JobStatus.SUCCEEDED or not job.status.is_terminal()):
            print(f"Job {job.submission_id} is there: following it.", flush=True)
            return job.submission_id
    return None


def _start(job: JobDetails) -> int:
    return job.start_time or 0


def _follow(client: JobSubmissionClient, job_id: str) -> int:
    """Print the job's log to its end, and return the exit code."""

    async def tail() -> None:
        async for lines in client.tail_job_logs(job_id):
            print(lines, end="", flush=True)

    try:
        asyncio.run(tail())
    except KeyboardInterrupt:
        print(f"\nJob {job_id} continues. The same command follows it again; `ray job stop {job_id}` stops it.")
        return 1
    except (RuntimeError, ClientError) as error:
        print(f"The log of job {job_id} broke off ({error}). The same command follows it again, or continues it.")
        return 1
    return 0 if client.get_job_status(job_id) == JobStatus.SUCCEEDED else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (DpzoError, ValueError, RuntimeError, ConnectionError) as refusal:
        sys.exit(f"Error: {refusal}")
