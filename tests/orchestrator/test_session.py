import subprocess
import sys

import pytest

from orchestrator import session
from orchestrator.config import load_sweep
from orchestrator.session import threads_per_trial


@pytest.fixture
def sweep(settings, monkeypatch):
    """Load the small sweep with overrides, on a machine with eight cores and without a cluster."""
    monkeypatch.setattr(session.os, "cpu_count", lambda: 8)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings["performance"] = {}
    return lambda *overrides: load_sweep(settings, overrides)


@pytest.mark.parametrize(("concurrent", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1)])
def test_trials_at_once_share_the_cores(sweep, concurrent, threads):
    assert threads_per_trial(sweep(f"search.concurrent_trials={concurrent}")) == threads


def test_configured_threads_are_taken_as_they_are(sweep):
    assert threads_per_trial(sweep("search.concurrent_trials=2", "performance.num_threads=3")) == 3


def test_more_than_the_machine_has_is_refused_with_the_arithmetic(sweep):
    with pytest.raises(ValueError, match="cores") as refusal:
        threads_per_trial(sweep("search.concurrent_trials=3", "performance.num_threads=4"))
    assert str(refusal.value) == (
        "3 trials at once × 4 threads want 12 CPU cores; this machine has 8. "
        "Lower search.concurrent_trials or performance.num_threads."
    )


def test_more_trials_than_cores_are_refused(sweep):
    with pytest.raises(ValueError, match="9 trials at once × 1 threads want 9 CPU cores; this machine has 8"):
        threads_per_trial(sweep("search.concurrent_trials=9"))


def test_a_cluster_is_not_held_against_this_machine(sweep, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    assert threads_per_trial(sweep("search.concurrent_trials=3", "performance.num_threads=4")) == 4


def test_a_machine_that_does_not_know_its_cores_has_one(sweep, monkeypatch):
    monkeypatch.setattr(session.os, "cpu_count", lambda: None)
    assert threads_per_trial(sweep()) == 1


def test_importing_the_session_starts_no_cluster():
    code = "import ray, orchestrator.session; print(ray.is_initialized())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
