"""The terms of a reservation: its caps, its cost, its budget. The ledger stores them as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.privacy.ledger.budget import Cost
from orchestrator.privacy.ledger.hash_chain import canonical

MAX_COUNT = 2**62  # every database adds up to here in 64 bits

_SAME_COST = 1e-3  # relative; the same rule, whose ε versions of the accountant differ in


@dataclass(frozen=True)
class Cap:
    """At most `count` releases of one law.

    Args:
        parameters: the law as JSON scalars: everything that the cost of a token depends on (noise, rate, split).
        count: tokens; units where tokens have different prices (`Ledger.draw`, `price`).
        per_holder: the most that one holder (a trial) may draw, in the unit of `count`; None: no limit of its own.
    """

    parameters: Mapping[str, str | float | int]
    count: int
    per_holder: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the cap as JSON."""
        return {"parameters": dict(self.parameters), "count": self.count, "per_holder": self.per_holder}


@dataclass(frozen=True)
class Reservation:
    """One cap in the ledger and how much of it was drawn, in the unit of the cap.

    `secret`: the number drawn must stay with the operator, because the search's number of trials is secret.
    """

    name: str
    kind: str
    cap: Cap
    drawn: int
    reserved_at: str
    budget: str
    closed: bool
    secret: bool


@dataclass(frozen=True)
class Terms:
    """The terms of a reservation, as requested.

    Args:
        budget: name of the budget that is charged.
        caps: by kind of release.
        cost: of all caps together, without the tokens that are reused.
        max_holders: the most holders (trials) that may draw from kinds with a `per_holder` limit; each draws from the
            kinds of one entry of a menu (`entry_of`).
        reused: tokens taken over from closed reservations, by kind; the caps count them too.
        has_secret: whether a secret is stored with the reservation.
        sources: keyed fingerprint of each source of rows, by its place in the configuration; None in reservations of
            earlier versions. The first call decides it.
    """

    budget: str
    caps: Mapping[str, Cap]
    cost: Cost
    max_holders: int | None = None
    reused: Mapping[str, int] = field(default_factory=dict)
    has_secret: bool = False
    sources: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the terms as JSON, kinds in order."""
        return {
            "budget": self.budget,
            "caps": {kind: cap.to_json() for kind, cap in sorted(self.caps.items())},
            "cost": self.cost.to_json(),
            "max_holders": self.max_holders,
            "reused": dict(self.reused),
            "has_secret": self.has_secret,
            **({} if self.sources is None else {"sources": dict(self.sources)}),
        }

    @classmethod
    def from_text(cls, text: str) -> Terms:
        """Return the terms in a row's JSON text."""
        return cls.from_json(json.loads(text))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Terms:
        """Return the terms that `to_json` wrote."""
        caps = {kind: Cap(**cap) for kind, cap in content["caps"].items()}
        return cls(**{**content, "caps": caps, "cost": Cost.from_json(content["cost"])})


def entry_of(kind: str) -> str:
    """Return the entry of a menu that a kind of release belongs to: '2' for 'train_step/2', '' without a menu."""
    return kind.partition("/")[2]


def require_terms(name: str, terms: Terms) -> None:
    """Refuse a reservation without caps, or with caps that cannot be counted.

    Raises:
        ValueError: naming the part.
    """
    if not terms.caps:
        raise ValueError(f"Reservation {name!r} has no caps: name at least one kind of release and its count.")
    for kind, cap in terms.caps.items():
        _require_count(f"The cap of {kind!r}", cap.count)
        if cap.per_holder is not None:
            _require_count(f"per_holder of {kind!r}", cap.per_holder)
    canonical(terms.to_json())
    per_holder = [kind for kind, cap in terms.caps.items() if cap.per_holder is not None]
    if terms.max_holders is not None:
        _require_count(f"max_holders of {name!r}", terms.max_holders)
        if not per_holder:
            raise ValueError(f"{name!r} has max_holders: expected a cap with per_holder, from which each holder draws.")
    _require_reusable(name, terms)


def _require_reusable(name: str, terms: Terms) -> None:
    if terms.reused and (terms.max_holders is not None or terms.has_secret):
        raise ValueError(f"{name!r} reuses tokens, which a menu or a search with a secret number of trials cannot do.")
    for kind, count in terms.reused.items():
        _require_count(f"reused {kind!r}", count)
        cap = terms.caps.get(kind)
        if cap is None or cap.count < count or cap.per_holder is not None:
            raise ValueError(f"{name!r} reuses {count} {kind!r} tokens: expected a cap of at least that; got {cap}.")


def require_same(name: str, known: Terms, wanted: Terms) -> None:
    """Refuse other terms under a name that is taken; `reused` may differ, because the first call decided it.

    Raises:
        ValueError: naming what differs.
    """
    for kind in sorted(known.caps.keys() | wanted.caps.keys()):
        before, now = (terms.caps[kind].to_json() if kind in terms.caps else None for terms in (known, wanted))
        if before != now:
            raise ValueError(
                f"{name!r} is already reserved with other caps: {kind!r} is {before} in the ledger and {now} now. "
                "Caps are fixed before the first release: choose a new name for the new sweep."
            )
    for what in ("budget", "max_holders", "has_secret"):
        before, now = getattr(known, what), getattr(wanted, what)
        if before != now:
            raise ValueError(
                f"{name!r} is already reserved with {what} {before!r}, and it is {now!r} now: choose a new name."
            )
    if not _same_cost(known.cost, wanted.cost):
        raise ValueError(
            f"{name!r} is already reserved at another cost: {known.cost.to_json()} in the ledger and "
            f"{wanted.cost.to_json()} now. Choose a new name for the new sweep."
        )


def _same_cost(known: Cost, wanted: Cost) -> bool:
    if (known.renyi is None) != (wanted.renyi is None) or canonical(known.rule) != canonical(wanted.rule):
        return False
    pairs = [(known.epsilon, wanted.epsilon), (known.delta, wanted.delta), (known.renyi or 0.0, wanted.renyi or 0.0)]
    return all(math.isclose(*pair, rel_tol=_SAME_COST) for pair in pairs)


def _require_count(what: str, count: object) -> None:
    if type(count) is not int or not 1 <= count <= MAX_COUNT:
        raise ValueError(f"{what} must be a positive int, at most 2**62; got {count!r}.")
