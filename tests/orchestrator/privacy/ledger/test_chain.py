"""Chains: what was changed by hand is noticed, whatever it was; dates never go back; exports can be checked."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger import clock as ledger_clock
from orchestrator.privacy.ledger.budget import Cost
from orchestrator.privacy.ledger.ledger import Cap, Ledger
from tests.support.ledgers import LAW, budget, reserve, tamper

SECOND = "budget = 'data' AND sequence = 1"

TAMPERING = [
    ("UPDATE entries SET content = '{}' WHERE " + SECOND, "Entry 1 of budget 'data'"),
    ("UPDATE entries SET made_at = '2020-01-01' WHERE " + SECOND, "Entry 1 of budget 'data'"),
    ("UPDATE entries SET entry = 'closed' WHERE " + SECOND, "Entry 1 of budget 'data'"),
    ("UPDATE entries SET name = 'c' WHERE " + SECOND, "Entry 1 of budget 'data'"),
    ("DELETE FROM entries WHERE " + SECOND, "written as no. 1"),
    ("DELETE FROM entries WHERE budget = 'data' AND sequence > 3", "found 4 entries, expected 6"),
    ("DELETE FROM entries", "found 0 entries"),
    ("UPDATE budgets SET terms = replace(terms, '3.0', '30.0')", "The row of budget 'data'"),
    ("UPDATE budgets SET fingerprint = 'other'", "The row of budget 'data'"),
    ("UPDATE budgets SET num_entries = 5", "found 6 entries, expected 5"),
    ("UPDATE budgets SET last_at = '2020-01-01'", "Budget 'data': found 6 entries"),
    ("UPDATE reservations SET terms = replace(terms, '1.0', '0.1') WHERE name = 'b'", "The row of reservation 'b'"),
    ("UPDATE reservations SET closed = NOT closed WHERE name = 'a'", "The row of reservation 'a'"),
    ("UPDATE reservations SET secret = '{\"trials\":1}' WHERE name = 'b'", "The row of reservation 'b'"),
    ("UPDATE reservations SET secret = NULL WHERE name = 'b'", "The row of reservation 'b'"),
    ("UPDATE reservations SET name = 'z' WHERE name = 'empty'; DELETE FROM caps WHERE name = 'empty'", "'empty'|'z'"),
    ("UPDATE caps SET num_moved = 0 WHERE name = 'a'", "The cap 'train_step' of 'a'"),
    ("UPDATE caps SET per_holder = 5 WHERE kind = 'entry'", "The cap 'entry' of 'b'"),
    ("UPDATE caps SET cap = 50 WHERE name = 'b'", "The cap '.*' of 'b'"),
    ("UPDATE draws SET num_tokens = 1 WHERE name = 'b'", "Draw 0 of 'entry' of 'b'"),
    ("UPDATE draws SET price = 1 WHERE name = 'b'", "Draw 0 of 'entry' of 'b'"),
    ("UPDATE draws SET first = 1 WHERE name = 'b'", "Draw 0 of 'entry' of 'b'"),
    ("UPDATE draws SET nonce = 'other' WHERE name = 'b'", "Draw 0 of 'entry' of 'b'"),
    ("UPDATE holders SET units = 1", "The counts by holder of 'entry' of 'b'"),
    ("DELETE FROM holders", "The counts by holder of 'entry' of 'b'"),
]


@pytest.fixture
def busy(tmp_path):
    """A ledger with something of everything."""
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        fill(ledger)
        yield ledger


def fill(ledger):
    ledger.create_budget(budget(fingerprint="data"))
    reserve(ledger, "a", 5, Cost(1.0, 1e-6))
    ledger.close("a")
    caps = {"entry": Cap(LAW, 9, per_holder=4), "train_step": Cap(LAW, 3)}
    reserve(ledger, "b", caps, Cost(1.0, 1e-6), secret={"trials": 3})
    reserve(ledger, "empty", 4, reused={"train_step": 2})
    ledger.draw("b", "entry", "t0", 0, count=2, price=2, nonce="n")
    ledger.verify_all()


@pytest.mark.parametrize(("statements", "message"), TAMPERING, ids=[statements for statements, _ in TAMPERING])
def test_tampering_is_noticed_by_every_reader_that_counts_on_it(busy, statements, message):
    tamper(busy.url, *statements.split("; "))
    with pytest.raises(LedgerCorruptError, match=message):
        busy.verify_all()
    if "draws" not in statements and "holders" not in statements:  # what admission and histories are made of
        for ask in (lambda: reserve(busy, "new", 1), lambda: busy.spent("data"), lambda: busy.history("data")):
            with pytest.raises(LedgerCorruptError, match=message):
                ask()


def test_a_reservation_that_is_opened_again_is_verified(any_ledger):
    reserve(any_ledger, "a", 5)
    any_ledger.draw("a", "train_step", "t0", 0)
    tamper(any_ledger.url, "UPDATE draws SET holder = 'other'")
    with pytest.raises(LedgerCorruptError, match="Draw 0"):
        reserve(any_ledger, "a", 5)


def test_a_reservation_that_is_gone_is_missed(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    with Ledger(url) as ledger:
        reserve(ledger, "a", 5)
        tamper(url, "DELETE FROM caps", "DELETE FROM reservations")
        for ask in (ledger.verify_all, lambda: ledger.verify("a")):
            with pytest.raises(LedgerCorruptError, match="Reservation 'a' is not both a row and an entry"):
                ask()
        tamper(url, "DELETE FROM entries", "DELETE FROM budgets")
        ledger.verify_all()  # all of it gone at once: only who remembers knows; see Ledger.digest


def test_an_export_can_be_checked_by_anyone(busy):
    exported = json.loads(json.dumps(busy.export("data")))
    head = ""
    for entry in exported["entries"]:
        content = {key: entry[key] for key in ("sequence", "entry", "name", "content", "made_at")}
        text = head + json.dumps(content, sort_keys=True, separators=(",", ":"))
        head = hashlib.sha256(text.encode()).hexdigest()
        assert head == entry["hash"]
    assert head == exported["head"]
    reserved = [json.loads(e["content"]) for e in exported["entries"] if e["entry"] == "reserved"]
    assert sum(entry["terms"]["cost"]["epsilon"] for entry in reserved) == exported["spent"]["epsilon"] == 2.0
    assert exported["budget"] == {**budget().to_json(), "fingerprint": "data"}
    assert [(r["name"], r["closed"], r["drawn"]) for r in exported["reservations"]] == [
        ("a", True, {"train_step": 0}),
        ("b", False, None),
        ("empty", False, {"train_step": 0}),
    ]


def test_a_history_reads_like_one(busy):
    rows = [(row.entry, row.name, row.tokens, row.epsilon) for row in busy.history("data")]
    assert rows == [
        ("created", None, None, 3.0),
        ("reserved", "a", {"train_step": 5}, 1.0),
        ("closed", "a", {"train_step": 0}, None),
        ("reserved", "b", {"entry": 9, "train_step": 3}, 1.0),
        ("reserved", "empty", {"train_step": 4}, 0.0),
        ("moved", "a", {"train_step": 2}, None),
    ]


def test_the_digest_changes_with_everything_that_happens(any_ledger):
    seen = [any_ledger.digest()]

    def happened():
        seen.append(any_ledger.digest())
        assert len(set(seen)) == len(seen)
        assert any_ledger.digest() == seen[-1]

    any_ledger.create_budget(budget())
    happened()
    reserve(any_ledger, "a", 5)
    happened()
    any_ledger.draw("a", "train_step", "t0")
    happened()
    any_ledger.close("a")
    happened()
    assert all(len(digest) == 64 for digest in seen)


@pytest.fixture
def clock(monkeypatch):
    def set_to(day):
        monkeypatch.setattr(ledger_clock, "today", lambda: day)

    return set_to


def test_a_clock_that_went_backwards_is_refused_and_nothing_is_written(any_ledger, clock):
    clock("2026-11-22")
    reserve(any_ledger, "a", 5)
    any_ledger.draw("a", "train_step", "t0")
    before = any_ledger.digest()
    clock("2026-11-20")
    for ask in (
        lambda: any_ledger.draw("a", "train_step", "t0"),
        lambda: reserve(any_ledger, "b", 5),
        lambda: any_ledger.close("a"),
        lambda: any_ledger.require_fingerprint("data", "f"),
    ):
        with pytest.raises(ValueError, match=r"clock says 2026-11-20.*date 2026-11-22.*went backwards\. Set the clock"):
            ask()
    assert any_ledger.digest() == before
    assert any_ledger.terms_of("b") is None
    any_ledger.verify_all()


def test_after_a_clock_that_was_ahead_the_operator_accepts_the_right_one(any_ledger, clock):
    clock("2026-11-22")
    reserve(any_ledger, "a", 5)
    with pytest.raises(ValueError, match="no clock was ahead"):
        any_ledger.accept_clock("data")
    clock("2029-11-22")
    any_ledger.draw("a", "train_step", "t0")
    reserve(any_ledger, "b", 5)
    clock("2026-11-23")
    for ask in (lambda: any_ledger.draw("a", "train_step", "t0"), lambda: reserve(any_ledger, "c", 5)):
        with pytest.raises(
            ValueError, match="If the clock is right now, and was ahead before: dpzo budget accept-clock"
        ):
            ask()
    any_ledger.accept_clock("data")
    for name in ("a", "b"):
        any_ledger.draw(name, "train_step", "t0")
    reserve(any_ledger, "c", 5)
    any_ledger.close("a")
    any_ledger.verify_all()
    rows = any_ledger.history("data")
    assert [row.entry for row in rows] == ["created", "reserved", "reserved", "clock accepted", "reserved", "closed"]
    assert [row.made_at[:4] for row in rows] == ["2026", "2026", "2029", "2026", "2026", "2026"]
    assert any_ledger.export("data")["entries"][3]["content"] == '{"last_at":"2029-11-22"}'
    with pytest.raises(ValueError, match="no clock was ahead"):
        any_ledger.accept_clock("data")
    clock("2026-11-20")
    with pytest.raises(ValueError, match="went backwards"):
        any_ledger.draw("b", "train_step", "t0")


def test_a_clock_that_was_ahead_in_draws_alone_is_accepted_too(any_ledger, clock):
    clock("2026-11-22")
    reserve(any_ledger, "a", 5)
    clock("2029-11-22")
    any_ledger.draw("a", "train_step", "t0")
    clock("2026-11-23")
    any_ledger.accept_clock("data")
    any_ledger.draw("a", "train_step", "t0")
    any_ledger.verify_all()


def test_clocks_of_two_machines_may_differ_a_little(any_ledger, clock):
    clock("2026-11-22")
    reserve(any_ledger, "a", 5)
    any_ledger.draw("a", "train_step", "t0")
    clock("2026-11-21")
    any_ledger.draw("a", "train_step", "t1")  # another machine, still in yesterday
    reserve(any_ledger, "b", 5)
    clock("2026-11-23")
    reserve(any_ledger, "c", 5)
    assert [row.made_at for row in any_ledger.history("data")] == [*["2026-11-22"] * 3, "2026-11-23"]
    any_ledger.verify_all()


def test_a_ledger_that_holds_times_goes_on_in_days(any_ledger, monkeypatch, clock):
    """Earlier versions wrote times of what people decided."""
    monkeypatch.setattr(ledger_clock, "entry_date", lambda day, last, budget: day)
    clock("2026-11-22T12:34:56.000000+00:00")
    reserve(any_ledger, "a", 5)
    monkeypatch.undo()
    monkeypatch.setattr(ledger_clock, "today", lambda: "2026-11-22")
    reserve(any_ledger, "b", 5)
    any_ledger.draw("a", "train_step", "t0")
    any_ledger.close("a")
    assert [row.made_at[10:] for row in any_ledger.history("data")][1:] == ["T12:34:56.000000+00:00", "", ""]
    any_ledger.verify_all()


def test_the_ledger_keeps_no_time_of_day(any_ledger):
    reserve(any_ledger, "a", 5)
    any_ledger.draw("a", "train_step", "t0")
    any_ledger.close("a")
    with any_ledger._store.reading() as connection:
        tables = ("budgets", "entries", "reservations", "caps", "draws", "holders")
        written = [connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in tables]
    assert not re.search(r"T\d\d:\d\d", repr(written))
