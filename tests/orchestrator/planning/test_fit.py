"""A sweep whose trials fit into a number of steps (`search.caps`)."""

import json

import pytest

from orchestrator.config.errors import ConfigError
from orchestrator.config.loading import load_sweep, resolved_json
from orchestrator.planning.plan import make_plan

FIT = ["search.num_trials=fit", "search.early_stopping=asha", "method.num_steps=4", "score.times=2"]


@pytest.fixture
def plan(settings):
    return lambda *overrides: make_plan(load_sweep(settings, overrides))


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize(
    "noise", [["privacy.noise_multiplier=4"], ["privacy.noise_multiplier=null", "privacy.epsilon=2"]]
)
def test_epsilon_is_that_of_the_same_caps_by_hand(plan, private, noise):
    scores = ["score.on=private", "score.num_examples=100", "score.noise_multiplier=8"] if private else []
    fit = plan(*FIT, *noise, *scores, "search.caps={steps: 22, scores: 13}" if private else "search.caps={steps: 22}")
    spare = ["privacy.spare_steps=2", *(["privacy.spare_scores=3"] if private else [])]
    hand = plan("search.num_trials=5", "method.num_steps=4", "score.times=2", *noise, *scores, *spare)
    assert fit.rule == hand.rule
    assert fit.token_caps() == hand.token_caps()
    assert fit.token_caps()["train_step"].count == 22
    assert (fit.epsilon, fit.noise_multiplier, fit.num_trials) == (hand.epsilon, hand.noise_multiplier, 5)


def test_scores_are_enough_for_every_rung_of_the_steps(plan):
    scores = ["score.on=private", "score.num_examples=100", "search.concurrent_trials=2"]
    assert plan(*FIT, *scores, "search.caps={steps: 22}").token_caps()["evaluation"].count == 11 + 2


def test_a_plan_says_how_many_full_trials_fit(plan):
    made = plan(*FIT, "search.caps={steps: 22}")
    assert made.steps_text == "22 in all: 5 trials of 4, more where trials stop early"
    assert made.search_text.startswith("as many trials as fit into 22 steps, spread evenly")
    tpe = plan(*FIT, "search.caps={steps: 22}", "search.sampler=tpe")
    assert "22 steps, 3 drawn independently, the others chosen by TPE from earlier scores" in tpe.search_text
    assert made.estimate.forward_passes == 22 * made.config.method.num_probes
    bounded = plan(*FIT, "search.caps={steps: 22}", "search.num_trials=9")
    assert bounded.search_text.startswith("at most 9 trials within 22 steps")
    assert bounded.rule == made.rule


def test_a_resolved_configuration_says_fit(settings):
    config = load_sweep(settings, [*FIT, "search.caps={steps: 22}"])
    assert json.loads(resolved_json(config))["search"]["num_trials"] == "fit"
    assert load_sweep(json.loads(resolved_json(config))) == config


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ([], "search.num_trials: 'fit' needs search.caps, such as {steps: 1500}"),
        (["search.caps={steps: 3}"], "search.caps: not one trial of 4 steps and 2 scores fits: raise them"),
        (["search.caps={steps: 9, scores: 9}"], "search.caps.scores: scores on public rows cost nothing"),
        (["search.caps={steps: 9}", "privacy.spare_steps=1"], "search.caps: hold spare steps and scores too"),
        (
            ["search.caps={steps: 9}", "search.release=best", "search.sampler=random", "search.early_stopping=none"],
            "search.caps: release: best counts trials, not tokens that they share: give num_trials, and leave this out",
        ),
    ],
)
def test_caps_that_no_trial_fits_are_refused(settings, overrides, line):
    with pytest.raises(ConfigError) as refusal:
        load_sweep(settings, [*FIT, *overrides])
    assert any(found.startswith(line) for found in refusal.value.lines), refusal.value.lines
