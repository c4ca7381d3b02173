"""Menus, prices, secrets, closing, and tokens that move to a later reservation."""

from __future__ import annotations

import json
import re

import pytest

from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger import clock as ledger_clock
from orchestrator.privacy.ledger.budget import Cost
from orchestrator.privacy.ledger.ledger import Cap
from tests.support.ledgers import LAW, budget, reserve

OTHER_LAW = {**LAW, "noise_multiplier": 3.0}
MENU = {
    "step/0": Cap(LAW, 100, per_holder=3),
    "score/0": Cap(LAW, 100, per_holder=1),
    "step/1": Cap(OTHER_LAW, 100, per_holder=5),
    "evaluation": Cap(LAW, 4),
}


def test_a_holder_has_its_own_part(any_ledger):
    reserve(any_ledger, "a", {"small": Cap(LAW, 5, per_holder=3)})
    any_ledger.draw("a", "small", "t0", count=2)
    with pytest.raises(BudgetExceeded, match="'t0' has drawn 2 of its 3 'small' tokens") as refusal:
        any_ledger.draw("a", "small", "t0", count=2)
    assert (refusal.value.spent, refusal.value.asked, refusal.value.left) == (2, 2, 1)
    any_ledger.draw("a", "small", "t0")
    any_ledger.draw("a", "small", "t1", count=2)
    with pytest.raises(BudgetExceeded, match="The cap of 5 'small' tokens of 'a' is used up"):
        any_ledger.draw("a", "small", "t1")
    any_ledger.verify("a")


def test_a_trial_takes_one_entry_of_a_menu_and_there_are_only_so_many_trials(any_ledger):
    reserve(any_ledger, "a", MENU, max_holders=2)
    any_ledger.draw("a", "step/0", "t0")
    any_ledger.draw("a", "score/0", "t0")  # the same entry
    any_ledger.draw("a", "evaluation", "t0")  # no entry of the menu
    with pytest.raises(BudgetExceeded, match="'t0' has taken 'score/0' of 'a' and cannot take 'step/1' too"):
        any_ledger.draw("a", "step/1", "t0")
    any_ledger.draw("a", "step/1", "t1", count=5)
    for kind in ("step/0", "step/1"):
        with pytest.raises(BudgetExceeded, match="'a' is reserved for 2 trials, and 't2' would be one more"):
            any_ledger.draw("a", kind, "t2")
    any_ledger.draw("a", "evaluation", "t2")
    any_ledger.draw("a", "step/0", "t0", count=2)
    assert {r.kind: r.drawn for r in any_ledger.reservations()} == {
        "evaluation": 2,
        "score/0": 1,
        "step/0": 3,
        "step/1": 5,
    }
    any_ledger.verify("a")


def test_without_a_bound_on_holders_one_may_draw_from_several_kinds(any_ledger):
    reserve(any_ledger, "a", MENU)
    for trial in range(3):
        any_ledger.draw("a", "step/0", f"t{trial}")
        any_ledger.draw("a", "step/1", f"t{trial}")
    any_ledger.verify("a")


def test_prices_are_taken_from_the_cap_and_numbers_are_that_far_apart(any_ledger):
    reserve(any_ledger, "a", {"filter": Cap(LAW, 2**62)})
    price = 2**60
    assert any_ledger.draw("a", "filter", "t0", count=2, price=price) == 0
    assert any_ledger.draw("a", "filter", "t0", price=price + 5) == 2 * price
    with pytest.raises(BudgetExceeded) as refusal:
        any_ledger.draw("a", "filter", "t1", price=price)
    assert (refusal.value.spent, refusal.value.left) == (3 * price + 5, price - 5)
    assert any_ledger.draw("a", "filter", "t1", price=price - 5) == 3 * price + 5
    assert any_ledger.drawn("a", "filter") == 4  # tokens
    assert any_ledger.reservations()[0].drawn == 2**62  # units
    any_ledger.verify("a")


