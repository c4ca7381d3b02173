"""Budgets and reservations in the ledger: what is admitted, what is refused, and that nobody gets in twice."""

from __future__ import annotations

import math
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.budget import Cost
from orchestrator.privacy.ledger.ledger import Cap, Ledger
from tests.support.ledgers import LAW, budget, reserve

ONE = Cost(1.0, 1e-6)


def test_a_budget_is_declared_once_and_found_by_name_and_data(any_ledger):
    declared = budget(fingerprint="f" * 64, unit="user")
    for _ in range(2):
        any_ledger.create_budget(declared)
    any_ledger.create_budget(budget(unit="user"))  # says nothing about the data
    any_ledger.create_budget(budget("other", epsilon=None))
    assert any_ledger.budget("data") == declared
    assert any_ledger.budgets() == [declared, budget("other", epsilon=None)]
    assert any_ledger.budget_of("f" * 64) == declared
    assert any_ledger.budget_of("0" * 64) is None
    any_ledger.verify_all()


def test_a_budget_keeps_its_terms(any_ledger):
    any_ledger.create_budget(budget())
    with pytest.raises(ValueError, match=r"'data' exists already, and epsilon is 3\.0, not 4\.0; unit is 'example'"):
        any_ledger.create_budget(budget(epsilon=4, unit="user"))
    assert any_ledger.budget("data") == budget()


def test_an_unknown_budget_is_named_with_those_that_are_known(any_ledger):
    with pytest.raises(ValueError, match=r"Unknown budget 'data'; known: none\.$"):
        any_ledger.budget("data")
    any_ledger.create_budget(budget("reviews"))
    for ask in (any_ledger.budget, any_ledger.spent, any_ledger.history, any_ledger.export):
        with pytest.raises(ValueError, match=r"Unknown budget 'review'; known: 'reviews'\. Did you mean 'reviews'\?"):
            ask("review")
    with pytest.raises(ValueError, match="Unknown budget"):
        any_ledger.reserve("a", {"train_step": Cap(LAW, 1)}, budget="review", cost=ONE)


def test_one_data_set_has_one_budget_and_a_budget_one_data_set(any_ledger):
    any_ledger.create_budget(budget(fingerprint="data"))
    with pytest.raises(ValueError, match="already has budget 'data'"):
        any_ledger.create_budget(budget("again", fingerprint="data"))
    any_ledger.create_budget(budget("later"))
    with pytest.raises(ValueError, match="already has budget 'data'"):
        any_ledger.require_fingerprint("later", "data")
    any_ledger.require_fingerprint("later", "others")
    any_ledger.require_fingerprint("later", "others")
    with pytest.raises(ValueError, match="'later' belongs to another data set"):
        any_ledger.require_fingerprint("later", "new")
    with pytest.raises(ValueError, match="'later' belongs to another data set"):
        any_ledger.create_budget(budget("later", fingerprint="new"))
    assert [known.fingerprint for known in any_ledger.budgets()] == ["data", "others"]
    assert [row.entry for row in any_ledger.history("later")] == ["created", "fingerprinted"]
    any_ledger.verify_all()


def test_reservations_fill_a_budget_and_what_is_in_stays_in(any_ledger):
    for name in "abc":
        reserve(any_ledger, name, 5, ONE)
    with pytest.raises(BudgetExceeded, match="'data' has no room for 'd', which asks for ε = 1: of 3, 3 is reserved"):
        reserve(any_ledger, "d", 5, ONE)
    reserve(any_ledger, "a", 5, ONE)  # again
    assert any_ledger.terms_of("d") is None
    assert any_ledger.terms_of("a").cost == ONE
    assert any_ledger.spent("data").epsilon == 3.0
    reserve(any_ledger, "d", 5)  # costs nothing
    any_ledger.verify_all()


