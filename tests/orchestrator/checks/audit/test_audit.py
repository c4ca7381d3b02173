"""The audit on the true code, and with mistakes put in: each is found, by the parts that can see it.

Runs draw from the operating system, so checks are statistical. On the true code bounds are one-sided at 1e-6: a false
alarm less than once in 10^4 runs of this file. The mistakes are found with far more than that.
"""

import dataclasses

import numpy as np
import pytest
from scipy import stats

import trainers.mechanism.clipping
import trainers.run.step
import trainers.run.zeroth_order
from orchestrator.checks.audit.cases import catalogue_cases
from orchestrator.checks.audit.membership import audit_membership, play_runs
from orchestrator.checks.audit.replay import audit_replay
from orchestrator.checks.audit.residuals import audit_residuals
from orchestrator.checks.audit.runner import scratch_folder
from trainers.config import RunConfig
from trainers.mechanism.noise import ExactNoise
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, NORM_UNITS, MechanismPlan
from trainers.mechanism.sampling import PoissonSampler

RUNS = 300
CASES = {case.label: case for case in catalogue_cases()}


def membership_findings(case, folder, tail=0.025):
    return audit_membership(case, *play_runs(case, RUNS, folder), tail).findings


def case_named(name):
    if not name.startswith("q = "):
        return CASES[name]
    values = CASES["DP-ZO"].config.model_dump()
    values["privacy"]["expected_batch_size"] = 1000 * float(name.removeprefix("q = "))
    return dataclasses.replace(CASES["DP-ZO"], config=RunConfig.model_validate(values))


PARTS = {
    "replay": lambda case, folder: audit_replay(case, folder).findings,
    "residuals": lambda case, folder: audit_residuals(case, folder, num_values=6000).findings,
    "membership": membership_findings,
}


@pytest.fixture
def folder():
    """A folder in memory: a release log is fsynced twice a step."""
    with scratch_folder() as path:
        yield path


def noise_times(factor):
    def put_in(patch):
        true_draw = ExactNoise.draw
        patch.setattr(ExactNoise, "draw", lambda self, plan: (true_draw(self, plan) * factor).astype(np.int64))

    return put_in


def clip_at_twice_the_norm(patch):
    true_sum = trainers.run.step.clipped_sum

    def twice(values_BK, plan):
        return 2 * true_sum(values_BK / 2, plan)

    patch.setattr(trainers.run.step, "clipped_sum", twice)


def no_clip(patch):
    def bare(values_BK, plan):
        finite_BK = np.clip(np.nan_to_num(values_BK), -1000.0, 1000.0)
        return np.rint(finite_BK / plan.grid_unit).astype(np.int64).sum(axis=0)

    patch.setattr(trainers.run.step, "clipped_sum", bare)


def clip_of_each_coordinate(patch):
    def clip(values_BK, plan):
        finite = np.nan_to_num(values_BK, nan=0.0, posinf=0.0, neginf=0.0)
        return (np.clip(finite, -plan.clip_norm, plan.clip_norm) / plan.grid_unit).astype(np.int64)

    patch.setattr(trainers.mechanism.clipping, "clip_to_grid", clip)


def one_clip_for_the_batch(patch):
    true_clip = trainers.mechanism.clipping.clip_to_grid
    patch.setattr(
        trainers.mechanism.clipping,
        "clip_to_grid",
        lambda values_BK, plan: true_clip(values_BK.sum(axis=0, keepdims=True), plan),
    )


def a_large_number_for_infinity(patch):
    true_clip = trainers.mechanism.clipping.clip_to_grid

    def careless(values_BK, plan):
        return true_clip(values_BK, plan) + 2 * GRID_UNITS_PER_CLIP * np.isinf(values_BK)

    patch.setattr(trainers.mechanism.clipping, "clip_to_grid", careless)


def rounding_away_from_zero(patch):
    true_clip = trainers.mechanism.clipping.clip_to_grid

    def rounded_up(values_BK, plan):
        units_BK = true_clip(values_BK, plan)
        return units_BK + np.sign(units_BK)

    patch.setattr(trainers.mechanism.clipping, "clip_to_grid", rounded_up)


def twice_the_sampling_prob(patch):
    class Eager(PoissonSampler):
        def __init__(self, plan, *rest):
            super().__init__(dataclasses.replace(plan, sampling_prob=min(1.0, 2 * plan.sampling_prob)), *rest)

    patch.setattr(trainers.run.zeroth_order, "PoissonSampler", Eager)


