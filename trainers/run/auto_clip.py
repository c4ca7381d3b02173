"""A clip that follows the norms of the examples: each step moves C by the released measure of norms alone.

The measure is 1 − ‖v‖/C, between −1 and 1, summed over a batch, with the noise of every coordinate (`clipping.py`). It
is 0 on average where C is the mean of min(‖v‖, 2C). A step changes C by at most a quarter, after Andrew et al. (2021),
arXiv:1905.03871, who follow a quantile. The gain falls with the known noise, which alone moves ln C by about a quarter
in the long run.

C is a function of the release log: it costs no privacy, and a replay, an export or another rank finds the same C.
Only additions, multiplications and divisions of float64 enter, which every machine rounds alike.
"""

from trainers.config.auto import AutoClip
from trainers.mechanism.plan import NORM_UNITS, MechanismPlan

_MOST = 0.25  # of the gain, and of a step's change
_NOISE_SHARE = 0.125  # a gain γ = 1 / (8 n²) at noise n gives ln C the variance γ n² / 2 = 1/16


class FollowedClip:
    """The clip norm in force; `norm` changes with each release."""

    def __init__(self, settings: AutoClip) -> None:
        self.norm, self._range = settings.start, settings.range

    def follow(self, released: int, plan: MechanismPlan) -> None:
        """Move C by a released sum of measures, in units of 1 / `NORM_UNITS`; `plan` is that of the step."""
        whole = NORM_UNITS * plan.expected_batch_size
        noise = plan.noise_scale_grid_units / whole
        change = min(_MOST, _NOISE_SHARE / (noise * noise)) * (released / whole)
        factor, (low, high) = 1.0 + min(abs(change), _MOST), self._range
        self.norm = min(max(self.norm / factor if change > 0 else self.norm * factor, low), high)
