"""The simulator finds the known mistakes: each is put in, and must be found within a number of histories.

The seed that a test names is the smallest one that found the mistake; it comes first, so that a test takes a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from orchestrator.privacy.ledger import draws, engines
from orchestrator.privacy.ledger.drawer import TokenDrawer, _shared, retry_while_unreachable
from orchestrator.sweep import trial
from orchestrator.sweep.study import TruthfulSearch
from tests.simulation import database, history
from tests.simulation.history import History, wrong_in
from tests.simulation.lanes import LaneHistory
from tests.simulation.machine import FaultKind
from tests.simulation.workers import WorkerHistory
from trainers.mechanism.release_log import ReleaseLog, canonical, next_link
from trainers.run import step as step_module
from trainers.run import zeroth_order
from trainers.workers.exchange import PeerLost
from trainers.workers.ranks import Ranks

WITHIN = 120


@pytest.fixture
def found(place):
    """Whether a history with this problem comes up; `first` is the seed to try first."""

    def found(
        problem: str, first: int, faults: Sequence[FaultKind] | None = None, kind: type[History] = History
    ) -> bool:
        seeds = (first, *range(WITHIN))
        return any(problem in one for seed in seeds for one in wrong_in(seed, place, faults, kind))

    return found


def test_a_token_drawn_after_the_release(found, monkeypatch):
    release = step_module._release

    def release_then_draw(context, step, total_K):
        noisy_K = release(context, step, total_K)
        context.tokens.draw(step)
        return noisy_K

    monkeypatch.setattr(step_module, "_reserve", lambda context, step: context.log.reserve("step", step))
    monkeypatch.setattr(step_module, "_release", release_then_draw)
    assert found("rows were read without a token", 0)
    assert found("by its own log", 1)  # one that was killed before the draw cannot go on


def test_a_reservation_written_after_the_rows_are_read(found, monkeypatch):
    def release_late(context, step, total_K):
        context.log.reserve("step", step)
        noisy_K = total_K + context.noise.draw(context.method.plan_at(step))
        context.log.release("step", step, noisy_K)
        return noisy_K

    monkeypatch.setattr(step_module, "_reserve", lambda context, step: context.tokens.draw(step))
    monkeypatch.setattr(step_module, "_release", release_late)
    assert found("rows were read before the reservation was on disk", 0)


def test_a_release_written_after_its_use(found, monkeypatch):
    def take_step(context, step):
        step_module._reserve(context, step)
        total_K = step_module._private_sum(context, step)
        noisy_K = total_K + context.noise.draw(context.method.plan_at(step))
        context.method.update(step, noisy_K)
        context.log.release("step", step, noisy_K)

    monkeypatch.setattr(zeroth_order, "take_step", take_step)
    assert found("was used before its release was on disk", 0)
    assert found("was released a second time, with other noise", 14)


def test_noise_drawn_twice_for_one_step(found, monkeypatch):
    def release_twice(context, step, total_K):
        plan = context.method.plan_at(step)
        context.log.release("step", step, total_K + context.noise.draw(plan))
        return total_K + context.noise.draw(plan)

    monkeypatch.setattr(step_module, "_release", release_twice)
    assert found("was released a second time, with other noise", 14)
    assert found("the model is the replay of the log", 0)


def test_a_log_without_fsync(found, monkeypatch):
    def append(log, entry):
        log._chain = next_link(log._chain, entry)
        log._file.write(canonical({**entry, "chain": log._chain.hex()}) + b"\n")

    monkeypatch.setattr(ReleaseLog, "_append", append)
    assert found("was used before its release was on disk", 0)
    assert found("was released a second time, with other noise", 64)


def test_a_log_that_is_not_synced_when_it_is_opened_again(found, monkeypatch):
    def complete_lines(log):
        log._file.seek(0)
        content = log._file.read()
        complete = content[: content.rfind(b"\n") + 1]
        log._file.truncate(len(complete))
        return complete.splitlines()

    monkeypatch.setattr(ReleaseLog, "_complete_lines", complete_lines)
    assert found("was used before its release was on disk", 20, faults=["kill"])


def test_a_ledger_that_does_not_wait_for_the_disk(found, monkeypatch):
    prepare = engines._prepare_sqlite

    def careless(connection, record):
        prepare(connection, record)
        connection.execute("PRAGMA synchronous=OFF")

    monkeypatch.setattr(engines, "_prepare_sqlite", careless)
    database._engine.cache_clear()
    try:
        assert found("by its own log", 18)
    finally:
        database._engine.cache_clear()


def test_a_cap_that_admits_one_token_too_many(found, monkeypatch):
    require_left = draws._require_left

    def off_by_one(reservation, cap, request):
        require_left(reservation, cap, dataclasses.replace(request, count=request.count - 1))

    monkeypatch.setattr(draws, "_require_left", off_by_one)
    monkeypatch.setattr(history, "SPARE", 0)  # so that one kill reaches the cap
    history.plan_of.cache_clear()
    try:
        assert found("no more tokens are drawn than the cap has", 2, faults=["kill", "power"])
    finally:
        history.plan_of.cache_clear()


def test_a_draw_that_is_repeated_after_a_lost_answer(found, monkeypatch):
    def ask(drawer, step, count):
        retry_while_unreachable(lambda: _shared(drawer.url).draw(drawer.name, drawer.kind, drawer.holder, step), 9.0)

    monkeypatch.setattr(TokenDrawer, "_draw", ask)
    assert found("the end of a life costs at most one token", 43, faults=["silence"])


def test_a_rank_that_goes_on_without_the_reservation(found, monkeypatch):
    def take_step(context, step):
        ranks = context.ranks
        early_K = None if ranks.is_rank_0 else step_module._private_sum(context, step)
        ranks.reserve_step(lambda: step_module._reserve(context, step))
        sum_K = step_module._private_sum(context, step) if early_K is None else early_K
        finish_step(context, step, ranks.sum_to_rank_0(sum_K))

    monkeypatch.setattr(zeroth_order, "take_step", take_step)
    assert found("rows were read before the reservation was on disk", 0, kind=WorkerHistory)


def test_a_sum_that_lacks_a_lost_rank(found, monkeypatch):
    sum_to_rank_0 = Ranks.sum_to_rank_0

    def go_on_alone(ranks, sum_K):
        try:
            return sum_to_rank_0(ranks, sum_K)
        except PeerLost:
            return sum_K

    monkeypatch.setattr(Ranks, "sum_to_rank_0", go_on_alone)
    assert found("is not the sum of all ranks with one noise", 67, kind=WorkerHistory)


def test_noise_of_each_rank(found, monkeypatch):
    def take_step(context, step):
        context.ranks.reserve_step(lambda: step_module._reserve(context, step))
        noise_K = context.noise.draw(context.method.plan_at(step))
        finish_step(context, step, context.ranks.sum_to_rank_0(step_module._private_sum(context, step) + noise_K))

    monkeypatch.setattr(zeroth_order, "take_step", take_step)
    assert found("is not the sum of all ranks with one noise", 0, kind=WorkerHistory)


def test_a_release_that_other_ranks_use_before_it_is_on_disk(found, monkeypatch):
    broadcast_release = Ranks.broadcast_release

    def send_first(ranks, count, release):
        kept = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ReleaseLog, "release", lambda log, *entry: kept.append((log, entry)))
            noisy_K = release() if ranks.is_rank_0 else None
        noisy_K = broadcast_release(ranks, count, lambda: noisy_K)
        for log, entry in kept:
            log.release(*entry)
        return noisy_K

    monkeypatch.setattr(Ranks, "broadcast_release", send_first)
    assert found("was used before its release was on disk", 0, kind=WorkerHistory)


def test_a_lane_that_draws_for_another_trial(found, monkeypatch):
    monkeypatch.setattr(trial, "holder_of", lambda number, seed=0: "trial-000")
    assert found("rows were read without a token", 0, kind=LaneHistory)


def test_a_search_that_forgets_the_trials_of_a_killed_process(found, monkeypatch):
    init = TruthfulSearch.__init__

    def forget(of_trials, *args, **settings):
        init(of_trials, *args, **settings)
        of_trials._to_resume = []

    monkeypatch.setattr(TruthfulSearch, "__init__", forget)
    assert found("the study has the planned trials, and all have a score", 1, kind=LaneHistory)


def finish_step(context, step, total_K):
    """End a step as `take_step` does, from the sum."""
    count = context.plan.num_directions
    noisy_K = context.ranks.broadcast_release(count, lambda: step_module._release(context, step, total_K))
    if not context.ranks.is_rank_0:
        context.log.reserve("step", step)
        context.log.release("step", step, noisy_K)
    context.method.update(step, noisy_K)
