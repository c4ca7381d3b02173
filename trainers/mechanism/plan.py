"""The mechanism of one run: sampling rate, clip and noise scale, in one frozen plan.

Everything that the privacy analysis depends on is read from here, by the sampler, the clip, the noise and the rule that
counts the run, so that they cannot disagree. The plan is public; other functions take the data, its size and the noise.

The grid. The clip norm C is divided into 2**30 grid units. An example (a user, where users are the unit of privacy)
contributes an integer vector of norm at most 2**30, L2 under Gaussian noise and L1 under Laplace noise. Sums are exact
integers. The noise is an integer of the discrete Gaussian or Laplace law, whose scale is a whole number of grid units.
There is no floating point between the clip and the release.

A plan with `has_norm` measures norms too. A row then has one coordinate more, of at most 2**27 grid units, which tells
how its norm compares with C; its K-vector takes what that leaves of the row's 2**30 (`clipping.py`, docs/noise.md). The
row's bound and the noise on each coordinate stay as they are: it is the same Gaussian release.
"""

import math
import sys
from dataclasses import dataclass
from typing import Literal, get_args

GRID_UNITS_PER_CLIP = 2**30
NORM_UNITS = 2**27
"""Largest size of the coordinate that measures a norm, in grid units."""
WORD_RANGE = 2**32

NoiseLaw = Literal["gaussian", "laplace"]
Adjacency = Literal["add-or-remove-one", "replace-one"]

_MOST_NOISE = 2.0**28


@dataclass(frozen=True)
class MechanismPlan:
    """The one source of sampling rate, clip and noise scale of a run.

    Args:
        sampling_prob: q in (0, 1]; rounded up to a multiple of 2**-32, which is the value that is used and accounted.
        expected_batch_size: B, a public constant in examples (or users); the only divisor of a sum.
        num_directions: K, at least 1.
        num_steps: T, the releases that the run plans.
        clip_norm: C, bound on an example's K-vector, in loss per parameter unit: L2 for Gaussian noise, L1 for Laplace
            noise; None for a run without privacy.
        noise_multiplier: σ, in multiples of C: the standard deviation of Gaussian noise, the scale b of Laplace noise;
            rounded up to whole grid units. None without privacy.
        noise: law of the noise, "gaussian" or "laplace".
        adjacency: the relation that the run's ε is for. The sum moves by at most C when one example is added
            or removed, and by 2C when one is replaced: an accountant takes the doubling from here (PLD only).
        has_norm: whether a release has a coordinate beside the K, from which C follows the norms.

    Formal guarantees:
        With `clip_norm` and `noise_multiplier` given, one step is this mechanism:

        * Gaussian: the Poisson-subsampled Gaussian mechanism with rate `sampling_prob` and multiplier
          `noise_multiplier`. The discrete law on a grid of 2**30 units a clip differs from the continuous one by about
          K · 2**-65 / σ² a step in total variation (Canonne, Kamath & Steinke, 2020): far below any δ that is allowed.
        * Laplace: on the sampled batch exactly ε₀-DP, ε₀ = 1/σ, under add-or-remove-one. The sum is an integer vector
          that moves by at most 2**30 in L1, and discrete Laplace noise of whole scale b changes its probabilities by
          at most the factor exp(2**30 / b) = exp(1/σ): pure ε has no discretisation error at all. For (ε, δ) with
          K = 1 it is the continuous Laplace mechanism, whose privacy profile the discrete one exceeds by at most
          1 − 1/cosh(1/(2b)) < 2**-63 / σ² a step, as δ. With K > 1 nothing but ε₀-DP is claimed.

    Raises:
        ValueError: a field is not finite, not positive or out of range, only one of clip and noise is given, Laplace
            noise is asked for under replace-one, or norms are measured without Gaussian noise.
    """

    sampling_prob: float
    expected_batch_size: float
    num_directions: int
    num_steps: int
    clip_norm: float | None
    noise_multiplier: float | None
    noise: NoiseLaw = "gaussian"
    adjacency: Adjacency = "add-or-remove-one"
    has_norm: bool = False

    def __post_init__(self) -> None:
        """Check every field and round q and σ up to what is really drawn."""
        _positive("sampling_prob", self.sampling_prob)
        if self.sampling_prob > 1:
            raise ValueError(f"sampling_prob is a probability in (0, 1], not {self.sampling_prob}.")
        _positive("expected_batch_size", self.expected_batch_size)
        _count("num_directions", self.num_directions)
        _count("num_steps", self.num_steps)
        _one_of("noise", self.noise, get_args(NoiseLaw))
        _one_of("adjacency", self.adjacency, get_args(Adjacency))
        if self.noise == "laplace" and self.adjacency == "replace-one":
            raise ValueError(
                "noise laplace is accounted under add-or-remove-one only; use that adjacency, or Gaussian noise."
            )
        if (self.clip_norm is None) != (self.noise_multiplier is None):
            raise ValueError(
                "clip_norm and noise_multiplier belong together: give both for a private run, or neither for a run "
                f"without privacy (got clip_norm={self.clip_norm}, noise_multiplier={self.noise_multiplier})."
            )
        if self.has_norm and (self.noise != "gaussian" or self.clip_norm is None):
            raise ValueError("norms are measured beside a clip and Gaussian noise only.")
        object.__setattr__(self, "sampling_prob", self.sampling_threshold / WORD_RANGE)
        if self.clip_norm is not None and self.noise_multiplier is not None:
            _positive("clip_norm", self.clip_norm)
            _positive("noise_multiplier", self.noise_multiplier)
            if self.grid_unit < sys.float_info.min:
                raise ValueError(f"clip_norm {self.clip_norm} is too small: C / 2**30 has no float; raise it.")
            if self.noise_multiplier > _MOST_NOISE:
                raise ValueError(
                    f"noise_multiplier must be at most 2**28, so that noise in grid units fits 64 bits, not "
                    f"{self.noise_multiplier}."
                )
            object.__setattr__(self, "noise_multiplier", self.noise_scale_grid_units / GRID_UNITS_PER_CLIP)

    @property
    def is_private(self) -> bool:
        """Whether the run clips and adds noise."""
        return self.clip_norm is not None

    @property
    def sampling_threshold(self) -> int:
        """An example joins the batch if its 32-bit word is below this number."""
        return math.ceil(self.sampling_prob * WORD_RANGE)

    @property
    def num_coordinates(self) -> int:
        """Numbers that a step releases: K, and one more where norms are measured."""
        return self.num_directions + self.has_norm

    @property
    def vector_units(self) -> int:
        """Norm of a clipped K-vector in grid units: 2**30, or what the measure of its norm leaves of that."""
        return math.isqrt(GRID_UNITS_PER_CLIP**2 - NORM_UNITS**2) if self.has_norm else GRID_UNITS_PER_CLIP

    @property
    def grid_unit(self) -> float:
        """Value of one grid unit of a released K-vector: C / `vector_units`, or 2**-30 without privacy."""
        return (1.0 if self.clip_norm is None else self.clip_norm) / self.vector_units

    @property
    def value_noise(self) -> float:
        """Scale of the noise on a coordinate of the K-vector, in multiples of C: σ, and 0.8 % more with `has_norm`."""
        return self.noise_scale_grid_units / self.vector_units

    @property
    def noise_scale_grid_units(self) -> int:
        """Scale of the noise in grid units: standard deviation (Gaussian) or b (Laplace); 0 without privacy."""
        return 0 if self.noise_multiplier is None else math.ceil(self.noise_multiplier * GRID_UNITS_PER_CLIP)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, not {value}.")


def _count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
