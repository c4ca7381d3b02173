"""The statistics of an audit: what a claim lets anyone tell apart, and what was told apart.

A claim of (ε, δ(ε)) for all ε at once is a trade-off curve f (f-DP, Dong, Roth & Su, 2019, arXiv:1905.02383): whoever
guesses from the releases whether one example took part, with a false positive rate of α, misses it with probability
f(α) at least. An audit guesses as well as can be, bounds both of its rates from above with confidence, and compares.
Looking at the whole curve finds far more than an ε computed from the two rates, which is reported beside it.

An audit can find a violation. It cannot prove that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import dp_accounting as dp
import numpy as np
from scipy import stats

from orchestrator.checks.audit.step_law import StepLaw
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.distribution import discretisation, loss_distribution
from orchestrator.privacy.accountant.events import read

TAIL = 0.025  # one-sided, for each of the two rates
_SMALLEST_DELTA = 1e-9  # the curve's end; further out no number of runs can look
_NUM_EPSILONS = 100
_NUM_THRESHOLDS = 199


@dataclass(frozen=True)
class TradeOff:
    """A claim as a curve: it is (epsilons[i], deltas[i])-DP for every i, in both directions of adjacency.

    Formal guarantees:
        Of a mechanism for which the claim holds, no test has rates below the curve (Dong, Roth & Su, 2019, Prop. 2.12).
    """

    epsilons: tuple[float, ...]
    deltas: tuple[float, ...]

    def __call__(self, fpr: np.ndarray) -> np.ndarray:
        """Return the smallest false negative rate that the claim allows at each false positive rate, same shape."""
        alpha = np.asarray(fpr, dtype=np.float64)[..., None]
        epsilon, room = np.array(self.epsilons), 1.0 - np.array(self.deltas) - alpha
        steep = 1.0 - np.array(self.deltas) - np.exp(epsilon) * alpha  # adding an example
        flat = np.exp(-epsilon) * room  # removing one: the curve is its own mirror image
        return np.maximum(np.maximum(steep, flat).max(axis=-1), 0.0)


def claimed_trade_off(event: dp.DpEvent, adjacency: Adjacency = "add-or-remove-one") -> TradeOff:
    """Return the trade-off curve of an event, from its privacy profile.

    Raises:
        ValueError: the event is not understood, without privacy, or too loud or too faint for the accountant's grid.
    """
    releases = read(event)
    if not releases.private:
        raise ValueError("an event without privacy (ε = ∞) claims nothing, so there is nothing to audit.")
    losses = loss_distribution(releases, discretisation(releases), adjacency)
    if losses is None:
        raise ValueError("an audit needs a privacy loss distribution: too little noise, or steps too faint, for one.")
    epsilons = np.linspace(0.0, max(0.0, losses.get_epsilon_for_delta(_SMALLEST_DELTA)), _NUM_EPSILONS)
    # one by one: the library's form for many at once subtracts large numbers from each other
    deltas = np.array([losses.get_delta_for_epsilon(epsilon) for epsilon in epsilons.tolist()])
    return TradeOff(tuple(epsilons.tolist()), tuple(np.clip(deltas, 0.0, 1.0).tolist()))


def clopper_pearson(counts: np.ndarray, trials: int, tail: float = TAIL) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper bound of a rate of which `counts` of `trials` were seen, each wrong at most `tail`."""
    counts = np.asarray(counts)
    with np.errstate(invalid="ignore"):
        lower = np.where(counts == 0, 0.0, stats.beta.ppf(tail, counts, trials - counts + 1))
        upper = np.where(counts == trials, 1.0, stats.beta.ppf(1.0 - tail, counts + 1, trials - counts))
    return lower, upper


@dataclass(frozen=True)
class Rates:
    """False positives and false negatives at some thresholds, with their bounds; float64 [thresholds] each."""

    fpr: np.ndarray
    fnr: np.ndarray
    fpr_upper: np.ndarray
    fnr_upper: np.ndarray
    fpr_lower: np.ndarray
    fnr_lower: np.ndarray


def rates(without: np.ndarray, present: np.ndarray, thresholds: np.ndarray, tail: float = TAIL) -> Rates:
    """Return the rates of the test "score above the threshold: the canary was there"."""
    positives = len(without) - np.searchsorted(np.sort(without), thresholds, side="right")
    misses = np.searchsorted(np.sort(present), thresholds, side="right")
    fpr_lower, fpr_upper = clopper_pearson(positives, len(without), tail)
    fnr_lower, fnr_upper = clopper_pearson(misses, len(present), tail)
    return Rates(positives / len(without), misses / len(present), fpr_upper, fnr_upper, fpr_lower, fnr_lower)


@dataclass(frozen=True)
class Verdict:
    """What the runs say about a claim.

    Args:
        violation: whether the bounds on both rates lie below the claimed curve.
        margin: how far below (positive: a violation), in false negative rate.
        at: the rates that this was decided at, one threshold.
        epsilon_lower: a lower bound on ε at the claim's δ, at confidence 1 − 2 · tail.
        curve: rates along all thresholds, for the eye.
    """

    violation: bool
    margin: float
    at: Rates
    epsilon_lower: float
    curve: Rates


def judge(without: np.ndarray, present: np.ndarray, claim: TradeOff, delta: float, tail: float = TAIL) -> Verdict:
    """Compare the scores of runs without and with the canary, float64 [R] each, to a claim.

    Thresholds are chosen on the first half of the runs, and rates bounded on the second.

    Formal guarantees:
        If the claim holds, a violation is reported with probability at most 2 · `tail`, whatever the scores are. (About
        0.3 % at .025 where the claim is exact: both rates would have to be far off.)
    """
    if min(len(without), len(present)) < 4:
        raise ValueError(f"an audit needs at least 4 runs of each kind, not {len(without)} and {len(present)}.")
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
    law: StepLaw, num_steps: int, claim: TradeOff, runs: int, *, noise_factor: float, tail: float = TAIL, tries: int
) -> float:
    """Return how often `judge` finds noise at `noise_factor` of the claimed, in `tries` simulated audits."""
    generator = np.random.default_rng(0)  # a simulation: nothing private, and the same number each time
    found = 0
    for _ in range(tries):
        without, present = (
            law.simulate(generator, runs, num_steps, present=there, noise_factor=noise_factor)
            for there in (False, True)
        )
        found += judge(without, present, claim, 0.0, tail).violation
    return found / tries


def _distance(found: Rates, claim: TradeOff) -> np.ndarray:
    """Return how far rates lie below the claim, in multiples of what their bounds take away: above 1 they still do."""
    below = claim(found.fpr) - found.fnr
    taken = claim(found.fpr) - claim(found.fpr_upper) + found.fnr_upper - found.fnr
    return below / np.maximum(taken, 1e-12)


def _epsilon_lower(found: Rates, delta: float) -> np.ndarray:
    """Return the ε that (ε, δ)-DP must at least have, given upper bounds on both rates; 0 at least."""
    with np.errstate(divide="ignore", invalid="ignore"):
        adding = np.log((1.0 - delta - found.fpr_upper) / found.fnr_upper)
        removing = np.log((1.0 - delta - found.fnr_upper) / found.fpr_upper)
    return np.fmax(np.fmax(adding, removing), 0.0)
