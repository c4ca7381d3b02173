import dataclasses
import math
import random

import dp_accounting as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.planning.planned_sweep import planned_sweep
from orchestrator.privacy.errors import BudgetExceeded
from search_spaces.trial_config import apply
from trainers.config.mechanism import mechanism_plan, score_plan
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, WORD_RANGE

PRIVATE_SCORES = ("score.on=private", "score.num_examples=100", "score.noise_multiplier=20")
EVERYONE = ("privacy.expected_batch_size=40", "privacy.noise_multiplier=null")  # q = 1: calibrated in no time
MEZO = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")


@pytest.fixture
def sweep(settings):
    """Load the small sweep with overrides."""
    return lambda *overrides: load_sweep(settings, overrides)


def test_the_epsilon_of_a_sweep_is_that_of_all_its_steps_together(sweep):
    rate = ("data.num_examples=10000", "privacy.expected_batch_size=416", "privacy.noise_multiplier=2.767")
    plan = make_plan(sweep(*rate, "search.num_trials=4", "method.num_steps=250"))
    assert plan.caps.caps().train_step.num_steps == 1000
    assert plan.epsilon == pytest.approx(2.00, abs=5e-3)  # at q .0416, T 1,000, σ 2.767
    assert plan.trial_epsilon < 0.6 * plan.epsilon


@pytest.mark.parametrize(
    ("overrides", "share"),
    [((), 0.01), (("model.dtype=bfloat16",), 0.0), (("privacy.rounding_share=0.05",), 0.05)],
)
def test_rounding_that_neighbours_change_is_charged_as_less_noise(sweep, overrides, share):
    """And a token of it is none of a run that did not pay for it."""
    changed = sweep("privacy.noise_multiplier=2", "privacy.rounding_share=null", *overrides)
    plan, less = make_plan(changed), make_plan(sweep(f"privacy.noise_multiplier={2 / (1 + share)!r}"))
    assert plan.epsilon == pytest.approx(less.epsilon, rel=1e-6)
    assert plan.noise_multiplier == 2.0
    laws = [
        of.caps.caps().tokens()["train_step"].parameters
        for of in (plan, make_plan(sweep("privacy.noise_multiplier=2")))
    ]
    assert (laws[0] == laws[1]) == (share == 0)


def test_spare_steps_and_private_scores_of_all_trials_are_in_the_caps(sweep):
    rate = ("data.num_examples=10000", "privacy.expected_batch_size=160", "privacy.noise_multiplier=10")
    size = ("search.num_trials=20", "method.num_steps=4500", "privacy.spare_steps=10000", "score.times=3")
    plan = make_plan(sweep(*rate, *size, *PRIVATE_SCORES))
    assert {kind: cap.count for kind, cap in plan.caps.caps().tokens().items()} == {
        "train_step": 100_000,
        "evaluation": 60,
    }
    assert plan.epsilon == pytest.approx(2.622, abs=1e-3)  # 100,000 steps (σ 10, q .016) and 60 scores (σ 20)


def test_a_run_is_scored_no_more_often_than_it_steps(sweep):
    caps = planned_sweep(sweep(*PRIVATE_SCORES, "score.times=9", "method.num_steps=4"), 4.0, num_trials=1)
    assert caps.evaluations_per_trial == 4
    assert planned_sweep(sweep("score.times=9"), 4.0, num_trials=1).evaluations_per_trial == 0


def test_calibrated_noise_fits_the_budget_and_wastes_little(sweep):
    plan = make_plan(sweep(*EVERYONE, "privacy.epsilon=1"))
    assert 0.995 < plan.epsilon <= 1
    assert plan.noise_multiplier == plan.caps.noise_multiplier
    assert plan.caps.caps().train_step.num_steps == 12


def test_more_trials_need_more_noise_for_the_same_promise(sweep):
    few, many = (make_plan(sweep(*EVERYONE, "privacy.epsilon=1", f"search.num_trials={n}")) for n in (2, 8))
    assert many.noise_multiplier == pytest.approx(2 * few.noise_multiplier, rel=3e-3)  # q = 1: as the root of steps


def test_given_noise_that_fits_is_kept(sweep):
    plan = make_plan(sweep("privacy.epsilon=8"))
    assert plan.noise_multiplier == 4.0
    assert plan.epsilon < 8


def test_a_budget_that_does_not_fit_is_refused_with_what_would(sweep):
    with pytest.raises(BudgetExceeded) as refusal:
        make_plan(sweep("privacy.epsilon=1", "search.num_trials=5", "method.num_steps=6"))
    assert str(refusal.value) == (
        "5 trials × 6 steps at noise multiplier 4 cost ε = 1.12 at δ = 1e-05, over the budget of 1. "
        "What fits: 4 trials × 6 steps, or 5 trials × 4 steps, or noise multiplier ≥ 4.38."
    )
    assert refusal.value.asked > refusal.value.left == 1
    for fits in ("search.num_trials=4", "method.num_steps=4", "privacy.noise_multiplier=4.38"):
        assert make_plan(sweep("privacy.epsilon=1", "search.num_trials=5", "method.num_steps=6", fits)).epsilon <= 1


