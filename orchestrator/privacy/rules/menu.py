"""A menu: each trial picks its noise, sampling rate and length from a finite menu that was declared before."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Literal, Self

import numpy as np
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from pydantic import Field, model_validator

from orchestrator.privacy.accountant import accountant, bounds
from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.composition import compose
from orchestrator.privacy.accountant.distribution import MAX_COMPOSED_POINTS, discretisation, loss_distribution
from orchestrator.privacy.accountant.events import Releases
from orchestrator.privacy.accountant.profile import loss_range, of_profiles, profiles
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.base import CostRule, of_trials
from orchestrator.privacy.rules.caps import SweepCaps

_GRID = 1e-4
_MAX_TRIAL_RANGE = 100.0  # a million points for one trial


class Menu(CostRule):
    """At most `num_trials` trials, each one entry of a menu: whole, even if it stops early.

    Args:
        entries: what one trial of each entry may release, its retries and scores included.
        num_trials: the cap on trials that begin.

    Formal guarantees:
        In each direction, the pointwise maximum of the entries' privacy profiles is the profile of some pair of laws.
        The ε is that of the pair composed `num_trials` times; it covers adaptive picks, concurrent trials and early
        stops (docs/proofs/menu.md). A trial of two entries is not covered: the ledger must hold a trial to one.
    """

    rule: Literal["menu"] = "menu"
    entries: Annotated[tuple[SweepCaps, ...], Field(min_length=1)]
    num_trials: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _one_split(self) -> Self:
        if len({(entry.disjoint, entry.disjoint and entry.evaluation is not None) for entry in self.entries}) > 1:
            raise ValueError("Either all entries of a menu use disjoint records and have scores on them, or none does.")
        return self

    @property
    def title(self) -> str:
        return "menu"

    @property
    def trial_kinds(self) -> tuple[SweepCaps, ...]:
        return self.entries

    @property
    def max_holders(self) -> int:
        return self.num_trials

    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        accountant.require_delta(delta)
        sides = self._sides(adjacency)
        return accountant.largest(self._side_certificate(side, delta, adjacency) for side in sides)

    def bound(self, delta: float) -> float:
        return max(self._bound_of_side(side, delta) for side in self._sides("add-or-remove-one"))

    def renyi(self, order: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        return self.num_trials * max(entry.renyi(order, adjacency) for entry in self.entries)

    def tokens(self) -> dict[str, Cap]:
        kinds = enumerate(of_trials(entry.tokens(), self.num_trials) for entry in self.entries)
        return {kind_of_entry(kind, i): cap for i, tokens in kinds for kind, cap in tokens.items()}

    def with_trials(self, num_trials: int) -> Menu:
        return self.model_copy(update={"num_trials": num_trials})

    def describe(self) -> str:
        return (
            f"At most {self.num_trials:,} trials, each charged as a whole one of {len(self.entries)} entries (noise, "
            "sampling rate, steps, scores) declared before the search, which is free to choose; everything may be "
            "published."
        )

    def _sides(self, adjacency: Adjacency) -> list[tuple[Releases, ...]]:
        """Return, for each side of the split, the entries' releases on that side, each once and sorted."""
        by_entry = [entry.releases(adjacency) for entry in self.entries]
        return [tuple(sorted(set(side), key=lambda entry: entry.counts)) for side in zip(*by_entry, strict=True)]

    def _side_certificate(self, entries: tuple[Releases, ...], delta: float, adjacency: Adjacency) -> Certificate:
        if len(entries) == 1 or delta == 0:
            composed = [Releases(tuple((r, n * self.num_trials) for r, n in e.counts), e.private) for e in entries]
            return accountant.largest(accountant.certify(releases, delta, adjacency) for releases in composed)
        worst = _worst(entries, adjacency)
        losses = None if worst is None else compose([(worst, self.num_trials)], MAX_COMPOSED_POINTS)
        certified = math.inf if losses is None else max(0.0, float(losses.get_epsilon_for_delta(delta)))
        bound = self._bound_of_side(entries, delta, adjacency)
        if certified <= bound:
            return Certificate(certified, "PLD of the pointwise worst entry", _GRID)
        return Certificate(bound, "RDP of the worst entry", None)

    def _bound_of_side(
        self, entries: tuple[Releases, ...], delta: float, adjacency: Adjacency = "add-or-remove-one"
    ) -> float:
        pure = self.num_trials * max(bounds.pure_epsilon(entry, adjacency) for entry in entries)
        if delta == 0:
            return pure
        curve = np.max([bounds.renyi(entry, bounds.FEW_ORDERS, adjacency) for entry in entries], axis=0)
        return min(pure, bounds.from_renyi(bounds.FEW_ORDERS, self.num_trials * curve, delta))


def kind_of_entry(kind: str, entry: int) -> str:
    """Return the name under which the ledger counts one kind of release of one entry of a menu."""
    return f"{kind}/{entry}"


@lru_cache(maxsize=2)
def _worst(entries: tuple[Releases, ...], adjacency: Adjacency) -> PrivacyLossDistribution | None:
    """Return the loss distribution of the pointwise worst profile; None where one does not fit into memory."""
    found = [loss_distribution(entry, discretisation(entry), adjacency) for entry in entries]
    losses = [distribution for distribution in found if distribution is not None]
    ranges = [loss_range(distribution) for distribution in losses]
    low, high = (min(a for a, _ in ranges), max(b for _, b in ranges)) if ranges else (0.0, 0.0)
    if len(losses) < len(entries) or high - low > _MAX_TRIAL_RANGE:
        return None
    lowest = math.floor(low / _GRID)
    epsilons = np.arange(lowest, math.ceil(high / _GRID) + 1) * _GRID
    directions = zip(*(profiles(distribution, epsilons) for distribution in losses), strict=True)
    remove, add = (np.max(direction, axis=0) for direction in directions)
    return of_profiles(remove, add, lowest, _GRID)
