"""Drawers: batches, retries, patience; and nothing said about passwords."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import pickle
import threading
import time

import pytest
from sqlalchemy.exc import IntegrityError

from orchestrator.privacy.errors import BudgetExceeded, LedgerUnreachable
from orchestrator.privacy.ledger import drawer as module
from orchestrator.privacy.ledger.drawer import TokenDrawer
from orchestrator.privacy.ledger.ledger import Cap, Ledger
from tests.support.ledgers import LAW, reserve


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.01)


def test_a_batch_is_drawn_before_it_is_used_and_the_last_few_one_by_one(any_ledger):
    reserve(any_ledger, "a", 8)
    drawer = TokenDrawer(any_ledger.url, "a", "train_step", "t0", batch=3)
    counts = []
    for step in range(8):
        drawer.draw(step)
        counts.append(any_ledger.drawn("a", "train_step", "t0"))
    assert counts == [3, 3, 3, 6, 6, 6, 7, 8]
    with pytest.raises(BudgetExceeded, match="The cap of 8"):
        drawer.draw(8)
    any_ledger.verify("a")


def test_copies_have_none_of_the_batch(any_ledger):
    reserve(any_ledger, "a", 100)
    drawer = TokenDrawer(any_ledger.url, "a", "train_step", "t0", batch=10)
    drawer.draw(0)
    for used, twin in enumerate(
        (pickle.loads(pickle.dumps(drawer)), copy.copy(drawer), copy.deepcopy(drawer)), start=1
    ):
        twin.draw(1)
        assert any_ledger.drawn("a", "train_step") == 10 + 10 * used
    child = multiprocessing.get_context("fork").Process(target=drawer.draw, args=(1,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert any_ledger.drawn("a", "train_step") == 50
    for step in range(9):
        drawer.draw(step)
    assert any_ledger.drawn("a", "train_step") == 50


def test_a_price_goes_with_every_token(any_ledger):
    reserve(any_ledger, "a", {"filter": Cap(LAW, 10_000)})
    TokenDrawer(any_ledger.url, "a", "filter", "t0", price=700, batch=2).draw(0)
    assert any_ledger.reservations()[0].drawn == 1400


def test_a_draw_tried_again_after_an_unclear_commit_is_the_same_draw(any_ledger, monkeypatch):
    reserve(any_ledger, "a", 5)
    drawer = TokenDrawer(any_ledger.url, "a", "train_step", "t0")
    true_draw, answers = Ledger.draw, iter([False, False, True, True])

    def draw_with_lost_answers(self, *args, **kwargs):
        first = true_draw(self, *args, **kwargs)
        if not next(answers):
            raise LedgerUnreachable("the answer was lost")
        return first

    monkeypatch.setattr(Ledger, "draw", draw_with_lost_answers)
    drawer.draw(0)
    drawer.draw(1)
    assert any_ledger.drawn("a", "train_step") == 2


def test_patience_ends_with_a_clear_line_and_one_warning(postgresql_server, caplog, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "PASSWORD")
    url = f"postgresql://someone@/nowhere?host={postgresql_server.folder}"
    drawer = TokenDrawer(url, "a", "train_step", "t0", patience_s=0.2)
    with caplog.at_level(logging.WARNING), pytest.raises(LedgerUnreachable) as refusal:
        drawer.draw(0)
    line = str(refusal.value)
    assert "does not answer" in line
    assert "'t0' waited 0 s for a token of 'a'" in line
    assert "Everything that was released is accounted for" in line
    assert "start the same command again" in line
    assert len(caplog.records) == 1
    assert "PASSWORD" not in line + caplog.text + repr(drawer)
    assert str(pickle.loads(pickle.dumps(refusal.value))) == line


def test_a_drawer_outlives_a_server_that_comes_back(tmp_path):
    from tests.support.postgres import PostgresServer

    server = PostgresServer()
    try:
        server.start()
        with Ledger(server.new_database()) as ledger:
            reserve(ledger, "a", 5)
            drawer = TokenDrawer(ledger.url, "a", "train_step", "t0", patience_s=60)
            drawer.draw(0)
            server.stop()
            waiting = threading.Thread(target=drawer.draw, args=(1,))
            waiting.start()
            time.sleep(0.3)
            assert waiting.is_alive()
            server.start()
            waiting.join(30)
            assert not waiting.is_alive()
            assert ledger.drawn("a", "train_step") == 2
            ledger.verify_all()
    finally:
        server.remove()


def test_only_a_lost_connection_is_waited_for(any_ledger, monkeypatch):
    reserve(any_ledger, "a", 1)
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    TokenDrawer(any_ledger.url, "a", "train_step", "t0").draw(0)
    with pytest.raises(BudgetExceeded):
        TokenDrawer(any_ledger.url, "a", "train_step", "t0").draw(1)
    with pytest.raises(ValueError, match="Nothing is reserved"):
        TokenDrawer(any_ledger.url, "b", "train_step", "t0").draw(0)

    def broken(*_args, **_kwargs):
        raise IntegrityError("INSERT", None, Exception("unique"))

    monkeypatch.setattr("orchestrator.privacy.ledger.draws.draw", broken)
    with pytest.raises(IntegrityError):
        TokenDrawer(any_ledger.url, "a", "train_step", "t0").draw(1)
    assert pauses == []
