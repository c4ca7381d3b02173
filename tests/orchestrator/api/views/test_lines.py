"""The progress where output is no terminal: a line a score, one a minute, and none of a search of one winner."""

import io
import time

import pytest
from rich.console import Console

from orchestrator.api.views.lines import Lines
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.monitor import WorkFacts
from tests.support.monitors import monitored


@pytest.fixture
def lines():
    """Let a body tell a monitor of this, and return what it printed."""

    def of(facts, body, period_s=60.0):
        console = Console(file=io.StringIO(), width=40)
        with monitored(monitor := Lines(console, period_s), facts):
            body(monitor)
        return console.file.getvalue().splitlines()

    return of


def sweep(num_trials=3, count_steps=lambda: 0):
    return WorkFacts("sweep", "reviews", "accuracy", 10, num_trials, count_steps=count_steps)


def test_a_score_is_a_line(lines):
    def body(monitor):
        monitor.on_trial_start(TrialRow(0, {}))
        monitor.on_score(TrialRow(0, {}, "running", 5, 5, [0.5], 0.52, 10))
        monitor.on_score(TrialRow(0, {}, "complete", 10, 10, [0.5, 0.75], 0.9, 10))
        monitor.on_trial_end(TrialRow(0, {}, "complete", 10, 10, [0.5, 0.75], 0.9, 10))
        monitor.on_trial_end(TrialRow(1, {}, "failed", 0, 1))

    assert lines(sweep(), body) == [
        "trial 0: 5 of 10 steps, accuracy 50.0%, ε 0.52, running",
        "trial 0: 10 of 10 steps, accuracy 75.0%, ε 0.9, complete",
        "trial 1: 0 of 10 steps, failed",
    ]


def test_a_score_of_a_run_is_a_line(lines):
    facts = WorkFacts("run", "reviews", "loss", 10, count_steps=lambda: 0)
    row = TrialRow(0, {}, steps=5, scores=[-0.5], num_steps=10)
    assert lines(facts, lambda monitor: monitor.on_score(row)) == ["reviews: 5 of 10 steps, loss -0.500"]


def test_a_minute_is_a_line_with_rate_and_time_left(lines):
    steps = iter([0, 6, 6, *[12] * 100])
    first, second, *_ = lines(sweep(count_steps=lambda: next(steps)), lambda _: time.sleep(0.5), period_s=0.1)
    assert first.startswith("6 of 30 steps, ")
    assert first.endswith(" s left")
    assert second == "6 of 30 steps, 0 steps/s, no step in the last minute"


def test_of_a_search_of_one_winner_there_is_no_line(lines):
    assert lines(sweep(None, None), lambda _: time.sleep(0.05), period_s=0.01) == []


def test_the_first_line_says_how_to_open_rays_dashboard(lines):
    facts = WorkFacts("sweep", "reviews", "accuracy", 10, 3, ray_dashboard="Ray's dashboard: http://127.0.0.1:8265")
    assert lines(facts, lambda _: None) == ["Ray's dashboard: http://127.0.0.1:8265"]
