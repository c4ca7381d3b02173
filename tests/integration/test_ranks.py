"""Real processes over gloo: however many take the steps, the release log is the one of a single process, byte for byte.

With the same frozen batches and noise, on the quadratic model and on a small real one whose forward passes hold one
row each, so that rounding does not depend on who is in the batch.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.frozen import FrozenNoise
from tests.support.project import write_project
from tests.support.quadratic import Quadratic
from tests.support.ranks import Processes, ShardSampler, open_run
from tests.support.runs import run_config
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens
from trainers.run.zeroth_order import ZerothOrderRun
from trainers.workers import shared_log
from trainers.workers.exchange import PeerLost
from trainers.workers.ranks import Ranks
from trainers.workspace import open_workspace

LAYOUTS = [(1, 1), (2, 1), (4, 1), (2, 2), (4, 2), (4, 4)]
NUM_STEPS = 8
BATCHES = [[step, *range(step % 3, 24, 3 + step % 4)] for step in range(24, 24 + NUM_STEPS - 1)] + [[]]


@pytest.fixture(scope="module")
def processes():
    four = Processes(4)
    yield four
    four.close()


def on_the_quadratic(ranks: Ranks, folder: Path) -> str:
    evaluator = Quadratic()
    config = run_config(method__num_steps=NUM_STEPS, data__num_examples=40, resources__check_steps=1)
    run = open_run(ranks, folder, config, batches=BATCHES, evaluator=evaluator)
    with run.log:
        list(run.segments())
    return evaluator.state_digest()


def on_a_model(ranks: Ranks, folder: Path, values: dict) -> str:
    config = RunConfig.model_validate(values)
    workspace = open_workspace(config)
    none = LocalTokens(NUM_STEPS if ranks.is_rank_0 else 0)
    plan = mechanism_plan(config, config.privacy.noise_multiplier)
    context = RunContext(workspace, config, plan, Tokens(none, none), folder, ranks)
    sampler = ShardSampler(BATCHES, ranks, len(workspace.examples))
    run = ZerothOrderRun(context, sampler=sampler, noise=FrozenNoise(2))
    with run.log:
        scores = [score for _, score in run.segments()]
    assert [score is None for score in scores] == [not ranks.is_rank_0] * 2  # rank 0 alone scores
    return workspace.evaluator.state_digest()


def logs(processes: Processes, folder: Path, job, *args) -> set[str]:
    found = set()
    for size, group_size in LAYOUTS:
        place = folder / f"{size}-{group_size}"
        digests = processes(size, job, place, *args, group_size=group_size)
        assert len(set(digests)) == 1
        found.add((place / LOG_NAME).read_text())
    return found


def test_any_number_of_processes_writes_the_same_log(processes, tmp_path):
    (log,) = logs(processes, tmp_path, on_the_quadratic)
    assert log.count('"RELEASE"') == NUM_STEPS


@pytest.mark.parametrize("difference", ["two-sided", "centred"])
def test_any_number_of_processes_writes_the_same_log_of_a_real_model(processes, tmp_path, difference):
    values = write_project(tmp_path, num_examples=40)
    del values["search"]
    values["method"] |= {"num_steps": NUM_STEPS, "num_directions": 3, "difference": difference}
    values["privacy"] = {"rounding_share": 0, "noise_multiplier": 0.1, "expected_batch_size": 8}
    values["performance"] = {"num_threads": 1, "micro_batch_tokens": 1}
    (log,) = logs(processes, tmp_path / "runs", on_a_model, values)
    assert log.count('"RELEASE"') == NUM_STEPS


def hit_in_a_step(
    ranks: Ranks, folder: Path, victim: int, blow: signal.Signals, where: str = "probe"
) -> tuple[bool, int]:
    class Hit(Quadratic):
        def probe(self, batch, probes):
            self.hit("probe", 3)
            return super().probe(batch, probes)

        def apply(self, update, *, momentum=0.0):
            self.hit("apply", 2)  # the step before is released
            super().apply(update, momentum=momentum)

        def hit(self, place, steps):
            if (ranks.rank, where, len(self.updates)) == (victim, place, steps):
                os.kill(os.getpid(), blow)

    run = open_run(ranks, folder, run_config(data__num_examples=40), evaluator=Hit())
    with run.log:
        try:
            list(run.segments())
        except PeerLost:
            return True, run.steps_released
    return False, run.steps_released


@pytest.mark.parametrize("victim", [0, 2])
def test_a_process_that_is_killed_in_a_step_is_missed_by_the_others_at_once(tmp_path, victim):
    processes = Processes(3)
    try:
        answers = processes(3, hit_in_a_step, tmp_path, victim, signal.SIGKILL, lost=victim)
    finally:
        processes.close()
    assert answers == [(True, 3)] * 2
    entries = (tmp_path / LOG_NAME).read_text()
    assert (entries.count('"RESERVE"'), entries.count('"RELEASE"')) == (4, 3)


def go_on(ranks: Ranks, folder: Path) -> tuple[int, int]:
    tokens = LocalTokens(11, already_drawn=4) if ranks.is_rank_0 else None
    run = open_run(ranks, folder, run_config(data__num_examples=40), tokens=tokens)
    with run.log:
        list(run.segments())
    return run.steps_taken, run.steps_released


@pytest.mark.parametrize(("victim", "where"), [(0, "probe"), (1, "probe"), (1, "apply")])
def test_a_process_that_stops_is_given_up_and_writes_nothing_when_it_wakes(tmp_path, monkeypatch, victim, where):
    monkeypatch.setattr(shared_log, "LOCK_PATIENCE_S", 0.1)
    log, processes = tmp_path / LOG_NAME, Processes(2)
    try:
        hit = (hit_in_a_step, tmp_path, victim, signal.SIGSTOP, where)
        answers = processes(2, *hit, lost=victim, step_patience_s=2.0)
        assert answers == [(True, 3)]
        before = log.read_text()
        assert (before.count('"RESERVE"'), before.count('"RELEASE"')) == (4, 3)
        if victim == 0:  # its successor finds the lock, for as long as it may come back
            with pytest.raises(ValueError, match="being written by another process"):
                open_run(Ranks(), tmp_path, run_config(data__num_examples=40))
        processes.resume(victim)
        assert processes.answer_of(victim) == (True, 3)
        assert log.read_text() == before
        assert processes(2, go_on, tmp_path) == [(10, 10)] * 2
    finally:
        processes.close()
    entries = log.read_text()
    assert entries.startswith(before)
    assert (entries.count('"RESERVE"'), entries.count('"RELEASE"')) == (11, 10)