def test_scores_that_cost_too_much_alone_are_refused(sweep):
    with pytest.raises(BudgetExceeded, match="noisy evaluations"):
        make_plan(sweep(*EVERYONE, *PRIVATE_SCORES, "score.noise_multiplier=0.5", "privacy.epsilon=1"))


def test_a_method_without_privacy_has_no_caps_and_no_finite_epsilon(sweep):
    plan = make_plan(sweep(*MEZO))
    assert (plan.caps, plan.total, plan.noise_multiplier) == (None, None, None)
    assert plan.epsilon == plan.trial_epsilon == plan.epsilon_after(plan.config, 1) == math.inf
    assert plan.num_trials == 3


def test_one_run_is_one_trial(settings):
    config = load_run(settings)
    plan = make_plan(config)
    assert (plan.num_trials, plan.caps.num_trials) == (1, 1)
    assert plan.caps.caps().train_step.num_steps == 4
    assert plan.epsilon == plan.trial_epsilon


def test_the_epsilon_of_a_stopped_trial_grows_to_that_of_a_complete_one(sweep):
    plan = make_plan(sweep())
    grown = [plan.epsilon_after(plan.trial({}), steps) for steps in range(5)]
    assert grown[0] == 0
    assert grown == sorted(grown)
    assert grown[-1] == plan.trial_epsilon < plan.epsilon


def test_the_work_of_a_plan_is_that_of_all_trials(sweep):
    plan = make_plan(sweep())
    assert plan.estimate.forward_passes == 3 * 4 * 2 * 2


numbers = st.tuples(
    st.integers(1, 10**9),  # examples
    st.floats(1e-6, 1.0, exclude_min=True),  # share of them in a batch
    st.floats(1e-3, 1e4),  # σ
    st.integers(0, 2**32),
)


@given(numbers)
def test_the_mechanism_that_a_lane_draws_is_the_planned_one_bit_for_bit(project, drawn):
    num_examples, share, noise_multiplier, seed = drawn
    overrides = [
        "privacy.epsilon=null",
        f"data.num_examples={num_examples}",
        f"privacy.expected_batch_size={share * num_examples!r}",
        f"privacy.noise_multiplier={noise_multiplier!r}",
    ]
    config = load_sweep(project, overrides)
    caps = planned_sweep(config, noise_multiplier, num_trials=3)
    trial = apply(config, config.search.space.sample(random.Random(seed)))
    mechanism = mechanism_plan(trial, caps.noise_multiplier)  # as a lane and a single run make it
    assert mechanism.noise_multiplier == caps.noise_multiplier >= noise_multiplier
    assert mechanism.sampling_prob == caps.sampling_prob >= min(1.0, config.sampling_prob)
    assert mechanism.num_steps == caps.steps_per_trial
    (steps,) = caps.caps().event().events
    noise = dp.GaussianDpEvent(mechanism.noise_scale_grid_units / GRID_UNITS_PER_CLIP)
    step = dp.PoissonSampledDpEvent(mechanism.sampling_threshold / WORD_RANGE, noise)
    assert steps == dp.SelfComposedDpEvent(step, 3 * mechanism.num_steps)


def test_a_private_score_is_as_noisy_as_its_cap_says(sweep):
    config = sweep(*PRIVATE_SCORES, "score.noise_multiplier=7.3")
    cap = planned_sweep(config, 4.0, num_trials=1).caps().evaluation
    mechanism = score_plan(config)
    assert mechanism.noise_multiplier == cap.noise_multiplier >= 7.3
    assert (mechanism.sampling_prob, mechanism.clip_norm) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["search.sampler=tpe"], "3 trials, drawn independently, over"),
        (
            ["search.num_trials=10", "search.sampler=tpe"],
            "10 trials, 3 drawn independently, 7 chosen by TPE from earlier",
        ),
        (
            ["search.num_trials=10", "search.startup=5", "search.concurrent_trials=2"],
            "10 trials, 6 drawn independently, 4 chosen",
        ),
        (["search.num_trials=10", "search.sampler=auto"], "10 trials, 3 drawn independently, 7 chosen by a Gaussian"),
        (["search.num_trials=6", "search.sampler=auto"], "6 trials, spread evenly over the space, whatever their"),
        (["search.num_trials=10", "search.sampler=random"], "10 trials, drawn independently, over"),
    ],
)
def test_the_statement_tells_how_many_trials_were_chosen_from_scores(sweep, overrides, words):
    assert make_plan(sweep(*overrides)).search_text.startswith(words)


def test_a_plan_is_frozen(sweep):
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_plan(sweep()).caps = None
