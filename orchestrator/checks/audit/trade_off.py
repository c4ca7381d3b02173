"""The statistics of an audit: the claimed trade-off curve, and whether the measured rates of guesses break it.

A claim of (ε, δ(ε)) for all ε at once is a trade-off curve f (f-DP, Dong, Roth & Su, 2019, arXiv:1905.02383): a guess
from the releases whether one example took part, with a false positive rate of α, has a false negative rate of at least
f(α). An audit makes the best guess, bounds both of its rates from above, and compares them with the curve. This finds
far more than an ε computed from the two rates, which is reported as well.

An audit can find a violation. It cannot prove that there is none.
"""

import math
from dataclasses import dataclass

import dp_accounting as dp
import numpy as np
from scipy import stats

from orchestrator.checks.audit.step_law import StepLaw
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.distribution import discretisation, loss_distribution
from orchestrator.privacy.accountant.events import read

TAIL = 0.025  # one-sided, for each of the two rates
_SMALLEST_DELTA = 1e-9  # where the curve ends; no number of runs can test a smaller δ
_NUM_EPSILONS = 100
_NUM_THRESHOLDS = 199


@dataclass(frozen=True)
class TradeOff:
    """A claim as a curve: (epsilons[i], deltas[i])-DP for every i, in both directions of adjacency.

    Formal guarantees:
        If the claim of a mechanism holds, no test has rates below the curve (Dong, Roth & Su, 2019, Prop. 2.12).
    """

    epsilons: tuple[float, ...]
    deltas: tuple[float, ...]

    def __call__(self, fpr: np.ndarray) -> np.ndarray:
        """Return the smallest false negative rate that the claim allows at each false positive rate, same shape."""
        alpha = np.asarray(fpr, dtype=np.float64)[..., None]
        epsilon, room = np.array(self.epsilons), 1.0 - np.array(self.deltas) - alpha
        steep = 1.0 - np.array(self.deltas) - np.exp(epsilon) * alpha  # adding an example
        flat = np.exp(-epsilon) * room  # removing one: the mirror image
        return np.maximum(np.maximum(steep, flat).max(axis=-1), 0.0)


def claimed_trade_off(event: dp.DpEvent, adjacency: Adjacency = "add-or-remove-one") -> TradeOff:
    """Return the trade-off curve of an event, from its privacy profile.

    ValueError if the event is unknown, has no privacy, or is too large or too small for the accountant's grid.
    """
    releases = read(event)
    if not releases.private:
        raise ValueError("An event without privacy (ε = ∞) has no claim to audit.")
    losses = loss_distribution(releases, discretisation(releases), adjacency)
    largest = math.inf if losses is None else losses.get_epsilon_for_delta(_SMALLEST_DELTA)
    if losses is None or largest == math.inf:
        raise ValueError(
            "An audit needs a privacy loss distribution; this event has too little noise or too small a q."
        )
    epsilons = np.linspace(0.0, max(0.0, largest), _NUM_EPSILONS)
    # one by one: the library's vectorised form loses digits to cancellation
    deltas = np.array([losses.get_delta_for_epsilon(epsilon) for epsilon in epsilons.tolist()])
    return TradeOff(tuple(epsilons.tolist()), tuple(np.clip(deltas, 0.0, 1.0).tolist()))


