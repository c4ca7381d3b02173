"""Residuals, released minus exact: do they follow the declared law, and did nobody see them before?

Each check raises a false alarm less than once in 10^6; all of them together, on one mechanism, less than twice in 10^5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from orchestrator.checks.audit.step_law import NOISE_LAWS, Noise

FALSE_ALARM = 1e-6
_Z = float(stats.norm.isf(FALSE_ALARM / 2))  # 4.9 standard deviations
_WRONG_SCALES = (0.9, 1.1)
_ENOUGH = 1000  # values from which a law can be told from its neighbours at all


@dataclass(frozen=True)
class LawCheck:
    """How well values follow a law.

    Args:
        num_values: how many were looked at.
        ks_pvalue: of the Kolmogorov-Smirnov test.
        scale_ratio: the measured scale over the declared one, from the law's own statistic of spread.
        scale_z: that statistic's distance from its mean, in standard deviations.
    """

    num_values: int
    ks_pvalue: float
    scale_ratio: float
    scale_z: float

    @property
    def passes(self) -> bool:
        """Whether neither test objects."""
        return self.ks_pvalue > FALSE_ALARM and abs(self.scale_z) < _Z


def check_law(values_N: np.ndarray, kind: Noise, scale: float) -> LawCheck:
    """Compare residuals, in units, to the law of a kind with `scale` units.

    At 20,000 values a scale that is off by 2 % is about 4 standard deviations away (Gaussian), one that is off by 10 %
    is found always.
    """
    law = NOISE_LAWS[kind]
    standard_N = np.asarray(values_N, dtype=np.float64) / scale
    spread = float(law.spread(standard_N).mean())
    ratio = math.sqrt(spread) if kind == "gaussian" else spread
    z = (spread - 1.0) * math.sqrt(len(standard_N)) / law.spread_std
    return LawCheck(len(standard_N), float(stats.kstest(standard_N, law.cdf).pvalue), ratio, z)


def rejects_wrong_scales(values_N: np.ndarray, kind: Noise, scale: float) -> bool:
    """Return whether the same test, told 0.9 or 1.1 of the residuals' own scale, objects: whether it can see at all."""
    own = scale * check_law(values_N, kind, scale).scale_ratio
    return not any(check_law(values_N, kind, own * wrong).passes for wrong in _WRONG_SCALES)


def repeats(values_N: np.ndarray) -> int:
    """Return how many values had been drawn before."""
    return len(values_N) - len(np.unique(values_N))


def allowed_repeats(num_values: int, kind: Noise, scale: float) -> int:
    """Return how many equal integers chance may bring among `num_values` draws of a law with `scale` units."""
    expected = num_values * (num_values - 1) / 2 * NOISE_LAWS[kind].collision / scale
    return int(stats.poisson.isf(FALSE_ALARM, expected))


def largest_correlation(values_N: np.ndarray, references: Mapping[str, np.ndarray]) -> tuple[str, float]:
    """Return the reference that the values correlate with most, and |r|·√N: standard normal if they are independent."""
    found = {
        name: abs(_correlation(values_N, other_N)) * math.sqrt(len(values_N)) for name, other_N in references.items()
    }
    name = max(found, key=lambda one: found[one])
    return name, found[name]


def residual_findings(
    residuals_RTK: np.ndarray, empty_RT: np.ndarray, references: Mapping[str, np.ndarray], kind: Noise, scale: float
) -> tuple[LawCheck, list[str]]:
    """Check the residuals of runs that share one public seed; return the law's check and one line for each objection.

    Args:
        residuals_RTK: released minus exact, int64 [R, T, K] in units.
        empty_RT: which steps had an empty batch, bool [R, T].
        references: what nobody should be able to compute noise from, by name, float64 [R·T·K] each.
        kind: declared kind of noise.
        scale: its declared scale in units.
    """
    values_N = residuals_RTK.ravel()
    overall = check_law(values_N, kind, scale)
    findings = []
    if not overall.passes:
        findings.append(f"the noise is not of the declared law: scale × {overall.scale_ratio:.3f}{_ks(overall)}")
    of_empty = residuals_RTK[empty_RT].ravel()
    if len(of_empty) >= _ENOUGH and not check_law(of_empty, kind, scale).passes:
        findings.append(f"empty batches have other noise: scale × {check_law(of_empty, kind, scale).scale_ratio:.3f}")
    if not overall.passes and overall.scale_ratio == 0:
        return overall, findings
    if not rejects_wrong_scales(values_N, kind, scale):
        findings.append("the residuals are too few, or too odd, to tell the declared scale from 0.9 or 1.1 of it")
    same = int(sum((residuals_RTK[0] == other_TK).sum() for other_TK in residuals_RTK[1:]))
    if same > 1:  # one may be chance
        findings.append(f"runs with the same public seed share their noise in {same} places")
    again = repeats(values_N)
    if again > allowed_repeats(len(values_N), kind, scale):
        findings.append(f"noise was used again: {again} of {len(values_N)} values had been there before")
    earlier = {
        "the value before": np.roll(values_N, 1),
        "the step before": np.roll(residuals_RTK, 1, axis=1).ravel(),
        "the run before": np.roll(residuals_RTK, 1, axis=0).ravel(),
    }
    name, distance = largest_correlation(values_N, {**references, **earlier})
    if distance > _Z:
        findings.append(f"the noise follows {name}: correlation {distance:.1f} standard deviations from 0")
    return overall, findings


def _ks(check: LawCheck) -> str:
    return "" if check.ks_pvalue > FALSE_ALARM else f", Kolmogorov-Smirnov p = {check.ks_pvalue:.1g}"


def _correlation(first_N: np.ndarray, second_N: np.ndarray) -> float:
    first, second = (np.asarray(values, dtype=np.float64) for values in (first_N, second_N))
    first, second = first - first.mean(), second - second.mean()
    size = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / size if size else 0.0
