"""Scores, users, caps and first-order methods: the audit passes the true code and finds each mistake that is put in.

On the true code a check raises a false alarm less than once in 10^5 runs.
"""

import dataclasses

import numpy as np
import pytest

import trainers.first_order.noise
import trainers.first_order.run
import trainers.run.scoring
import trainers.run.step
import trainers.run.zeroth_order
from orchestrator.budget.accounted_run import LedgerTokens
from orchestrator.checks.audit.cases import catalogue_cases, catalogue_gradients
from orchestrator.checks.audit.extras import audit_caps, audit_scores, audit_users
from orchestrator.checks.audit.gradients import audit_gradients
from orchestrator.checks.audit.runner import scratch_folder
from trainers.first_order.noise import GaussianNoise
from trainers.mechanism.noise import ExactNoise
from trainers.mechanism.sampling import PoissonSampler
from trainers.mechanism.units import units_of
from trainers.run.base_run import BaseRun

CASES = {case.label: case for case in catalogue_cases()}
RARE = 0.01


def scores(folder, name="DP-ZO"):
    return audit_scores(CASES[name], folder).findings


def users(folder, name="DP-AggZO, K=2"):
    return audit_users(CASES[name], folder).findings


def caps(folder, name="DP-ZO"):
    return audit_caps(CASES[name], folder).findings


def gradients(folder, name="dp-sgd"):
    return audit_gradients(name, RARE, 1.0, folder).findings


@pytest.fixture
def folder():
    with scratch_folder() as path:
        yield path


@pytest.mark.parametrize("name", ["DP-ZO", "DP-AggZO, K=2", "DP-ZO, laplace"])
@pytest.mark.parametrize("check", [scores, users, caps])
def test_the_true_code_passes(check, name, folder):
    assert check(folder, name) == []


@pytest.mark.parametrize("name", [name for name, *_ in catalogue_gradients()])
def test_true_gradients_pass(name, folder):
    assert gradients(folder, name) == []


def noise_at_four_fifths(patch):
    true_draw, true_add = ExactNoise.draw, GaussianNoise.add
    patch.setattr(ExactNoise, "draw", lambda self, plan: (true_draw(self, plan) * 0.8).astype(np.int64))
    patch.setattr(GaussianNoise, "add", lambda self, total, std: true_add(self, total, 0.8 * std))


def scores_without_a_clip(patch):
    true_contributions = trainers.run.scoring._contributions

    def bare(config, evaluator, examples):
        if config.metric == "loss":
            return np.clip(np.nan_to_num(evaluator.losses(examples)), -1e3, 1e3).reshape(-1, 1)
        return true_contributions(config, evaluator, examples)

    patch.setattr(trainers.run.scoring, "_contributions", bare)
    patch.setattr(
        trainers.run.scoring, "clipped_sum", lambda values, plan: (values.sum(0) / plan.grid_unit).astype(np.int64)
    )


def scores_of_two_cells_an_example(patch):
    true_cells = trainers.run.scoring.confusion_cells
    patch.setattr(
        trainers.run.scoring, "confusion_cells", lambda *of: true_cells(*of) + np.roll(true_cells(*of), 1, axis=1)
    )
    patch.setattr(
        trainers.run.scoring, "clipped_sum", lambda values, plan: (values.sum(0) / plan.grid_unit).astype(np.int64)
    )


def users_not_divided(patch):
    true_means = trainers.run.step.unit_means
    patch.setattr(
        trainers.run.step, "unit_means", lambda values, sizes: true_means(values, sizes) * np.reshape(sizes, (-1, 1))
    )


def users_clipped_per_example(patch):
    patch.setattr(trainers.run.step, "unit_means", lambda values, sizes: values)


def users_not_grouped(patch):
    patch.setattr(trainers.run.zeroth_order, "units_of", lambda examples, users: units_of(examples, None))


def a_step_beyond_the_cap(patch):
    patch.setattr(LedgerTokens, "draw", lambda self, step: None)


def a_step_beyond_the_plan(patch):
    true_points = BaseRun.score_points
    patch.setattr(BaseRun, "score_points", lambda self: [point + 1 for point in true_points(self)])


def two_tokens_for_one_release(patch):
    true_draw = LedgerTokens.draw
    patch.setattr(LedgerTokens, "draw", lambda self, step: (true_draw(self, step), true_draw(self, step))[0])


def gradients_of_twice_the_norm(patch):
    true_add = trainers.first_order.run.add_clipped
    patch.setattr(
        trainers.first_order.run, "add_clipped", lambda total, passes, clip: true_add(total, passes, 2 * clip)
    )


def twice_the_sampling_prob(patch):
    class Eager(PoissonSampler):
        def __init__(self, plan, *rest):
            super().__init__(dataclasses.replace(plan, sampling_prob=2 * plan.sampling_prob), *rest)

    patch.setattr(trainers.first_order.run, "PoissonSampler", Eager)


def noise_from_a_fixed_key(patch):
    patch.setattr(trainers.first_order.noise.os, "urandom", lambda count: bytes(count))


MISTAKES = [
    (noise_at_four_fifths, scores, "scale × 0."),
    (scores_without_a_clip, scores, "loss: a canary with the loss 1000000.0 moved the sum by"),
    (scores_of_two_cells_an_example, scores, "f1: a canary with the loss nan moved the sum by 1.41"),
    (users_not_divided, users, "a user does not count as the mean of its examples"),
    (users_clipped_per_example, users, "a user (huge) moved the sum by 3.99"),
    (users_not_grouped, users, "a user does not count as the mean of its examples"),
    (a_step_beyond_the_cap, caps, "8 steps with 5 tokens: 8 releases"),
    (a_step_beyond_the_plan, caps, "8 steps with 11 tokens: 9 releases"),
    (two_tokens_for_one_release, caps, "8 steps with 11 tokens: 5 releases, 11 tokens drawn"),
    (noise_at_four_fifths, gradients, "scale × 0."),
    (gradients_of_twice_the_norm, gradients, "one example moved the sum by 2"),
    (twice_the_sampling_prob, gradients, "batches do not follow q"),
    (noise_from_a_fixed_key, gradients, "two runs have the same noise"),
]


@pytest.mark.parametrize(("mistake", "check", "words"), MISTAKES)
def test_a_mistake_is_found(mistake, check, words, folder, monkeypatch):
    mistake(monkeypatch)
    findings = check(folder)
    assert any(words in finding for finding in findings), findings
