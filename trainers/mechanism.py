"""The mechanism of one run: sampling, clip, noise scale AND its privacy event, in one frozen plan.

Everything that the privacy analysis depends on is read from here, by the sampler, the clip, the noise and the
accountant, so that they cannot disagree. The plan is public; the data, its size and the noise are arguments of
other functions.

The grid. Clipping norm C is divided into 2**30 units. An example contributes an integer vector of L2 norm at most
2**30, sums are exact integers, and the noise is an integer of the discrete Gaussian law with a whole number of
units as its standard deviation. No floating point stands between the clip and the release.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_accounting import dp_event

UNITS_PER_CLIP = 2**30
WORD_RANGE = 2**32


@dataclass(frozen=True)
class MechanismPlan:
    """The one source of sampling rate, clip, noise scale and event of a run.

    Args:
        sampling_prob: q in (0, 1]; rounded up to a multiple of 2**-32, which is the value that is used and accounted.
        expected_batch_size: B, a public constant in examples; the only divisor of a sum.
        num_directions: K, at least 1.
        num_steps: T, the releases that the run plans.
        clip_norm: C, L2 bound on an example's K-vector, in loss per parameter unit; None for a run without privacy.
        noise_multiplier: σ, noise standard deviation in multiples of C, rounded up to whole units; None without
        privacy.

    Formal guarantees:
        With `clip_norm` and `noise_multiplier` given, one step is the Poisson-subsampled Gaussian mechanism with rate
        `sampling_prob` and multiplier `noise_multiplier`, under add-or-remove-one example. The
        discrete law on a grid of 2**30 units differs from the continuous one by about K · 2**-65 / σ² a step in total
        variation (Canonne, Kamath & Steinke, 2020): far below any δ that is allowed.

    Raises:
        ValueError: a field is not finite, not positive or out of range, or only one of clip and noise is given.
    """

    sampling_prob: float
    expected_batch_size: float
    num_directions: int
    num_steps: int
    clip_norm: float | None
    noise_multiplier: float | None

    def __post_init__(self) -> None:
        """Check every field and round q and σ up to what is really drawn."""
        _positive("sampling_prob", self.sampling_prob)
        if self.sampling_prob > 1:
            raise ValueError(f"sampling_prob is a probability in (0, 1], not {self.sampling_prob}.")
        _positive("expected_batch_size", self.expected_batch_size)
        _count("num_directions", self.num_directions)
        _count("num_steps", self.num_steps)
        if (self.clip_norm is None) != (self.noise_multiplier is None):
            raise ValueError(
                "clip_norm and noise_multiplier belong together: give both for a private run, or neither for a run "
                f"without privacy (got clip_norm={self.clip_norm}, noise_multiplier={self.noise_multiplier})."
            )
        object.__setattr__(self, "sampling_prob", self.sampling_threshold / WORD_RANGE)
        if self.clip_norm is not None and self.noise_multiplier is not None:
            _positive("clip_norm", self.clip_norm)
            _positive("noise_multiplier", self.noise_multiplier)
            object.__setattr__(self, "noise_multiplier", self.noise_std_units / UNITS_PER_CLIP)

    @property
    def is_private(self) -> bool:
        """Whether the run clips and adds noise."""
        return self.clip_norm is not None

    @property
    def sampling_threshold(self) -> int:
        """Examples whose 32-bit word falls below this join the batch."""
        return math.ceil(self.sampling_prob * WORD_RANGE)

    @property
    def unit(self) -> float:
        """What one integer unit of a release is worth: C / 2**30, or 2**-30 without privacy."""
        return (1.0 if self.clip_norm is None else self.clip_norm) / UNITS_PER_CLIP

    @property
    def noise_std_units(self) -> int:
        """Standard deviation of the noise in units; 0 without privacy."""
        return 0 if self.noise_multiplier is None else math.ceil(self.noise_multiplier * UNITS_PER_CLIP)

    @property
    def step_event(self) -> dp_event.DpEvent:
        """The privacy event of one step."""
        from dp_accounting import dp_event

        if self.noise_multiplier is None:
            return dp_event.NonPrivateDpEvent()
        return dp_event.PoissonSampledDpEvent(
            self.sampling_prob, dp_event.GaussianDpEvent(float(self.noise_multiplier))
        )

    @property
    def event(self) -> dp_event.DpEvent:
        """The privacy event of all `num_steps` steps."""
        from dp_accounting import dp_event

        return dp_event.SelfComposedDpEvent(self.step_event, self.num_steps)


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, not {value}.")


def _count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
