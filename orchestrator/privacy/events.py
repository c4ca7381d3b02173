"""What a `DpEvent` tree releases, checked before any accountant sees it.

dp-accounting answers some malformed events with a number that is far too small: a noise multiplier that is an int or a
float32 makes RDP forget a composition inside Poisson sampling, and NaN costs nothing at all. So the tree is read here
first, into a flat and sorted list of releases; what is not understood is refused with the path of the offending part.
Flattening also merges equal releases, so that the order in which a sweep was written down cannot change its ε.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import dp_accounting as dp

Noise = Literal["gaussian", "laplace"]

_NOISE: dict[type, Noise] = {dp.GaussianDpEvent: "gaussian", dp.LaplaceDpEvent: "laplace"}
_NOISE_MULTIPLIER_RANGE = (1e-6, 1e9)


@dataclass(frozen=True, order=True)
class Release:
    """One noisy sum over a Poisson sample (`sampling_prob` 1: over everyone), sensitivity 1, noise in the same unit."""

    noise: Noise
    sampling_prob: float
    noise_multiplier: float


@dataclass(frozen=True)
class Releases:
    """A composition: (release, count) pairs, each release once, sorted; `private` is False if anything leaves bare."""

    counts: tuple[tuple[Release, int], ...]
    private: bool


def read(event: dp.DpEvent) -> Releases:
    """Flatten an event into its releases.

    Args:
        event: a tree of NoOp, NonPrivate, Gaussian, Laplace, PoissonSampled (over one Gaussian or Laplace), Composed
            and SelfComposed events.

    Raises:
        ValueError: naming the path of the first part that is not understood; see `validate`.

    Formal guarantees:
        Two events with equal results describe the same adaptive composition (composition does not depend on order).
    """
    counts: Counter[Release] = Counter()
    private = True
    for release, count in _walk(event, "event"):
        if release is None:
            private = False
        else:
            counts[release] += count
    return Releases(tuple(sorted(counts.items())), private)


def validate(event: dp.DpEvent) -> None:
    """Refuse every event that the accountants here would not account for exactly as it is meant.

    Raises:
        ValueError: for an unknown class (subclasses too), a parameter that is not a float or not finite and positive,
            a sampling probability outside (0, 1], a count that is not a positive int, an empty composition, or anything
            but one Gaussian or Laplace release inside Poisson sampling.
    """
    read(event)


def _walk(event: Any, path: str) -> Iterator[tuple[Release | None, int]]:
    """Yield (release, count); a None release stands for a non-private one."""
    kind = type(event)
    if kind is dp.NoOpDpEvent:
        return
    if kind is dp.NonPrivateDpEvent:
        yield None, 1
    elif kind in _NOISE:
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
            "PoissonSampled, Composed, SelfComposed, NoOp or NonPrivate events of dp_accounting."
        )


def _sampled(event: Any, path: str) -> Release:
    prob = _positive_float(event.sampling_probability, f"{path}.sampling_probability")
    if prob > 1.0:
        raise ValueError(f"{path}.sampling_probability must be in (0, 1]; got {prob!r}.")
    if type(event.event) not in _NOISE:
        raise ValueError(
            f"{path}.event must be one Gaussian or Laplace release; got {_shown(event.event)}. "
            "Poisson sampling draws one batch for one release: compose outside the sampling."
        )
    return _release(event.event, prob, f"{path}.event")


def _release(event: Any, sampling_prob: float, path: str) -> Release:
    sigma = _positive_float(event.noise_multiplier, f"{path}.noise_multiplier")
    low, high = _NOISE_MULTIPLIER_RANGE
    if not low <= sigma <= high:
        raise ValueError(f"{path}.noise_multiplier must be in [{low:g}, {high:g}] to be accounted; got {sigma!r}.")
    return Release(_NOISE[type(event)], sampling_prob, sigma)


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