@pytest.mark.parametrize("amount", [{"count": 0}, {"count": -1}, {"count": 1.0}, {"price": 0}, {"price": True}])
def test_a_draw_takes_whole_tokens(any_ledger, amount):
    reserve(any_ledger, "a", 5)
    with pytest.raises(ValueError, match="count and price must be positive ints"):
        any_ledger.draw("a", "train_step", "t0", **amount)
    assert any_ledger.drawn("a", "train_step") == 0


def test_a_draw_with_a_known_nonce_is_the_same_draw(any_ledger):
    reserve(any_ledger, "a", 5)
    for _ in range(3):
        assert any_ledger.draw("a", "train_step", "t0", 0, count=2, nonce="n0") == 0
    assert any_ledger.draw("a", "train_step", "t0", 2, count=3, nonce="n1") == 2
    any_ledger.close("a")
    assert any_ledger.draw("a", "train_step", "t0", 2, count=3, nonce="n1") == 2  # was drawn, full and closed or not
    for other in ({"step": 1}, {"count": 1}, {"price": 2}, {"holder": "t1"}):
        with pytest.raises(ValueError, match="a new nonce for this draw"):
            any_ledger.draw(
                **{"name": "a", "kind": "train_step", "holder": "t0", "step": 0, "count": 2} | other, nonce="n0"
            )
    assert any_ledger.drawn("a", "train_step") == 5
    any_ledger.verify("a")


def test_a_closed_reservation_gives_no_tokens(any_ledger):
    reserve(any_ledger, "a", 5)
    any_ledger.draw("a", "train_step", "t0")
    for _ in range(2):
        any_ledger.close("a")
    with pytest.raises(BudgetExceeded, match="'a' is closed") as refusal:
        any_ledger.draw("a", "train_step", "t0")
    assert refusal.value.left == 0
    with pytest.raises(ValueError, match="Nothing is reserved under 'b'"):
        any_ledger.close("b")
    assert [row.entry for row in any_ledger.history("data")] == ["created", "reserved", "closed"]
    assert any_ledger.reservations()[0].closed
    any_ledger.verify_all()


def test_undrawn_tokens_of_a_closed_reservation_serve_the_next_one_of_that_law_once(any_ledger):
    cost = Cost(1.0, 1e-6)
    for name in ("a", "b"):
        reserve(any_ledger, name, 10, cost)
        any_ledger.draw(name, "train_step", "t0", count=4)
    assert any_ledger.leftover("data", LAW) == 0  # still open
    any_ledger.close("a")
    assert any_ledger.leftover("data", LAW) == 6
    any_ledger.close("b")
    assert any_ledger.leftover("data", dict(reversed(LAW.items()))) == 12
    assert any_ledger.leftover("data", OTHER_LAW) == 0
    reserve(any_ledger, "c", 9, reused={"train_step": 8})
    assert any_ledger.leftover("data", LAW) == 4
    with pytest.raises(BudgetExceeded, match=r"'d' would reuse 5 tokens .* have 4 left") as refusal:
        reserve(any_ledger, "d", 5, reused={"train_step": 5})
    assert (refusal.value.asked, refusal.value.left) == (5, 4)
    assert {r.name: (r.cap.count, r.drawn) for r in any_ledger.reservations()} == {
        "a": (4, 4),
        "b": (8, 4),
        "c": (9, 0),
    }
    assert any_ledger.draw("c", "train_step", "t0", count=9) == 0
    reserve(any_ledger, "c", 9)  # again; what it reused is known
    assert any_ledger.terms_of("c").reused == {"train_step": 8}
    assert any_ledger.spent("data").epsilon == 2.0
    moved = [(row.name, row.tokens) for row in any_ledger.history("data") if row.entry == "moved"]
    assert moved == [("a", {"train_step": 6}), ("b", {"train_step": 2})]
    any_ledger.verify_all()


