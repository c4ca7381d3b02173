"""The simulator finds the known mistakes: each is put in, and must be found within a number of histories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from orchestrator.privacy.ledger import draws, engines
from orchestrator.privacy.ledger.drawer import TokenDrawer, _shared, retry_while_unreachable
from tests.simulation import database, history
from tests.simulation.history import wrong_in
from tests.simulation.machine import FAULTS, FaultKind
from trainers.mechanism.release_log import ReleaseLog, canonical, next_link
from trainers.run import step as step_module
from trainers.run import zeroth_order

WITHIN = 60


@pytest.fixture
def found(place):
    """Whether a history with this problem comes up."""

    def found(problem: str, faults: Sequence[FaultKind] = FAULTS) -> bool:
        return any(problem in one for seed in range(WITHIN) for one in wrong_in(seed, place, faults))

    return found


def test_a_token_drawn_after_the_release(found, monkeypatch):
    release = step_module._release

    def release_then_draw(context, step, total_K):
        noisy_K = release(context, step, total_K)
        context.tokens.draw(step)
        return noisy_K

    monkeypatch.setattr(step_module, "_reserve", lambda context, step: context.log.reserve("step", step))
    monkeypatch.setattr(step_module, "_release", release_then_draw)
    assert found("rows were read without a token")
    assert found("by its own log")  # one that was killed before the draw cannot go on


def test_a_reservation_written_after_the_rows_are_read(found, monkeypatch):
    def release_late(context, step, total_K):
        context.log.reserve("step", step)
        noisy_K = total_K + context.noise.draw(context.method.plan_at(step))
        context.log.release("step", step, noisy_K)
        return noisy_K

    monkeypatch.setattr(step_module, "_reserve", lambda context, step: context.tokens.draw(step))
    monkeypatch.setattr(step_module, "_release", release_late)
    assert found("rows were read before the reservation was on disk")


def test_a_release_written_after_its_use(found, monkeypatch):
    def take_step(context, step):
        step_module._reserve(context, step)
        total_K = step_module._private_sum(context, step)
        noisy_K = total_K + context.noise.draw(context.method.plan_at(step))
        context.method.update(step, noisy_K)
        context.log.release("step", step, noisy_K)

    monkeypatch.setattr(zeroth_order, "take_step", take_step)
    assert found("was used before its release was on disk")
    assert found("was released a second time, with other noise")


def test_noise_drawn_twice_for_one_step(found, monkeypatch):
    def release_twice(context, step, total_K):
        plan = context.method.plan_at(step)
        context.log.release("step", step, total_K + context.noise.draw(plan))
        return total_K + context.noise.draw(plan)

    monkeypatch.setattr(step_module, "_release", release_twice)
    assert found("was released a second time, with other noise")
    assert found("the model is the replay of the log")


def test_a_log_without_fsync(found, monkeypatch):
    def append(log, entry):
        log._chain = next_link(log._chain, entry)
        log._file.write(canonical({**entry, "chain": log._chain.hex()}) + b"\n")

    monkeypatch.setattr(ReleaseLog, "_append", append)
    assert found("was used before its release was on disk")
    assert found("was released a second time, with other noise")


def test_a_log_that_is_not_synced_when_it_is_opened_again(found, monkeypatch):
    def complete_lines(log):
        log._file.seek(0)
        content = log._file.read()
        complete = content[: content.rfind(b"\n") + 1]
        log._file.truncate(len(complete))
        return complete.splitlines()

    monkeypatch.setattr(ReleaseLog, "_complete_lines", complete_lines)
    assert found("was used before its release was on disk", faults=["kill"])


def test_a_ledger_that_does_not_wait_for_the_disk(found, monkeypatch):
    prepare = engines._prepare_sqlite

    def careless(connection, record):
        prepare(connection, record)
        connection.execute("PRAGMA synchronous=OFF")

    monkeypatch.setattr(engines, "_prepare_sqlite", careless)
    database._engine.cache_clear()
    try:
        assert found("by its own log")
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
        assert found("no more tokens are drawn than the cap has", faults=["kill", "power"])
    finally:
        history.plan_of.cache_clear()


def test_a_draw_that_is_repeated_after_a_lost_answer(found, monkeypatch):
    def ask(drawer, step, count):
        retry_while_unreachable(lambda: _shared(drawer.url).draw(drawer.name, drawer.kind, drawer.holder, step), 9.0)

    monkeypatch.setattr(TokenDrawer, "_draw", ask)
    assert found("the end of a life costs at most one token", faults=["silence"])
