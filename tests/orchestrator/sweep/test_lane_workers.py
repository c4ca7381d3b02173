"""What the workers of a lane do with orders, without a cluster: a mailbox of this process, and ranks in threads."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import storage_of
from orchestrator.sweep import lane_workers
from orchestrator.sweep.lane_workers import TrialLoop
from orchestrator.sweep.trial import SweepContext
from tests.support.quadratic import Quadratic, example
from tests.support.ranks import in_threads
from trainers.mechanism.release_log import LOG_NAME
from trainers.run.context import Workspace


class OpenMailbox:
    """A mailbox that is asked without Ray, holds all orders beforehand, and keeps the answers."""

    def __init__(self, orders: list[Any]) -> None:
        self._orders, self.answers = orders, {}
        self.next_order = _Remote(lambda done: (done + 1, self._orders[done]))
        self.answer = _Remote(self.answers.__setitem__)


class _Remote:
    def __init__(self, call) -> None:
        self.remote = call


@pytest.fixture
def take(settings, monkeypatch):
    """Let two ranks take the ordered trials; returns storage, ledger, and what was answered to each order."""
    monkeypatch.setattr(lane_workers.ray, "get", lambda value: value)

    def open_workspace(config, **_):
        return Workspace([example(n) for n in range(40)], [example(n) for n in range(10)], Quadratic())

    monkeypatch.setattr("orchestrator.sweep.trial.open_workspace", open_workspace)
    plan = make_plan(load_sweep(settings))
    storage = storage_of(plan.config)
    ledger = reserve_plan(plan, storage).ledger

    def take(orders):
        mailbox = OpenMailbox([*orders, None])
        task = TrialLoop(SweepContext(plan, storage, threads=1))
        results = in_threads(2, lambda ranks: task(ranks, mailbox))
        assert results == [None, None]
        return storage, ledger, mailbox.answers

    return take


def order(trial, segment, number=None):
    values = {"number": trial if number is None else number, "method.learning_rate": 1e-3 * (trial + 1)}
    return {"trial": trial, "values": values, "segment": segment}


def test_trials_are_taken_as_they_are_ordered(take):
    storage, ledger, answers = take([order(0, 0), order(0, 1), order(1, 0)])
    assert [(answers[n]["steps"], answers[n]["finished"]) for n in (1, 2, 3)] == [(2, False), (4, True), (2, False)]
    assert all(0 <= answer["score"] <= 1 for answer in answers.values())
    assert [ledger.drawn("test", "train_step", f"trial-00{number}") for number in (0, 1)] == [4, 2]
    assert '"method.learning_rate":0.002' in (storage.trial_folder(1) / LOG_NAME).read_text()


def test_workers_that_were_started_again_go_on_in_the_middle_of_a_trial(take):
    storage, _, first = take([order(0, 0)])
    released = (storage.trial_folder(0) / LOG_NAME).read_text()
    _, ledger, again = take([order(0, 1)])  # a new group hears the latest order alone
    assert first[1]["steps"] == 2
    assert (again[1]["steps"], again[1]["finished"], again[1]["steps_charged"]) == (4, True, 4)
    assert (storage.trial_folder(0) / LOG_NAME).read_text().startswith(released)
    assert ledger.drawn("test", "train_step") == 4
