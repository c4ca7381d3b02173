"""The statement says one number, the right one, and says it plainly."""

from __future__ import annotations

import json
import math
import re

import pytest
from pydantic import ValidationError

from orchestrator.privacy.ledger.budget import BudgetTerms, Cost
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.rules.renyi_filter import RenyiFilter
from orchestrator.privacy.rules.repetitions import Repetitions
from orchestrator.privacy.statement.statement import LossesFrom, PrivacyStatement
from tests.support.statements import DIGEST, stated

PLAN = PlannedSweep(
    num_trials=12,
    steps_per_trial=300,
    sampling_prob=0.05,
    noise_multiplier=3.0,
    spare_steps=30,
    evaluations_per_trial=5,
    evaluation_noise_multiplier=20.0,
)
CAPS = PLAN.caps()


@pytest.fixture(scope="module")
def private():
    return stated(
        CAPS,
        tokens_drawn={"train_step": 1_234},
        epsilon_per_trial=PLAN.trial_caps().epsilon(1e-5),
        epsilon_by_other_rules={"best, geometric": 1.5},
        public_data=("the validation file",),
        also_not_covered=("A sentence of the caller.",),
        versions={"dpzo": "0.1.0"},
    )


@pytest.fixture(scope="module")
def bare():
    return stated(None, num_steps=3_600)


def test_a_first_order_run_claims_no_exact_integers():
    first = stated(CAPS, order="first")
    text = " ".join(first.text().split())
    assert "Each step computes the loss gradients for each example of the batch, clips this vector to norm C" in text
    assert "Rounding. The gradients of this baseline, their sum and its noise are floating-point numbers" in text
    assert "exact integer sampler" not in text
    assert "Sums and noise are exact integers" not in text
    assert first.epsilon_total == PLAN.caps().epsilon(1e-5)
    bare = stated(None, num_steps=1, order="first")
    assert bare.mechanism.startswith("none: loss gradients of private examples")


def test_the_number_is_the_cost_of_the_caps(private):
    assert private.epsilon_total == private.epsilon == private.epsilon_here == CAPS.epsilon(1e-5)
    assert private.epsilon_per_trial == PLAN.trial_caps().epsilon(1e-5) < private.epsilon
    assert private.caps == {"train_step": 12 * 300 + 30, "evaluation": 60}
    assert private.tokens_drawn == {"train_step": 1_234, "evaluation": 0}


@pytest.mark.parametrize("drawn", [{}, {"train_step": 1}, {"train_step": 3_630, "evaluation": 60}])
def test_the_number_does_not_move_with_what_was_drawn(private, drawn):
    assert stated(CAPS, tokens_drawn=drawn).epsilon_total == private.epsilon_total


@pytest.mark.parametrize("drawn", [{"train_step": 3_631}, {"confusion": 1}])
def test_more_draws_than_the_caps_hold_are_refused(drawn):
    with pytest.raises(ValueError, match="the rule is not the one that was reserved"):
        stated(CAPS, tokens_drawn=drawn)


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
        "independently with probability 0.05, by the operating system's entropy",
        "3,630 training steps, 60 noisy scores on private rows",
        "1,234 training steps, 0 noisy scores on private rows (for information: the ε counts the caps)",
        "over all trials together; everything may be published",
        "never of what was really drawn",
        "under another rule, this run's ε would be: best, geometric: 1.5",
        "'reviews', without a limit: it only counts",
        "nothing else was released about this data",
        f"SHA-256 {DIGEST}",
        "dp-accounting, PLD, version 0.",
        "grid 0.0001",
        "the validation file",
        "dpzo 0.1.0",
        "- Other releases about the same people",
        "- The number of examples. It is declared public",
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
        {"epsilon_total": math.inf},
        {"epsilon_total": math.nan},
        {"epsilon_total": -1.0},
        {"delta_here": None},
        {"epsilon_here": None},
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
    other = stated(CAPS, adjacency="replace-one")
    assert other.epsilon > 1.2 * private.epsilon
    assert "(replace-one)" in other.text()


def test_without_private_evaluations_none_are_mentioned():
    plan = PlannedSweep(num_trials=1, steps_per_trial=10, sampling_prob=0.05, noise_multiplier=3.0)
    text = stated(plan.caps()).text()
    assert "scores on private rows" not in text
    assert "Public data   none was declared" in text


