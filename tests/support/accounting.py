"""What tests ask the accountant beside ε: cross-checks that no run needs."""

from __future__ import annotations

import math

import dp_accounting as dp
import numpy as np

from orchestrator.privacy.accountant.accountant import Certificate, certify
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.bounds import renyi_epsilon
from orchestrator.privacy.accountant.distribution import discretisation, loss_distribution
from orchestrator.privacy.accountant.events import read


def certificate(event: dp.DpEvent, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
    return certify(read(event), delta, adjacency)


def delta(event: dp.DpEvent, epsilon: float) -> float:
    """Return δ at an ε by the privacy loss distribution."""
    releases = read(event)
    losses = loss_distribution(releases, discretisation(releases), "add-or-remove-one")
    assert losses is not None
    return float(losses.get_delta_for_epsilon(epsilon))


def rdp_epsilon(event: dp.DpEvent, delta: float) -> float:
    """Return ε by Rényi DP: a looser answer by another method."""
    return renyi_epsilon(read(event), delta)


def exact_delta(sigma: float, sampling_prob: float, num_steps: int, epsilon: float) -> float:
    """Return δ at an ε of Poisson-sampled Gaussian steps, to 1e-3 of itself however small it is.

    By no code of the product: the law of one loss under the example's presence, tilted by e^(t·loss) so that ε is where
    the mass is, convolved by FFT, and tilted back. Rounding is then relative to δ itself.
    """
    x = np.linspace(-14 * sigma, 14 * sigma + 1, 1_000_001)
    density = (1 - sampling_prob) * np.exp(-(x**2) / (2 * sigma**2)) + sampling_prob * np.exp(
        -((x - 1) ** 2) / (2 * sigma**2)
    )
    losses = np.log1p(sampling_prob * np.expm1((2 * x - 1) / (2 * sigma**2)))
    weights = density / density.sum()
    mean = float(np.sum(weights * losses))
    grid = math.sqrt(num_steps * float(np.sum(weights * (losses - mean) ** 2))) / 3000
    bins = np.floor(losses / grid).astype(int)
    lowest, share = bins.min(), losses / grid - bins  # keeps the mean of each loss
    size = bins.max() - lowest + 2
    mass = np.bincount(bins - lowest, weights * (1 - share), size) + np.bincount(
        bins - lowest + 1, weights * share, size
    )
    values = (lowest + np.arange(size)) * grid

    def tilted(order: float) -> tuple[float, np.ndarray]:
        exponents = order * values
        moment = math.log(float(np.sum(mass * np.exp(exponents - exponents.max())))) + float(exponents.max())
        return moment, mass * np.exp(exponents - moment)

    low, high = 0.0, 200.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = num_steps * float(np.sum(tilted(middle)[1] * values))
        low, high = (middle, high) if mean < epsilon + 0.3 else (low, middle)
    moment, law = tilted(low)
    length = 2**18
    spectrum = np.fft.rfft(np.bincount(np.arange(size) % length, law, length)) ** num_steps
    total = np.fft.irfft(spectrum, length)
    first = math.floor(epsilon / grid) - length // 4  # the window begins a quarter of its length below ε
    points = first + np.arange(length)
    probabilities, sums = total[(points - num_steps * lowest) % length], points * grid
    above = sums > epsilon
    back = np.exp(num_steps * moment - low * sums[above])
    return float(np.sum(probabilities[above] * back * -np.expm1(epsilon - sums[above])))
