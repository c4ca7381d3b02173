"""How many candidates a best-of search tries: a random number, of a law for which selecting the best is private.

A fixed number of candidates would cost their composition. A number that is random, independent of the data and kept
secret hides how many losers there were, and the price of selection depends on its generating function f(x) = E[x^K]
only through f′: a truncated negative binomial (geometric and logarithmic among them) or a Poisson law keeps f′ at two
nearby points within a factor. Papernot & Steinke (2022), arXiv:2110.03620.
"""

import itertools
import math
import random
from collections.abc import Iterable, Iterator
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.privacy.rules.laws import Frozen

NumberLaw = Literal["geometric", "logarithmic", "negative-binomial", "poisson"]
_SHAPES = {"geometric": 1.0, "logarithmic": 0.0}
_BITS = 128
_DIGITS = 60


class Repetitions(Frozen):
    """The law of K, the secret number of candidates.

    Args:
        law: geometric (K ≥ 1, memoryless), logarithmic (cheapest, but half of the time K is small), negative-binomial
            (truncated to K ≥ 1, between and beyond those two) or poisson (most concentrated; K may be 0, and then
            nothing is released).
        mean: E[K], from 1 to 10,000.
        shape: η of the negative binomial law, above 0 (1 is geometric, towards 0 logarithmic); None for the others.
    """

    law: NumberLaw = "geometric"
    mean: Annotated[float, Field(ge=1, le=1e4)]
    shape: Annotated[float, Field(gt=0, le=100)] | None = None

    @model_validator(mode="after")
    def _shape_belongs(self) -> Self:
        if (self.law == "negative-binomial") != (self.shape is not None):
            raise ValueError(
                f"shape belongs to the law negative-binomial, and to it alone; got {self.law}, {self.shape}."
            )
        return self

    @property
    def eta(self) -> float:
        """The shape η of the truncated negative binomial law: 1 geometric, 0 logarithmic, inf Poisson."""
        if self.law == "poisson":
            return math.inf
        return _SHAPES[self.law] if self.shape is None else self.shape

    @property
    def gamma(self) -> float:
        """The parameter γ in (0, 1] of a truncated negative binomial law with this mean (never a larger one)."""
        assert self.law != "poisson", "a Poisson law has no γ"
        return _gamma(self.mean, self.eta)

    @property
    def largest(self) -> int:
        """The largest number that is ever drawn: more has a probability below 2^-128."""
        return _largest(self.law, self.mean, self.eta)

    def draw_number(self, rng: random.Random | None = None) -> int:
        """Draw K. Keep it secret: it must not leave the operator, nor may anything that tells it (run times, costs).

        Formal guarantees:
            If `rng` is left to the operating system's entropy, the law is the declared one within 1e-30 in total
            variation (inversion with 60 digits), which adds less than (1 + e^ε)·1e-30 to δ.
        """
        bits = (rng or random.SystemRandom()).getrandbits(_BITS)
        return _invert(self.masses(), bits)

    def masses(self) -> Iterator[tuple[int, Decimal]]:
        """Return (k, P(K = k)) from the smallest k on, without end, to about 55 digits."""
        return _masses(self.law, self.mean, self.eta)


def mean_of(gamma: float, eta: float) -> float:
    """Return E[K] of the truncated negative binomial law: η(1−γ)/(γ(1−γ^η)), at η = 0 its limit (1/γ − 1)/ln(1/γ)."""
    if gamma == 1.0:
        return 1.0
    log = math.log(gamma)
    return (1 - gamma) / gamma * (eta / -math.expm1(eta * log) if eta > 0 else 1 / -log)


@lru_cache(maxsize=256)
def _gamma(mean: float, eta: float) -> float:
    """Return γ with E[K] ≤ mean, by bisection: E[K] falls with γ."""
    if mean == 1.0:
        return 1.0
    low, high = 1e-300, 1.0
    while (middle := math.sqrt(low * high)) not in (low, high):
        low, high = (low, middle) if mean_of(middle, eta) <= mean else (middle, high)
    return high


def _masses(law: NumberLaw, mean: float, eta: float) -> Iterator[tuple[int, Decimal]]:
    return _poisson(Decimal(mean)) if law == "poisson" else _truncated(Decimal(_gamma(mean, eta)), Decimal(eta))


def _truncated(gamma: Decimal, eta: Decimal) -> Iterator[tuple[int, Decimal]]:
    """P(1) = (1−γ)η/(γ^−η − 1), or (1−γ)/ln(1/γ) at η = 0; P(k+1) = P(k)·(1−γ)(k+η)/(k+1)."""
    if gamma == 1:
        mass = Decimal(1)
    else:
        with localcontext(prec=_DIGITS):
            log = -gamma.ln()
            mass = (1 - gamma) * (eta / ((eta * log).exp() - 1) if eta else 1 / log)
    for k in itertools.count(1):
        yield k, mass
        with localcontext(prec=_DIGITS):
            mass = mass * (1 - gamma) * (k + eta) / (k + 1)


def _poisson(mean: Decimal) -> Iterator[tuple[int, Decimal]]:
    with localcontext(prec=_DIGITS):
        mass = (-mean).exp()
    for k in itertools.count(0):
        yield k, mass
        with localcontext(prec=_DIGITS):
            mass = mass * mean / (k + 1)


def _invert(masses: Iterable[tuple[int, Decimal]], bits: int) -> int:
    """Return the smallest k with P(K ≤ k) > bits / 2^128."""
    with localcontext(prec=_DIGITS):
        target, below = Decimal(bits) / Decimal(2**_BITS), Decimal(0)
        for k, mass in masses:
            below += mass
            if below > target:
                return k
    raise AssertionError("probabilities add up to 1")


@lru_cache(maxsize=64)
def _largest(law: NumberLaw, mean: float, eta: float) -> int:
    return _invert(_masses(law, mean, eta), 2**_BITS - 1)
