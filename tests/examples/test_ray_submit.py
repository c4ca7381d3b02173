"""The script that runs a sweep as a Ray job: when it submits, when it follows, and what it refuses."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.job_submission import JobStatus

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "ray_submit.py"
SWEEP = "examples/quickstart.yaml"


class Jobs:
    """A stand-in for Ray's client of jobs, with the jobs that are there."""

    def __init__(self) -> None:
        self.jobs: list[SimpleNamespace] = []
        self.ends = JobStatus.SUCCEEDED

    def list_jobs(self):
        return self.jobs

    def submit_job(self, entrypoint, submission_id, metadata):
        self.jobs.append(
            SimpleNamespace(
                submission_id=submission_id,
                metadata=metadata,
                status=JobStatus.RUNNING,
                start_time=len(self.jobs),
                entrypoint=entrypoint,
            )
        )
        return submission_id

    async def tail_job_logs(self, job_id):
        yield f"the log of {job_id}\n"

    def get_job_status(self, job_id):
        return self.ends


@pytest.fixture
def submit(monkeypatch):
    """Run the script with these arguments on a head; return its exit code and the jobs there."""
    spec = importlib.util.spec_from_file_location("ray_submit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    jobs = Jobs()
    monkeypatch.setattr(script, "CHECKOUT", ROOT)
    monkeypatch.setattr(script, "JobSubmissionClient", lambda: jobs)
    monkeypatch.chdir(ROOT)
    return SimpleNamespace(run=lambda *more: script.main([SWEEP, *more]), jobs=jobs)


def test_a_sweep_is_submitted_once_and_followed_again(submit, capsys):
    assert submit.run("--set", "name=one") == 0
    assert submit.run("--set", "name=one") == 0
    (job,) = submit.jobs.jobs
    assert job.metadata.items() >= {"job_name": "one", "epsilon": "2.996", "folder": str(ROOT / "runs" / "one")}.items()
    assert job.entrypoint.endswith("exec dpzo sweep --or-resume examples/quickstart.yaml --set name=one")
    said = capsys.readouterr().out
    assert "is submitted. It continues when this terminal closes." in said
    assert f"Job {job.submission_id} is there: following it." in said
    assert said.count(f"the log of {job.submission_id}") == 2


def test_a_sweep_whose_job_died_goes_on_in_a_new_one(submit):
    submit.jobs.ends = JobStatus.FAILED
    assert submit.run() == 1
    submit.jobs.jobs[0].status = JobStatus.FAILED
    submit.jobs.ends = JobStatus.SUCCEEDED
    assert submit.run() == 0
    assert len(submit.jobs.jobs) == 2


def test_a_name_whose_job_is_at_work_with_other_settings_is_refused(submit):
    submit.run()
    with pytest.raises(ValueError, match=r"'.*' is at work with other settings, as job .*ray job stop"):
        submit.run("--set", "search.num_trials=7")
    assert len(submit.jobs.jobs) == 1
    submit.jobs.jobs[0].status = JobStatus.STOPPED
    submit.run("--set", "search.num_trials=7")
    assert len(submit.jobs.jobs) == 2


def test_a_misspelt_setting_is_refused_before_a_job_is_submitted(submit):
    with pytest.raises(ValueError, match=r"search\.num_trial"):
        submit.run("--set", "search.num_trial=3")
    assert submit.jobs.jobs == []
