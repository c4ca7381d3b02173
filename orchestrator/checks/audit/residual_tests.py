"""Tests of residuals (released minus exact): they must follow the declared law, be new, and be unpredictable.

And of the sizes of batches, which must follow the declared q.

Each test has a false alarm less than once in 10^6 audits; all tests of one case together, less than twice in 10^5.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from orchestrator.checks.audit.step_law import DISTRIBUTIONS
from trainers.mechanism.plan import NoiseLaw

FALSE_ALARM = 1e-6
_Z = float(stats.norm.isf(FALSE_ALARM / 2))  # 4.9 standard deviations
_WRONG_SCALES = (0.9, 1.1)
_ENOUGH = 1000  # values that are needed to test a law


@dataclass(frozen=True)
class LawCheck:
    """How well values follow a law.

    Args:
        scale_ratio: the measured scale divided by the declared one, by the law's statistic of spread.
        scale_z: that statistic's distance from its mean, in standard deviations.
    """

    num_values: int
    ks_pvalue: float
    scale_ratio: float
    scale_z: float

    @property
    def passes(self) -> bool:
        return self.ks_pvalue > FALSE_ALARM and abs(self.scale_z) < _Z


def check_law(values_N: np.ndarray, kind: NoiseLaw, scale: float) -> LawCheck:
    """Compare residuals in units with the noise law `kind` of `scale` units.

    With 20,000 values a Gaussian scale that is wrong by 2 % is about 4 standard deviations away, and one that is wrong
    by 10 % is always found.
    """
    law = DISTRIBUTIONS[kind]
    standard_N = np.asarray(values_N, dtype=np.float64) / scale
    spread = float(law.spread(standard_N).mean())
    ratio = math.sqrt(spread) if kind == "gaussian" else spread
    z = (spread - 1.0) * math.sqrt(len(standard_N)) / law.spread_std
    return LawCheck(len(standard_N), float(stats.kstest(standard_N, law.cdf).pvalue), ratio, z)


def law_findings(check: LawCheck) -> list[str]:
    """Return one line if values do not follow their law, else none."""
    if check.passes:
        return []
    tail = "" if check.ks_pvalue > FALSE_ALARM else f", Kolmogorov-Smirnov p = {check.ks_pvalue:.1g}"
    return [f"the noise does not follow the declared law: scale × {check.scale_ratio:.3f}{tail}"]


def rejects_wrong_scales(values_N: np.ndarray, kind: NoiseLaw, scale: float) -> bool:
    """Return whether the test rejects 0.9 and 1.1 of the measured scale, as it does with enough values."""
    own = scale * check_law(values_N, kind, scale).scale_ratio
    return not any(check_law(values_N, kind, own * wrong).passes for wrong in _WRONG_SCALES)


def allowed_repeats(num_values: int, kind: NoiseLaw, scale: float) -> int:
    """Return how many repeated integers chance may give among `num_values` draws of a law with `scale` units."""
    expected = num_values * (num_values - 1) / 2 * DISTRIBUTIONS[kind].collision / scale
    return int(stats.poisson.isf(FALSE_ALARM, expected))


def largest_correlation(values_N: np.ndarray, references: Mapping[str, np.ndarray]) -> tuple[str, float]:
    """Return the reference that the values correlate with most, and |r|·√N: standard normal if they are independent."""
    distances = {name: abs(_correlation(values_N, other_N)) for name, other_N in references.items()}
    name = max(distances, key=lambda one: distances[one])
    return name, distances[name] * math.sqrt(len(values_N))


def batch_findings(sizes: np.ndarray, num_rows: int, sampling_prob: float) -> tuple[float, list[str]]:
    """Test sizes of batches, int64 [steps], against Poisson sampling of `num_rows` rows: all rows, and empty batches.

    Returns:
        The number of rows drawn divided by its mean, and one line for each finding. Both tests are exact.
    """
    counts = {
        "rows in batches": (int(sizes.sum()), len(sizes) * num_rows, sampling_prob),
        "empty batches": (int((sizes == 0).sum()), len(sizes), (1.0 - sampling_prob) ** num_rows),
    }
    findings = [
        f"batches do not follow q: {count} {name} instead of {trials * prob:.1f}, exact binomial p = {pvalue:.1g}"
        for name, (count, trials, prob) in counts.items()
        if (pvalue := stats.binomtest(count, trials, prob).pvalue) < FALSE_ALARM
    ]
    return float(sizes.mean() / (num_rows * sampling_prob)), findings


def residual_findings(
    residuals_RTK: np.ndarray, empty_RT: np.ndarray, references: Mapping[str, np.ndarray], kind: NoiseLaw, scale: float
) -> tuple[LawCheck, list[str]]:
    """Test the residuals of runs that share one public seed; return the check of the law and one line for each finding.

    Args:
        residuals_RTK: released minus exact, int64 [R, T, K] in units.
        empty_RT: which steps had an empty batch, bool [R, T].
        references: public numbers that noise must not follow, by name, float64 [R·T·K] each.
        kind, scale: the declared noise law, and its scale in units.
    """
    values_N = residuals_RTK.ravel()
    overall = check_law(values_N, kind, scale)
    findings = law_findings(overall)
    of_empty = residuals_RTK[empty_RT].ravel()
    if len(of_empty) >= _ENOUGH and not (check := check_law(of_empty, kind, scale)).passes:
        findings.append(f"empty batches get other noise: scale × {check.scale_ratio:.3f}")
    if not overall.passes and overall.scale_ratio == 0:
        return overall, findings
    if not rejects_wrong_scales(values_N, kind, scale):
        findings.append("the residuals are too few, or too odd, to distinguish their scale from 0.9 or 1.1 of it")
    same = int(sum((residuals_RTK[0] == other_TK).sum() for other_TK in residuals_RTK[1:]))
    if same > 1:  # one may be chance
        findings.append(f"runs with the same public seed have the same noise in {same} places")
    repeated = len(values_N) - len(np.unique(values_N))
    if repeated > allowed_repeats(len(values_N), kind, scale):
        findings.append(f"noise was used again: {repeated} of {len(values_N)} values are repeats")
    earlier = {
        "the previous value": np.roll(values_N, 1),
        "the previous step": np.roll(residuals_RTK, 1, axis=1).ravel(),
        "the previous run": np.roll(residuals_RTK, 1, axis=0).ravel(),
    }
    name, distance = largest_correlation(values_N, {**references, **earlier})
    if distance > _Z:
        findings.append(f"the noise follows {name}: the correlation is {distance:.1f} standard deviations from 0")
    return overall, findings


def _correlation(first_N: np.ndarray, second_N: np.ndarray) -> float:
    first, second = (np.asarray(values, dtype=np.float64) for values in (first_N, second_N))
    first, second = first - first.mean(), second - second.mean()
    size = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / size if size else 0.0