def test_menus_and_secret_searches_and_other_budgets_give_nothing_back(any_ledger):
    any_ledger.create_budget(budget("other"))
    reserve(any_ledger, "menu", MENU, max_holders=2)
    reserve(any_ledger, "parts", {"train_step": Cap(LAW, 5, per_holder=2)})
    reserve(any_ledger, "best", 5, secret={"trials": 3})
    reserve(any_ledger, "others", 5, budget="other")
    for name in ("menu", "parts", "best", "others"):
        any_ledger.close(name)
    assert any_ledger.leftover("data", LAW) == 0
    assert any_ledger.leftover("other", LAW) == 5


SECRET = {"trials": 987123, "sampler": "PLANTED-SECRET"}


def test_a_secret_is_kept_and_told_to_nobody_else(any_ledger):
    reserve(any_ledger, "best", 40, secret=SECRET)
    reserve(any_ledger, "best", 40, secret={"trials": 2})
    assert any_ledger.secret_of("best") == SECRET
    for _ in range(17):
        any_ledger.draw("best", "train_step", "t0")
    any_ledger.close("best")
    for ask in (lambda: any_ledger.secret_of("none"), lambda: reserve(any_ledger, "best", 40)):
        with pytest.raises(ValueError, match=r"No secret|has_secret True, and it is False now") as refusal:
            ask()
        assert not re.search("987123|PLANTED", str(refusal.value))
    history, exported = any_ledger.history("data"), any_ledger.export("data")
    shown = json.dumps(exported) + repr(history) + repr(any_ledger.reservations()) + repr(any_ledger.terms_of("best"))
    assert not re.search("987123|PLANTED", shown)
    assert [row.tokens for row in history] == [None, {"train_step": 40}, None]
    assert exported["reservations"][0]["drawn"] is None
    assert any_ledger.reservations()[0].secret
    any_ledger.verify_all()


def test_when_a_secret_search_began_and_ended_is_not_timed(any_ledger, monkeypatch):
    def on(day):
        monkeypatch.setattr(ledger_clock, "today", lambda: f"2026-11-{day}")

    on(22)
    reserve(any_ledger, "best", 40, secret=SECRET)
    on(23)
    reserve(any_ledger, "all", 40)
    on(25)
    any_ledger.close("best")
    any_ledger.close("all")
    dates = [row.made_at for row in any_ledger.history("data")]
    assert {len(date) for date in dates} == {len("2026-11-22")}
    assert dates == [f"2026-11-{day}" for day in (22, 22, 23, 23, 25)]


def test_an_accepted_clock_does_not_show_the_day_of_a_secret_searchs_draws(any_ledger, monkeypatch):
    def on(day):
        monkeypatch.setattr(ledger_clock, "today", lambda: day)

    on("2029-11-22")
    reserve(any_ledger, "best", 40, secret=SECRET)
    on("2029-11-25")
    any_ledger.draw("best", "train_step", "t0")
    on("2026-11-23")
    any_ledger.accept_clock("data")
    assert "2029-11-22" in (shown := json.dumps(any_ledger.export("data")))
    assert "2029-11-25" not in shown
    any_ledger.verify_all()


def test_the_hashes_that_are_shown_do_not_let_a_secret_be_guessed(any_ledger):
    """Two ledgers in which the same happened show other hashes of secret and draws: they are keyed."""
    reserve(any_ledger, "best", 40, secret=SECRET)
    content = json.loads(any_ledger.export("data")["entries"][1]["content"])
    from orchestrator.privacy.ledger.chain import secret_hash
    from orchestrator.privacy.ledger.hash_chain import canonical, link

    assert content["secret"] == secret_hash(canonical(SECRET), "best", any_ledger.key())
    assert content["secret"] != secret_hash(canonical(SECRET), "best", b"")
    assert link("", SECRET, any_ledger.key()) != link("", SECRET)