def batches_of_one_size(patch):
    class Shuffled(PoissonSampler):
        def draw(self):
            return np.random.default_rng().choice(self._num_units, max(1, self._num_units // 100), replace=False)

    patch.setattr(trainers.run.zeroth_order, "PoissonSampler", Shuffled)


def noise_from_the_direction_key(patch):
    class PublicNoise:
        def __init__(self):
            self._generator = np.random.default_rng(20_000)

        def draw(self, plan):
            return (self._generator.standard_normal(plan.num_directions) * plan.noise_scale_grid_units).astype(np.int64)

    patch.setattr(trainers.run.zeroth_order, "ExactNoise", PublicNoise)


def noise_from_key_and_step(patch):
    """A generator seeded anew at each step: no number repeats within a run."""
    true_take = trainers.run.zeroth_order.take_step

    def take(context, step):
        class OfStep:
            def draw(self, plan):
                generator = np.random.default_rng((context.method._config.seed, step))
                return (generator.standard_normal(plan.num_directions) * plan.noise_scale_grid_units).astype(np.int64)

        true_take(dataclasses.replace(context, noise=OfStep()), step)

    patch.setattr(trainers.run.zeroth_order, "take_step", take)


def no_noise_on_an_empty_batch(patch):
    true_draw, true_sum = ExactNoise.draw, trainers.run.step.clipped_sum
    sizes = []

    def remember(values_BK, plan):
        sizes.append(len(values_BK))
        return true_sum(values_BK, plan)

    patch.setattr(trainers.run.step, "clipped_sum", remember)
    patch.setattr(ExactNoise, "draw", lambda self, plan: true_draw(self, plan) * (sizes[-1] > 0))


def half_the_noise_on_the_measure(patch):
    true_draw = ExactNoise.draw

    def draw(self, plan):
        noise = true_draw(self, plan)
        noise[plan.num_directions :] //= 2
        return noise

    patch.setattr(ExactNoise, "draw", draw)


def a_measure_beside_a_whole_vector(patch):
    """Andrew's bit beside the planned noise, without its share of the bound: a row of norm √(1 + 1/64) C."""
    patch.setattr(MechanismPlan, "vector_units", GRID_UNITS_PER_CLIP)


def a_measure_of_each_example_of_the_batch(patch):
    """The largest norm of the batch in place of each row's own: one example moves the measures of all others."""
    true_norms = trainers.mechanism.clipping._norm_units

    def of_the_largest(finite_BK, clip_norm):
        return np.full((len(finite_BK), 1), true_norms(finite_BK, clip_norm).min(initial=NORM_UNITS))

    patch.setattr(trainers.mechanism.clipping, "_norm_units", of_the_largest)


FOUND = [
    (half_the_noise_on_the_measure, "DP-ZO, auto clip", "residuals", "scale × 0."),
    (a_measure_beside_a_whole_vector, "DP-ZO, auto clip", "replay", "moved the sum by 1.0077"),
    (a_measure_of_each_example_of_the_batch, "DP-ZO, auto clip", "replay", "moved the sum by"),
    (noise_times(0.8), "DP-ZO", "residuals", "scale × 0."),
    (noise_times(0.9), "DP-AggZO, K=2", "residuals", "scale × 0."),
    (noise_times(0.5), "DP-ZO", "membership", "recognised too well"),
    (clip_at_twice_the_norm, "DP-ZO", "replay", "C, not at most 1 C"),
    (clip_at_twice_the_norm, "DP-AggZO, K=2", "membership", "recognised too well"),
    (no_clip, "DP-AggZO, K=2", "replay", "moved the sum by"),
    (clip_of_each_coordinate, "DP-AggZO, K=2", "replay", "moved the sum by"),
    (one_clip_for_the_batch, "DP-ZO", "replay", "clipping is not per example"),
    (a_large_number_for_infinity, "DP-ZO", "replay", "a canary (infinite difference) among 0 others"),
    (rounding_away_from_zero, "DP-AggZO, K=2", "replay", "moved the sum by 1.00000000"),
    (twice_the_sampling_prob, "DP-ZO", "membership", "recognised too well"),
    (twice_the_sampling_prob, "q = 0.01", "residuals", "batches do not follow q"),
    (twice_the_sampling_prob, "q = 0.001", "residuals", "batches do not follow q"),
    (batches_of_one_size, "q = 0.01", "residuals", "empty batches instead of"),
    (noise_from_the_direction_key, "DP-ZO", "residuals", "have the same noise"),
    (noise_from_key_and_step, "DP-AggZO, K=2", "residuals", "have the same noise"),
    (no_noise_on_an_empty_batch, "DP-ZO", "residuals", "empty batches get other noise: scale × 0.000"),
]


@pytest.mark.parametrize("name", CASES)
def test_the_true_code_moves_by_the_clip_and_no_more(name, folder):
    found = audit_replay(CASES[name], folder)
    assert found.findings == []
    assert found.largest_shift == pytest.approx(1.0, abs=1e-6)
    assert found.comparisons > 500


@pytest.mark.parametrize(
    "law", [{"support": "layer", "block_shares": "learned"}, {"direction": "low-rank", "direction_rank": 2}], ids=str
)
def test_no_law_of_directions_moves_more(law, folder):
    found = audit_replay(CASES["DP-AggZO, K=2"].with_method(**law), folder)
    assert found.findings == []
    assert found.largest_shift == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_true_noise_is_of_its_law(name, folder):
    found = audit_residuals(CASES[name], folder)
    assert found.findings == []
    assert found.values >= 20_000
    assert found.empty_batches > 1000
    assert found.sampling_ratio == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("q", [0.01, 0.001])
def test_true_batches_at_a_small_q(q, folder):
    assert PARTS["residuals"](case_named(f"q = {q}"), folder) == []


@pytest.mark.parametrize("name", CASES)
def test_the_true_code_hides_the_canary(name, folder):
    assert membership_findings(CASES[name], folder, tail=1e-6) == []


@pytest.mark.parametrize(("mistake", "name", "part", "words"), FOUND)
def test_a_mistake_is_found(mistake, name, part, words, folder, monkeypatch):
    mistake(monkeypatch)
    findings = PARTS[part](case_named(name), folder)
    assert any(words in finding for finding in findings), findings


def test_runs_are_scored_by_the_claimed_law(folder):
    """Scores of real runs and of simulated ones are of one distribution."""
    case = CASES["DP-AggZO, K=2"]
    generator = np.random.default_rng(0)
    for found, present in zip(play_runs(case, RUNS, folder), (False, True), strict=True):
        expected = case.law.simulate(generator, 20_000, case.plan.num_steps, present=present)
        assert stats.ks_2samp(found, expected).pvalue > 1e-6
