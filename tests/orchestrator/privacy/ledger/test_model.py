"""Any sequence of reserving, drawing, closing, moving and reopening does what a few dictionaries say it should."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.budget import Cost
from orchestrator.privacy.ledger.ledger import Cap, Ledger
from tests.support.ledgers import budget

LIMIT = 10  # tenths of ε
LAWS = ({"law": "a"}, {"law": "b"})
KINDS = ("x/0", "y/0", "x/1")
HOLDERS = ("t0", "t1", "t2")

law_numbers = st.sampled_from((0, 1))
kinds = st.sampled_from(KINDS)
holders = st.sampled_from(HOLDERS)


@dataclass
class Entry:
    """A cap as it should be."""

    law: int
    count: int
    per_holder: int | None
    drawn: int = 0
    by_holder: Counter[str] = field(default_factory=Counter)


@dataclass
class Reserved:
    """A reservation as it should be."""

    entries: dict[str, Entry]
    max_holders: int | None
    closed: bool = False

    def refuses(self, kind: str, holder: str, units: int) -> bool:
        entry = self.entries[kind]
        if self.closed or entry.drawn + units > entry.count:
            return True
        if entry.per_holder is None:
            return False
        limited = {name: e.by_holder for name, e in self.entries.items() if e.per_holder is not None}
        if self.max_holders is not None:
            if any(by[holder] for name, by in limited.items() if name[-1] != kind[-1]):  # of another entry
                return True
            everyone = {who for by in limited.values() for who in by} | {holder}
            if len(everyone) > self.max_holders:
                return True
        return entry.by_holder[holder] + units > entry.per_holder

    def may_give(self, kind: str) -> bool:
        return self.closed and self.max_holders is None and self.entries[kind].per_holder is None


class LedgerMachine(RuleBasedStateMachine):
    names = Bundle("names")
    asks = Bundle("asks")

    @initialize()
    def begin(self):
        self.folder = tempfile.mkdtemp()
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db")
        self.ledger.create_budget(budget(epsilon=LIMIT / 10))
        self.model: dict[str, Reserved] = {}
        self.calls: dict[str, dict] = {}
        self.spent = 0

    def teardown(self):
        self.ledger.dispose()
        shutil.rmtree(self.folder)

    @rule(
        target=names,
        laws=st.dictionaries(kinds, law_numbers, min_size=1),
        count=st.integers(1, 12),
        per_holder=st.sampled_from((None, None, 2, 5)),
        max_holders=st.sampled_from((None, 1, 2)),
        tenths=st.integers(0, 4),
    )
    def reserve(self, laws, count, per_holder, max_holders, tenths):
        max_holders = max_holders if per_holder else None
        caps = {kind: Cap(LAWS[law], count, per_holder) for kind, law in laws.items()}
        call = {"caps": caps, "budget": "data", "cost": Cost(tenths / 10, 0.0), "max_holders": max_holders}
        return self._enter(call, tenths, {})

    @rule(target=names, law=law_numbers, kind=kinds, reused=st.integers(1, 12), more=st.integers(0, 3))
    def reserve_reusing(self, law, kind, reused, more):
        caps = {kind: Cap(LAWS[law], reused + more)}
        call = {"caps": caps, "budget": "data", "cost": Cost(0.0, 0.0), "max_holders": None}
        return self._enter(call, 0, {kind: reused})

    def _enter(self, call, tenths, reused):
        name = f"r{len(self.calls)}"
        call["reused"] = reused
        fits = self.spent + tenths <= LIMIT
        fits &= all(self._leftover(call["caps"][kind].parameters) >= count for kind, count in reused.items())
        try:
            self.ledger.reserve(name, **call)
        except BudgetExceeded:
            assert not fits
            return multiple()
        assert fits
        self.spent += tenths
        for kind, count in reused.items():
            self._move(call["caps"][kind].parameters, count)
        entries = {
            kind: Entry(LAWS.index(cap.parameters), cap.count, cap.per_holder) for kind, cap in call["caps"].items()
        }
        self.model[name], self.calls[name] = Reserved(entries, call["max_holders"]), call
        return name

    def _givers(self, parameters):
        for reserved in self.model.values():
            for kind, entry in sorted(reserved.entries.items()):
                if entry.law == LAWS.index(parameters) and reserved.may_give(kind):
                    yield entry

    def _leftover(self, parameters):
        return sum(entry.count - entry.drawn for entry in self._givers(parameters))

    def _move(self, parameters, count):
        for entry in self._givers(parameters):
            taken = min(count, entry.count - entry.drawn)
            entry.count -= taken
            count -= taken

    @rule(name=names)
    def reserve_again(self, name):
        self.ledger.reserve(name, **self.calls[name])

    @rule(target=asks, name=names, kind=kinds, holder=holders, count=st.integers(1, 3), price=st.integers(1, 3))
    def draw(self, name, kind, holder, count, price):
        reserved = self.model[name]
        if kind not in reserved.entries:
            return multiple()
        entry, units, nonce = reserved.entries[kind], count * price, f"{len(self.calls)}-{self.ledger.digest()}"[:64]
        ask = {"name": name, "kind": kind, "holder": holder, "count": count, "price": price, "nonce": nonce}
        refuses = reserved.refuses(kind, holder, units)
        try:
            first = self.ledger.draw(**ask)
        except BudgetExceeded:
            assert refuses
            return multiple()
        assert not refuses
        assert first == entry.drawn
        entry.drawn += units
        entry.by_holder[holder] += units
        return ask, first

    @rule(known=asks)
    def draw_again(self, known):
        ask, first = known
        assert self.ledger.draw(**ask) == first

    @rule(name=names)
    def close(self, name):
        self.ledger.close(name)
        self.model[name].closed = True

    @rule()
    def reopen(self):
        self.ledger.dispose()
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db", create=False)

    @invariant()
    def the_ledger_says_what_the_model_says(self):
        found = {(r.name, r.kind): (r.cap.count, r.drawn, r.closed) for r in self.ledger.reservations()}
        expected = {
            (name, kind): (entry.count, entry.drawn, reserved.closed)
            for name, reserved in self.model.items()
            for kind, entry in reserved.entries.items()
        }
        assert found == expected
        assert self.ledger.spent("data").epsilon == self.spent / 10
        for law in LAWS:
            assert self.ledger.leftover("data", law) == self._leftover(law)
        self.ledger.verify_all()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