def test_the_total_is_that_of_the_data_set(private):
    later = stated(CAPS, others=(Cost(1.5, 2e-5), Cost(0.25, 0.0)))
    assert later.epsilon_total == pytest.approx(private.epsilon + 1.75)
    assert (later.delta_total, later.epsilon_here) == (pytest.approx(3e-5), private.epsilon)
    assert "the rest is the cost of 2 other runs on this data" in " ".join(later.text().split())
    assert len(re.findall(r"(?i)\btotal", later.text())) == 1


def test_beside_something_without_privacy_no_finite_total_is_claimed():
    later = stated(CAPS, others=(Cost(math.inf, 0.0),))
    assert (later.private, later.epsilon_total, later.epsilon) == (True, None, math.inf)
    assert later.epsilon_here == CAPS.epsilon(1e-5)
    assert "total ε = ∞" in later.text()
    assert "is not private, so no finite ε covers both" in " ".join(later.text().split())


def test_a_renyi_filter_of_the_data_set_counts_its_limit():
    budget = BudgetTerms(
        name="notes", epsilon=8.0, delta=1e-5, num_units=1000, composition="rdp", order=8.0, renyi_limit=6.0
    )
    found = stated(CAPS, budget=budget, spent=None)
    assert (found.epsilon_total, found.delta_total) == (8.0, 1e-5)
    assert "the whole limit counts, used or not" in " ".join(found.text().split())


@pytest.mark.parametrize(("delta", "warned"), [(1e-3, True), (1e-2, True), (9e-4, False)])
def test_a_delta_that_one_published_record_would_satisfy_is_warned_of(delta, warned):
    found = stated(CAPS, delta, num_units=1000)
    assert any("publishes one random record" in warning for warning in found.warnings) == warned


def test_many_small_deltas_are_warned_of_where_their_sum_is_too_large():
    others = tuple(Cost(0.1, 1e-4) for _ in range(9))
    assert not stated(CAPS, 1e-4, num_units=999).warnings
    assert any(
        "publishes one random record" in found for found in stated(CAPS, 1e-4, others=others, num_units=1001).warnings
    )


TRIAL = PLAN.changed(num_trials=1, spare_steps=0).caps()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            BestOf(trial=TRIAL, number=Repetitions(mean=10.0)),
            ["the best trial alone", "stays with the operator", "kept secret", "300 training steps, 5 noisy scores"],
        ),
        (
            Menu(entries=(TRIAL,), num_trials=3),
            ["900 training steps of menu entry 0, 15 noisy scores on private rows of menu entry 0", "every trial"],
        ),
        (
            RenyiFilter(order=8.0, epsilon_limit=3.0, delta=1e-5),
            ["the noise that its trial declares", "at the rate that its trial declares", "units of 2^-40 Rényi ε"],
        ),
    ],
    ids=["best", "menu", "filter"],
)
def test_every_rule_is_stated(rule, words):
    found = stated(rule, tokens_drawn={"train_step": 10**9} if rule.is_secret else {})
    text = " ".join(found.text().split())
    assert found.epsilon == rule.epsilon(1e-5)
    assert [phrase for phrase in words if phrase not in text] == []


def test_laplace_noise_and_other_scores_are_named():
    plan = PLAN.changed(noise="laplace", evaluation_metric="confusion_matrix", evaluation_coordinates=4)
    text = " ".join(stated(plan.caps()).text().split())
    assert "Laplace noise of scale 3 × C (noise multiplier 3)" in text
    assert "(accuracy, F1, precision and recall come from one matrix) with Laplace noise of scale 20 (noise" in text


def test_what_computed_the_losses_is_named_and_older_statements_stay_readable():
    plain = stated(CAPS, losses=LossesFrom(evaluator="vllm", batch_invariant=False))
    assert "computed by vllm; the other examples of a batch may change how a loss is rounded" in " ".join(
        plain.text().split()
    )
    invariant = stated(CAPS, losses=LossesFrom(evaluator="vllm", batch_invariant=True))
    assert "the other examples of a batch do not change how a loss is rounded" in " ".join(invariant.text().split())
    old = json.loads(plain.model_dump_json())
    assert old.pop("losses") == {"evaluator": "vllm", "batch_invariant": False, "rounding_share": 0.0}
    read = PrivacyStatement.model_validate(old)
    assert read.losses is None
    assert "Losses " not in read.text()
    assert read.epsilon_total == plain.epsilon_total