def clopper_pearson(counts: np.ndarray, trials: int, tail: float = TAIL) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds of a rate after `counts` of `trials`; each bound is wrong with chance `tail`."""
    counts = np.asarray(counts)
    with np.errstate(invalid="ignore"):
        lower = np.where(counts == 0, 0.0, stats.beta.ppf(tail, counts, trials - counts + 1))
        upper = np.where(counts == trials, 1.0, stats.beta.ppf(1.0 - tail, counts + 1, trials - counts))
    return lower, upper


@dataclass(frozen=True)
class Rates:
    """False positive and false negative rates at some thresholds, with their bounds; float64 [thresholds] each."""

    fpr: np.ndarray
    fnr: np.ndarray
    fpr_upper: np.ndarray
    fnr_upper: np.ndarray
    fpr_lower: np.ndarray
    fnr_lower: np.ndarray


def rates(without: np.ndarray, present: np.ndarray, thresholds: np.ndarray, tail: float = TAIL) -> Rates:
    """Return the rates of the test that guesses "the canary was there" for scores above a threshold."""
    positives = len(without) - np.searchsorted(np.sort(without), thresholds, side="right")
    misses = np.searchsorted(np.sort(present), thresholds, side="right")
    fpr_lower, fpr_upper = clopper_pearson(positives, len(without), tail)
    fnr_lower, fnr_upper = clopper_pearson(misses, len(present), tail)
    return Rates(positives / len(without), misses / len(present), fpr_upper, fnr_upper, fpr_lower, fnr_lower)


@dataclass(frozen=True)
class Verdict:
    """The verdict of runs on a claim.

    Args:
        violation: whether the bounds on both rates are below the claimed curve.
        margin: the claimed false negative rate minus the bounded one; a violation if positive.
        at: the rates at the threshold of the decision.
        epsilon_lower: a lower bound on ε at the claim's δ, at confidence 1 − 2 · tail.
        curve: the rates along all thresholds, for the plot.
    """

    violation: bool
    margin: float
    at: Rates
    epsilon_lower: float
    curve: Rates


def judge(without: np.ndarray, present: np.ndarray, claim: TradeOff, delta: float, tail: float = TAIL) -> Verdict:
    """Compare the scores of runs without and with the canary, float64 [R] each, with a claim.

    The first half of the runs chooses the thresholds; the second half gives the bounds on the rates.

    Formal guarantees:
        If the claim holds, a violation is reported with probability at most 2 · `tail`, for any scores. (About 0.3 % at
        .025 if the claim is exact, because both rates have to be far off.)
    """
    if min(len(without), len(present)) < 4:
        raise ValueError(f"An audit needs at least 4 runs of each kind, not {len(without)} and {len(present)}.")
    half, other = len(without) // 2, len(present) // 2
    pooled = np.concatenate([without[:half], present[:other]])
    thresholds = np.unique(np.quantile(pooled, np.linspace(0.0, 1.0, _NUM_THRESHOLDS + 2)[1:-1]))
    tried = rates(without[:half], present[:other], thresholds, tail)
    best = int(np.argmax(_distance(tried, claim)))
    loudest = int(np.argmax(_epsilon_lower(tried, delta)))
    chosen, decisive, loud = (
        rates(without[half:], present[other:], picked, tail)
        for picked in (thresholds, thresholds[best : best + 1], thresholds[loudest : loudest + 1])
    )
    margin = float((claim(decisive.fpr_upper) - decisive.fnr_upper)[0])
    return Verdict(margin > 0, margin, decisive, float(_epsilon_lower(loud, delta)[0]), chosen)


def power(
    law: StepLaw, num_steps: int, claim: TradeOff, runs: int, *, tail: float = TAIL, tries: int, **fault: float
) -> float:
    """Return the share of `tries` simulated audits in which `judge` finds a fault, a factor of `law.simulate`."""
    generator = np.random.default_rng(0)  # a simulation without private data, the same in every audit
    violations = 0
    for _ in range(tries):
        without, present = (law.simulate(generator, runs, num_steps, present=there, **fault) for there in (False, True))
        violations += judge(without, present, claim, 0.0, tail).violation
    return violations / tries


def _distance(measured: Rates, claim: TradeOff) -> np.ndarray:
    """Return how far the rates are below the claim, divided by the width of their bounds; a violation above 1."""
    below = claim(measured.fpr) - measured.fnr
    width = claim(measured.fpr) - claim(measured.fpr_upper) + measured.fnr_upper - measured.fnr
    return below / np.maximum(width, 1e-12)


def _epsilon_lower(measured: Rates, delta: float) -> np.ndarray:
    """Return the smallest ε of (ε, δ)-DP that the upper bounds on both rates allow, at least 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        adding = np.log((1.0 - delta - measured.fpr_upper) / measured.fnr_upper)
        removing = np.log((1.0 - delta - measured.fnr_upper) / measured.fpr_upper)
    return np.fmax(np.fmax(adding, removing), 0.0)
