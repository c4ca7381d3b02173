"""What a `DpEvent` tree releases, checked before any accountant sees it.

dp-accounting answers some malformed events with an ε that is far too small: a noise multiplier that is an int or a
float32 makes RDP forget a composition inside Poisson sampling, and NaN costs nothing at all. So the tree is first read
into a flat, sorted list of releases. A part that is not understood is refused with its path. Equal releases are merged,
so that the order in which a sweep was written down cannot change its ε.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import dp_accounting as dp

NoiseLaw = Literal["gaussian", "laplace", "pure"]

_NOISE: dict[type, NoiseLaw] = {dp.GaussianDpEvent: "gaussian", dp.LaplaceDpEvent: "laplace"}
_RELEASES = (*_NOISE, dp.RandomizedResponseDpEvent)
_NOISE_MULTIPLIER_RANGE = (1e-6, 1e9)
_ROUNDING = 8 * 2.0**-53  # of the noise parameter, when it was computed from ε₀


@dataclass(frozen=True, order=True)
class Release:
    """One noisy sum of sensitivity 1 over a Poisson sample (`sampling_prob` 1: over everyone), noise in the same unit.

    Laplace noise is on one number. A "pure" release is any step that is (1 / `noise_multiplier`)-DP on its sample.
    """

    noise: NoiseLaw
    sampling_prob: float
    noise_multiplier: float


@dataclass(frozen=True)
class Releases:
    """A composition: sorted (release, count) pairs; `private` is False if anything is released without noise."""

    counts: tuple[tuple[Release, int], ...]
    private: bool


def read(event: dp.DpEvent) -> Releases:
    """Flatten an event into its releases; refuse an event that would not be accounted for exactly as it is meant.

    Args:
        event: a tree of NoOp, NonPrivate, Gaussian, Laplace, RandomizedResponse (of two buckets), PoissonSampled (over
            one of these three), Composed and SelfComposed events.

    Raises:
        ValueError: naming the path of the first part that is refused: an unknown class (subclasses too), a parameter
            that is not a float or not finite and positive, a sampling probability outside (0, 1], a count that is not a
            positive int, an empty composition, or anything but one release inside Poisson sampling.

    Formal guarantees:
        Two events with equal results describe the same adaptive composition (composition does not depend on order).
        The ε₀ of a pure release is never below that of the event, whatever rounding went into its noise parameter.
    """
    counts: Counter[Release] = Counter()
    private = True
    for release, count in _walk(event, "event"):
        if release is None:
            private = False
        else:
            counts[release] += count
    return Releases(tuple(sorted(counts.items())), private)


def pure_step(noise_multiplier: float) -> dp.DpEvent:
    """Return the event of any step that is ε₀-DP, ε₀ = 1 / noise_multiplier: binary randomised response.

    This is how Laplace noise on a vector of bounded L1 norm is accounted, of which nothing but ε₀-DP is used.

    Formal guarantees:
        Every ε₀-DP step is a post-processing of randomised response (Kairouz, Oh & Viswanath (2015), Thm 3.1,
        arXiv:1311.0776). Proof: let P and Q be the step's laws on two adjacent data sets, r = exp(ε₀), and
        H₁ = (r·P − Q)/(r − 1), H₀ = (r·Q − P)/(r − 1). Both are probability laws: by ε₀-DP they are nowhere negative,
        and their mass is 1. Draw from H₁ where randomised response answers 1, and from H₀ where it answers 0. Answer 1
        has probability r/(1 + r) on the one data set and 1/(1 + r) on the other, so the results have the laws
        (r·H₁ + H₀)/(1 + r) = P and (H₁ + r·H₀)/(1 + r) = Q.

    Raises:
        ValueError: a noise multiplier outside [1/500, 1e9]: the parameter would leave the floating-point range.
    """
    if not 1 / 500 <= noise_multiplier <= 1e9:
        raise ValueError(f"noise_multiplier must be in [0.002, 1e9] for an ε₀-DP step; got {noise_multiplier!r}.")
    return dp.RandomizedResponseDpEvent(noise_parameter=2 / (1 + math.exp(1 / noise_multiplier)), num_buckets=2)


def _walk(event: Any, path: str) -> Iterator[tuple[Release | None, int]]:
    """Yield (release, count); a None release stands for a non-private one."""
    kind = type(event)
    if kind is dp.NoOpDpEvent:
        return
    if kind is dp.NonPrivateDpEvent:
        yield None, 1
    elif kind in _RELEASES:
        yield _release(event, 1.0, path), 1
    elif kind is dp.PoissonSampledDpEvent:
        yield _sampled(event, path), 1
    elif kind is dp.SelfComposedDpEvent:
        times = _positive_int(event.count, f"{path}.count")
        for release, count in _walk(event.event, f"{path}.event"):
            yield release, count * times
    elif kind is dp.ComposedDpEvent:
        for i, part in enumerate(_parts(event, path)):
            yield from _walk(part, f"{path}.events[{i}]")
    else:
        raise ValueError(
            f"{path} is {_shown(event)}, which this accountant does not understand. Use Gaussian, Laplace, "
            "RandomizedResponse, PoissonSampled, Composed, SelfComposed, NoOp or NonPrivate events of dp_accounting."
        )


def _sampled(event: Any, path: str) -> Release:
    prob = _positive_float(event.sampling_probability, f"{path}.sampling_probability")
    if prob > 1.0:
        raise ValueError(f"{path}.sampling_probability must be in (0, 1]; got {prob!r}.")
    if type(event.event) not in _RELEASES:
        raise ValueError(
            f"{path}.event must be one Gaussian, Laplace or RandomizedResponse release; got {_shown(event.event)}. "
            "Poisson sampling draws one batch for one release: compose outside the sampling."
        )
    return _release(event.event, prob, f"{path}.event")


def _release(event: Any, sampling_prob: float, path: str) -> Release:
    if type(event) is dp.RandomizedResponseDpEvent:
        return Release("pure", sampling_prob, _pure_noise_multiplier(event, path))
    sigma = _positive_float(event.noise_multiplier, f"{path}.noise_multiplier")
    low, high = _NOISE_MULTIPLIER_RANGE
    if not low <= sigma <= high:
        raise ValueError(f"{path}.noise_multiplier must be in [{low:g}, {high:g}] to be accounted; got {sigma!r}.")
    return Release(_NOISE[type(event)], sampling_prob, sigma)


def _pure_noise_multiplier(event: Any, path: str) -> float:
    """Return 1/ε₀ of randomised response, ε₀ = ln(2/p − 1), with every rounding on the side of a larger ε₀."""
    if _positive_int(event.num_buckets, f"{path}.num_buckets") != 2:
        raise ValueError(f"{path}.num_buckets must be 2, which stands for any ε₀-DP step; got {event.num_buckets!r}.")
    p = _positive_float(event.noise_parameter, f"{path}.noise_parameter")
    if not 1e-300 <= p < 1.0:
        raise ValueError(f"{path}.noise_parameter must be in [1e-300, 1); got {p!r}.")
    p -= _ROUNDING * p
    return 1 / math.log1p(2 * ((1.0 - p) / p)) * (1 - _ROUNDING)


def _parts(event: Any, path: str) -> list[Any]:
    if not isinstance(event.events, list | tuple) or not event.events:
        raise ValueError(f"{path}.events must be a list of at least one event; got {event.events!r}.")
    return list(event.events)


def _positive_float(value: Any, path: str) -> float:
    if not isinstance(value, float):
        raise ValueError(f"{path} must be a Python float; got {_shown(value)}. Write float({value!r}).")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{path} must be finite and above 0; got {value!r}.")
    return float(value)


def _positive_int(value: Any, path: str) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{path} must be a Python int of at least 1; got {_shown(value)}.")
    return value


def _shown(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"
