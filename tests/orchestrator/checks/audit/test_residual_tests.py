"""Residual checks on numbers from a seed: they pass always, or never."""

import numpy as np
import pytest

from orchestrator.checks.audit.residual_tests import allowed_repeats, check_law, rejects_wrong_scales, residual_findings

SCALE = 2.0**30
SHAPE = (4, 2500, 2)
LAWS = ("gaussian", "laplace")


def noise(kind, scale=SCALE, seed=0, shape=SHAPE):
    generator = np.random.default_rng(seed)
    draw = {"gaussian": generator.standard_normal, "laplace": lambda size: generator.laplace(size=size)}[kind]
    return np.rint(draw(shape) * scale).astype(np.int64)


def findings(residuals, kind="gaussian", references=None):
    empty = np.zeros(SHAPE[:2], dtype=bool)
    empty[:, ::4] = True
    return " / ".join(residual_findings(residuals, empty, references or {}, kind, SCALE)[1])


@pytest.mark.parametrize("kind", LAWS)
def test_the_declared_law_passes(kind):
    assert findings(noise(kind), kind) == ""


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_wrong_scale_is_found(kind, factor):
    assert "does not follow the declared law" in findings(noise(kind, factor * SCALE), kind)
    assert check_law(noise(kind, factor * SCALE).ravel(), kind, SCALE).scale_ratio == pytest.approx(factor, rel=0.02)


@pytest.mark.parametrize(("kind", "other"), [LAWS, LAWS[::-1]])
def test_another_law_of_the_same_scale_is_found(kind, other):
    factor = {"gaussian": 2**-0.5, "laplace": np.sqrt(np.pi / 2)}[kind]  # the same statistic of spread
    check = check_law(noise(other, factor * SCALE).ravel(), kind, SCALE)
    assert abs(check.scale_ratio - 1) < 0.02
    assert not check.passes


def test_two_percent_is_four_standard_deviations():
    assert abs(check_law(noise("gaussian", 1.02 * SCALE).ravel(), "gaussian", SCALE).scale_z - 4.0) < 2.5


def test_too_few_values_are_no_test():
    assert not rejects_wrong_scales(noise("gaussian").ravel()[:50], "gaussian", SCALE)
    assert rejects_wrong_scales(noise("gaussian").ravel(), "gaussian", SCALE)


def test_a_bare_empty_batch_is_found():
    residuals = noise("gaussian")
    residuals[:, ::4] = 0
    assert "empty batches get other noise: scale × 0.000" in findings(residuals)


def test_noise_of_the_seed_is_found():
    residuals = np.tile(noise("gaussian", shape=(1, *SHAPE[1:])), (4, 1, 1))
    assert "runs with the same public seed have the same noise in 15000 places" in findings(residuals)


def test_noise_that_starts_again_is_found():
    residuals = noise("gaussian")
    residuals[:, 1250:] = residuals[:, :1250]
    assert "noise was used again: 10000 of 20000 values are repeats" in findings(residuals)


def test_one_chance_repeat_is_no_finding():
    residuals = noise("gaussian")
    residuals[0, 1] = residuals[3, 7]
    assert findings(residuals) == ""
    assert 2 <= allowed_repeats(20_000, "gaussian", SCALE) <= 6


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_noise_that_follows_a_public_stream_is_found(share):
    stream = np.random.default_rng(9).standard_normal(SHAPE)
    residuals = noise("gaussian", SCALE * np.sqrt(1 - share**2)) + np.rint(stream * share * SCALE).astype(np.int64)
    assert "the noise follows the stream" in findings(residuals, references={"the stream": stream.ravel()})


@pytest.mark.parametrize(("axis", "word"), [(0, "run"), (1, "step"), (2, "value")])
def test_noise_that_undoes_itself_is_found(axis, word):
    residuals = noise("gaussian")
    even, odd = (tuple([slice(None)] * axis + [slice(first, None, 2)]) for first in (0, 1))
    residuals[odd] = -residuals[even]
    assert f"the noise follows the previous {word}" in findings(residuals)


def test_no_noise_at_all_is_found():
    assert "scale × 0.000" in findings(np.zeros(SHAPE, dtype=np.int64))
