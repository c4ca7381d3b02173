"""The statement says one number, the right one, and says it plainly."""

from __future__ import annotations

import json
import math
import re

import pytest
from pydantic import ValidationError

from orchestrator.privacy.composition import PlannedSweep
from orchestrator.privacy.statement import PrivacyStatement, state, state_without_privacy

PLAN = PlannedSweep(
    num_trials=12,
    steps_per_trial=300,
    sampling_prob=0.05,
    noise_multiplier=3.0,
    spare_steps=30,
    evaluations_per_trial=5,
    evaluation_noise_multiplier=20.0,
)


@pytest.fixture(scope="module")
def private():
    return state(
        PLAN,
        1e-5,
        tokens_drawn={"train_step": 1_234},
        public_data=("the validation file",),
        also_not_covered=("A sentence of the caller.",),
        versions={"dpzo": "0.1.0"},
    )


@pytest.fixture(scope="module")
def bare():
    return state_without_privacy(num_steps=3_600)


def test_a_first_order_run_claims_no_exact_integers():
    first = state(PLAN, 1e-5, tokens_drawn={}, order="first")
    text = " ".join(first.text().split())
    assert "each step: loss gradients, clipped to norm C for each example and summed" in text
    assert "Rounding: the gradients of this baseline, their sum and its noise are floating-point numbers" in text
    assert "exact integer sampler" not in text
    assert "Sums and noise are exact integers" not in text
    assert first.epsilon_total == PLAN.caps().epsilon(1e-5)
    bare = state_without_privacy(num_steps=1, order="first")
    assert bare.mechanism.startswith("none: loss gradients of private examples")


def test_the_number_is_the_cost_of_the_caps(private):
    assert private.epsilon_total == private.epsilon == PLAN.caps().epsilon(1e-5)
    assert private.epsilon_per_trial == PLAN.trial_caps().epsilon(1e-5) < private.epsilon
    assert private.caps == {"train_step": 12 * 300 + 30, "evaluation": 60}
    assert private.tokens_drawn == {"train_step": 1_234, "evaluation": 0}


@pytest.mark.parametrize("drawn", [{}, {"train_step": 1}, {"train_step": 3_630, "evaluation": 60}])
def test_the_number_does_not_move_with_what_was_drawn(private, drawn):
    assert state(PLAN, 1e-5, tokens_drawn=drawn).epsilon_total == private.epsilon_total


@pytest.mark.parametrize("drawn", [{"train_step": 3_631}, {"confusion": 1}])
def test_more_draws_than_the_caps_hold_are_refused(drawn):
    with pytest.raises(ValueError, match="this plan is not theirs"):
        state(PLAN, 1e-5, tokens_drawn=drawn)


@pytest.mark.parametrize("width", [80, 88, 100])
def test_the_text_fits_and_calls_exactly_one_number_the_total(private, bare, width):
    for statement in (private, bare):
        text = statement.text(width)
        assert max(map(len, text.splitlines())) <= width
        assert len(re.findall(r"(?i)\btotal", text)) == 1
        assert not re.search(r"[ \t]$", text, re.MULTILINE)
    shown = re.search(r"total ε = ([\d.]+) at δ = 1e-05", private.text(width))
    assert shown
    assert private.epsilon <= float(shown.group(1)) <= private.epsilon * 1.001


@pytest.mark.parametrize(
    "words",
    [
        "one example, add-or-remove-one",
        "noise multiplier 3",
        "standard deviation 20",
        "independently with probability 0.05, by operating-system entropy",
        "3,630 training steps, 60 noisy evaluations on private rows",
        "1,234 training steps, 0 noisy evaluations on private rows (for information: the ε is that of the caps)",
        "release: all.",
        "dp-accounting, PLD, version 0.",
        "grid 0.0001",
        "the validation file",
        "dpzo 0.1.0",
        "- Other runs on the same private data",
        "- The number of examples, which is declared public",
        "- What the operator sees",
        "- A sentence of the caller.",
    ],
)
def test_the_text_tells_everything_a_reader_needs(private, words):
    assert words in " ".join(private.text().split())


def test_a_run_without_privacy_says_so_first_and_in_json(bare):
    assert bare.epsilon == math.inf
    assert bare.text().splitlines()[2].startswith("This run is NOT private.")
    assert "total ε = ∞" in bare.text()
    assert "noise multiplier" not in bare.text()
    read = json.loads(bare.model_dump_json(), parse_constant=pytest.fail)  # Infinity and NaN are not JSON
    assert read["private"] is False
    assert read["epsilon_total"] is None


def test_json_goes_there_and_back(private, bare):
    for statement in (private, bare):
        again = PrivacyStatement.model_validate_json(statement.model_dump_json())
        assert again == statement
        assert again.text() == statement.text()


@pytest.mark.parametrize(
    "changes",
    [
        {"private": False},
        {"epsilon_total": None},
        {"epsilon_total": math.inf},
        {"epsilon_total": math.nan},
        {"epsilon_total": -1.0},
        {"delta": None},
        {"accountant": None},
        {"adjacency": "add-one"},
        {"epsilon_spent": 1.0},
    ],
    ids=str,
)
def test_a_statement_cannot_contradict_itself(private, changes):
    with pytest.raises(ValidationError):
        PrivacyStatement.model_validate(private.model_dump() | changes)


def test_a_statement_cannot_be_edited(private):
    with pytest.raises(ValidationError, match="frozen"):
        private.epsilon_total = 0.1


def test_replace_one_is_stated_and_costs_more(private):
    other = state(PLAN, 1e-5, tokens_drawn={}, adjacency="replace-one")
    assert other.epsilon > 1.2 * private.epsilon
    assert "(replace-one)" in other.text()


def test_without_private_evaluations_none_are_mentioned():
    plan = PlannedSweep(num_trials=1, steps_per_trial=10, sampling_prob=0.05, noise_multiplier=3.0)
    text = state(plan, 1e-5, tokens_drawn={}).text()
    assert "evaluation" not in text
    assert "Public data   none was declared" in text
