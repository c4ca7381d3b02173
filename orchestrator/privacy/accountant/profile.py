"""Privacy profiles: δ as a function of ε from −∞ to ∞, and the loss distribution that dominates a profile.

A mechanism's profile in one direction is convex and falling in e^ε, and never below 1 − e^ε. Every such function is the
profile of some pair of laws (Zhu, Dong & Wang (2022), Lemma 9, arXiv:2106.08567), which stands for the mechanism in
compositions. Chords between points of a profile lie above it, so a finite grid of points gives an upper bound
(Doroshenko et al. (2022), Alg. 1, arXiv:2207.04380).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from dp_accounting.pld import pld_pmf
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from numpy.typing import NDArray

Floats = NDArray[np.floating]
_NEGLIGIBLE = 1e-16  # δ beyond the end of the grid that is counted as an infinite loss


def of_two_losses(losses: Sequence[tuple[float, float]], grid: float) -> PrivacyLossDistribution:
    """Return the loss distribution of a pair of laws with few outcomes, on a grid.

    Args:
        losses: (loss, probability under the second law) of each outcome; the first law has e^loss times that.
        grid: width of the grid.

    Formal guarantees:
        Pessimistic in both directions: the pair's profile is straight in e^ε between its losses. Each loss lies between
        two grid points, at which the distribution has exactly the pair's profile.
    """
    mirrored = [(-loss, probability * math.exp(loss)) for loss, probability in losses]
    return PrivacyLossDistribution(_of_outcomes(losses, grid), _of_outcomes(mirrored, grid))


def profiles(losses: PrivacyLossDistribution, epsilons: Floats) -> tuple[Floats, Floats]:
    """Return δ at rising ε (any sign) in the two directions (removing a record, adding one), one value each.

    Formal guarantees:
        Exact for the distribution, and so an upper bound for the mechanism that it stands for.
    """
    return _profile(losses._pmf_remove, epsilons), _profile(losses._pmf_add, epsilons)


def of_profiles(remove: Floats, add: Floats, lowest: int, grid: float) -> PrivacyLossDistribution:
    """Return a loss distribution that dominates two profiles given at ε = grid · (lowest, lowest + 1, …).

    Formal guarantees:
        Its profile is at least the convex, falling function through the points, at every ε from −∞ to ∞, in each
        direction: equal at the points, straight in e^ε between them and towards (0, 1), constant after the last.
    """
    return PrivacyLossDistribution(_dots(remove, lowest, grid), _dots(add, lowest, grid))


def loss_range(losses: PrivacyLossDistribution) -> tuple[float, float]:
    """Return the smallest and largest finite loss of both directions together."""
    ends = [values[[0, -1]] for values, _, _ in (_arrays(losses._pmf_remove), _arrays(losses._pmf_add))]
    return float(min(ends[0][0], ends[1][0])), float(max(ends[0][1], ends[1][1]))


def _of_outcomes(losses: Sequence[tuple[float, float]], grid: float) -> pld_pmf.PLDPmf:
    around = sorted({k for loss, _ in losses for k in (math.floor(loss / grid), math.ceil(loss / grid))})
    deltas = [math.fsum(_excess(loss, p, k * grid) for loss, p in losses) for k in around]
    return pld_pmf.create_pmf_pessimistic_connect_dots(grid, around, np.minimum(1.0, deltas))


def _excess(loss: float, probability: float, epsilon: float) -> float:
    """Return what one outcome adds to δ at ε: how far the first law's probability exceeds e^ε times the second's."""
    return probability * math.exp(epsilon) * math.expm1(loss - epsilon) if loss > epsilon else 0.0


def _profile(pmf: Any, epsilons: Floats) -> Floats:
    values, probabilities, at_infinity = _arrays(pmf)
    values, probabilities = values.astype(np.longdouble), probabilities.astype(np.longdouble)  # sums of millions
    first = np.searchsorted(values, epsilons, side="right")
    upper = np.append(np.cumsum(probabilities[::-1])[::-1], 0.0)
    lower = np.append(np.cumsum((probabilities * np.exp(-values))[::-1])[::-1], 0.0)
    deltas = at_infinity + upper[first] - np.exp(epsilons.astype(np.longdouble)) * lower[first]
    return np.clip(deltas, at_infinity, 1.0).astype(np.float64)


def _dots(deltas: Floats, lowest: int, grid: float) -> pld_pmf.PLDPmf:
    falling = np.minimum.accumulate(deltas)
    last = int(np.argmax(falling <= falling[-1] + _NEGLIGIBLE))
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(grid, lowest, lowest + last, falling[: last + 1])


def _arrays(pmf: Any) -> tuple[Floats, Floats, float]:
    """Return (losses, probabilities, probability of an infinite loss); dp-accounting has no public names for them."""
    dense = pmf.to_dense_pmf()
    return (dense._lower_loss + np.arange(dense.size)) * dense._discretization, dense._probs, dense._infinity_mass
