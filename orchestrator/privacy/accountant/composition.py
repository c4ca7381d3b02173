"""Composition of privacy loss distributions by FFT, with an allowance for every rounding error.

Raising a spectrum to the power T multiplies its rounding errors by T. In float64 their sum moves δ by up to T · 1e-14.
So spectra are raised in extended precision, and what errors can add to δ is counted as an infinite loss: an ε at δ is
then one at δ less the allowance. The proof is docs/proofs/round_off.md.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from dp_accounting.pld.pld_pmf import DensePLDPmf
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from numpy.typing import NDArray

_UNIT = float(np.finfo(np.longdouble).eps) / 2  # where a long double is a double, the allowance grows by itself
_STEP_ERROR = 1e-13  # of a part's δ(ε), as a share of the mass above ε; the largest that was measured is 1.5e-14
_MASS_ERROR = 10 * 2.0**-53  # of a mass, as a share of the mass from it on: the library takes second differences
_NEGLIGIBLE = 1e-30  # of a spectrum: a frequency below it is left out, and its bound is charged
_TAIL = 1e-15  # mass outside the window, counted as an infinite loss
_SIZES = (8, 9, 10, 12, 15, 16)  # times a power of two: lengths that an FFT takes by factors 2, 3 and 5
Parts = Sequence[tuple[DensePLDPmf, int]]


def compose(parts: Sequence[tuple[PrivacyLossDistribution, int]], most: float) -> PrivacyLossDistribution | None:
    """Return the composition of distributions on one grid, each so many times; None above `most` points.

    Formal guarantees:
        If the exact profile of each part is at most that of its distribution, but for 1e-13 of the mass above ε, then
        the exact profile of the composition is at most that of the result, at every ε, in each direction (the proof is
        docs/proofs/round_off.md).
    """
    remove = _composed([(_raised(losses._pmf_remove.to_dense_pmf()), count) for losses, count in parts], most)
    if remove is None or all(losses._symmetric for losses, _ in parts):
        return None if remove is None else PrivacyLossDistribution(remove)
    add = _composed([(_raised(losses._pmf_add.to_dense_pmf()), count) for losses, count in parts], most)
    return None if add is None else PrivacyLossDistribution(remove, add)


def _composed(parts: Parts, most: float) -> DensePLDPmf | None:
    lowest, highest = _window(parts := [*parts, _step_errors(parts)])
    length = highest - lowest + 1
    if length > most:
        return None
    spectrum, size, rounding = _spectrum(parts, max(length, *(pmf.size for pmf, _ in parts)))
    probabilities = np.roll(np.fft.irfft(spectrum, size), -lowest)[:length]
    finite = math.fsum(count * math.log1p(-pmf._infinity_mass) for pmf, count in parts)
    at_infinity = -1.01 * math.expm1(finite) + _TAIL + rounding
    offset = sum(count * pmf._lower_loss for pmf, count in parts)
    grid = parts[0][0]._discretization
    probabilities = np.maximum(probabilities, 0.0).astype(np.float64)
    return DensePLDPmf(grid, offset + lowest, probabilities, at_infinity, True) if at_infinity < 1 else None


def _raised(pmf: DensePLDPmf) -> DensePLDPmf:
    """Return the distribution with the most that rounding may have taken from each of its masses."""
    from_here_on = np.cumsum(pmf._probs[::-1])[::-1]
    probabilities = pmf._probs + _MASS_ERROR * from_here_on
    return DensePLDPmf(pmf._discretization, pmf._lower_loss, probabilities, pmf._infinity_mass, True)


def _step_errors(parts: Parts) -> tuple[DensePLDPmf, int]:
    """Return a part that dominates what rounding hides in each of the others: a small mass of a larger loss."""
    grid = parts[0][0]._discretization
    deviation = math.sqrt(math.fsum(count * _moments(pmf)[1] for pmf, count in parts))
    shift = max(1, round(min(deviation / 4, 1 / grid)))
    probabilities = np.zeros(shift + 1)
    probabilities[0], probabilities[-1] = 1.0, _STEP_ERROR / -math.expm1(-shift * grid)
    return DensePLDPmf(grid, 0, probabilities, 0.0, True), sum(count for _, count in parts)


def _spectrum(parts: Parts, least_size: int) -> tuple[NDArray[np.clongdouble], int, float]:
    """Return the spectrum of a composition, the length of the FFT, and what its rounding errors can add to δ."""
    size = min(size << max(0, math.ceil(math.log2(least_size / size))) for size in _SIZES)
    mass = max(1.0, *(float(np.sum(pmf._probs)) for pmf, _ in parts))
    error = (12 * math.log2(size) + 4) * _UNIT * mass  # of an FFT at each frequency, and of a multiplication
    kept, spectrum = np.arange(size // 2 + 1), np.ones(size // 2 + 1, np.clongdouble)
    bound, least = np.ones(size // 2 + 1), np.full(size // 2 + 1, np.inf)
    for pmf, count in parts:
        once = np.fft.rfft(pmf._probs.astype(np.longdouble), size).astype(np.clongdouble, copy=False)
        above = np.abs(once.astype(np.complex128)) * (1 + 2.0**-50) + 2 * error
        bound, least = bound * above**count, np.minimum(least, above)
        matters = bound[kept] > _NEGLIGIBLE
        kept, spectrum = kept[matters], spectrum[matters]
        spectrum *= _power(once[kept], count)
    whole = np.zeros(size // 2 + 1, np.clongdouble)
    whole[kept] = spectrum
    folds = sum(count for _, count in parts)
    norm = math.sqrt(2 * float(np.sum((bound / least) ** 2)))
    left_out = math.sqrt(2 * float(np.sum(np.delete(bound, kept) ** 2)))
    return whole, size, 1.1 * ((folds + 2) * error * norm + left_out)


def _power(base: NDArray[np.clongdouble], count: int) -> NDArray[np.clongdouble]:
    """Return base ** count by squaring: count − 1 relative errors of a multiplication, with no logarithm in between."""
    result = base.copy()
    for bit in f"{count:b}"[1:]:
        result *= result
        if bit == "1":
            result *= base
    return result


def _window(parts: Parts) -> tuple[int, int]:
    """Return the first and last grid point that matter, from the sum of all lowest losses; beyond is at most `_TAIL`.

    Chernoff's bound at orders from the best one for few large losses to the best one for a normal law.
    """
    low, high, variance, centred = 0, 0, 0.0, []
    for pmf, count in parts:
        mean, spread = _moments(pmf)
        low, high, variance = low - count * mean, high + count * (pmf.size - 1 - mean), variance + count * spread
        points = np.flatnonzero(pmf._probs)
        centred.append((points - mean, pmf._probs[points], count))
    start, surprise = -low, math.log(2 / _TAIL)
    normal, few = math.sqrt(2 * surprise / max(variance, 1e-9)), 1 / max(pmf.size for pmf, _ in parts)
    orders = np.geomspace(min(few, normal), 4 * max(few, normal), 24).tolist()

    def reach(sign: int, order: float) -> int:
        moment = sum(n * _log_moment(sign * order * x, weights) for x, weights, n in centred)
        return math.ceil((moment + surprise) / order)

    high = min(high, _smallest(orders, partial(reach, 1)))
    low = max(low, -_smallest(orders, partial(reach, -1)))
    return start + low, start + high


def _smallest(orders: Sequence[float], reach: Callable[[float], int]) -> int:
    """Return the smallest reach; it falls and then rises with the order, since a log-moment is convex."""
    first, last = 0, len(orders) - 1
    while first < last:
        middle = (first + last) // 2
        if reach(orders[middle]) > reach(orders[middle + 1]):
            first = middle + 1
        else:
            last = middle
    return reach(orders[first])


def _moments(pmf: DensePLDPmf) -> tuple[int, float]:
    """Return about the mean, from the lowest loss, and the variance, in grid points."""
    points, weights = np.arange(pmf.size), pmf._probs / np.sum(pmf._probs)
    mean = round(float(np.sum(points * weights)))
    return mean, float(np.sum((points - mean) ** 2 * weights))


def _log_moment(exponents: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    largest = float(np.max(exponents))
    return largest + math.log(float(np.sum(np.exp(np.maximum(exponents - largest, -600.0)) * weights)))