def test_a_name_keeps_its_terms(any_ledger):
    any_ledger.create_budget(budget("other"))
    terms = {"max_holders": 2, "cost": Cost(1.0, 1e-6, rule={"rule": "menu", "orders": (2, 3)})}
    caps = {"train_step": Cap(LAW, 5, per_holder=3)}
    reserve(any_ledger, "a", caps, **terms)
    reserve(any_ledger, "a", caps, **terms | {"cost": Cost(1.0 + 1e-12, 1e-6, rule=terms["cost"].rule)})
    for other, message in [
        ({"max_holders": 3}, "max_holders 2, and it is 3 now"),
        ({"budget": "other"}, "budget 'data', and it is 'other' now"),
        ({"secret": {"K": 3}}, "has_secret False, and it is True now"),
        ({"cost": Cost(1.1, 1e-6, rule=terms["cost"].rule)}, "at another cost"),
        ({"cost": Cost(1.0, 1e-6, renyi=0.0, rule=terms["cost"].rule)}, "at another cost"),
        ({"cost": Cost(1.0, 1e-6, rule={"rule": "caps"})}, "at another cost"),
    ]:
        with pytest.raises(ValueError, match=message):
            reserve(any_ledger, "a", caps, **terms | other)
    with pytest.raises(ValueError, match="other caps"):
        reserve(any_ledger, "a", {"train_step": Cap(LAW, 5, per_holder=2)}, **terms)


@pytest.mark.parametrize(
    ("caps", "terms", "message"),
    [
        ({"step": Cap(LAW, 2**62 + 1)}, {}, "at most 2\\*\\*62"),
        ({"step": Cap(LAW, 1, per_holder=0)}, {}, "per_holder of 'step' must be a positive int"),
        ({"step": Cap(LAW, 1)}, {"max_holders": 1}, "expected a cap with per_holder"),
        ({"step": Cap(LAW, 1, 1)}, {"max_holders": 0}, "max_holders of 'a' must be a positive int"),
        ({"step": Cap(LAW, 1)}, {"reused": {"step": 2}}, "expected a cap of at least that"),
        ({"step": Cap(LAW, 1)}, {"reused": {"other": 1}}, "reuses 1 'other' tokens: expected a cap"),
        ({"step": Cap(LAW, 1, 1)}, {"reused": {"step": 1}}, "expected a cap of at least that"),
        ({"step": Cap(LAW, 1)}, {"reused": {"step": 1}, "secret": {}}, "reuses tokens, which a menu"),
        ({"step": Cap(LAW, 1)}, {"cost": Cost(0.0, 0.0, rule={"x": math.nan})}, "not JSON compliant"),
    ],
)
def test_terms_that_cannot_be_counted_are_refused(tmp_path, caps, terms, message):
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        with pytest.raises(ValueError, match=message):
            reserve(ledger, "a", caps, **terms)
        assert ledger.reservations() == []


def in_threads(count, call):
    """Return the results of `call(i)`, all at once, with the refusals among them."""

    def one(i):
        try:
            return call(i)
        except BudgetExceeded as refusal:
            return refusal

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_reservations_at_once_never_exceed_the_budget(any_ledger):
    any_ledger.create_budget(budget())
    results = in_threads(10, lambda i: reserve(any_ledger, f"sweep-{i}", 5, ONE))
    assert sum(result is None for result in results) == 3
    assert any_ledger.spent("data").epsilon == 3.0
    any_ledger.verify_all()


def test_first_calls_at_once_agree(any_ledger):
    def begin(i):
        any_ledger.create_budget(budget(fingerprint="data"))
        any_ledger.reserve("a", {"train_step": Cap(LAW, 5)}, budget="data", cost=ONE, secret={"trials": i})
        return any_ledger.secret_of("a")["trials"]

    results = in_threads(8, begin)
    assert len(set(results)) == 1  # the first one's secret
    assert results[0] in range(8)
    assert len(any_ledger.history("data")) == 2
    any_ledger.verify_all()


def test_ledgers_opened_at_once_share_one_key(ledger_url):
    def key(i):
        with Ledger(ledger_url) as opened:
            return opened.key()

    keys = in_threads(8, key)
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32


def test_a_ledger_shows_no_key(any_ledger):
    any_ledger.create_budget(budget())
    shown = repr(any_ledger) + repr(any_ledger.export("data")) + repr(any_ledger.history("data")) + any_ledger.digest()
    assert not re.search(any_ledger.key().hex(), shown)
