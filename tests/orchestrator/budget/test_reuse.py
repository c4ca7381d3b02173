"""A sweep that draws what an earlier one left over (`search.reuse`)."""

import pytest

from orchestrator.budget.forecast import budget_outlook
from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.reuse import with_reused_tokens
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.storage.results import write_config

EARLIER = ["name=earlier", "privacy.noise_multiplier=null", "privacy.epsilon=3", "privacy.expected_batch_size=7"]


@pytest.fixture
def earlier(settings):
    """An ended sweep of 12 steps that has drawn 5."""
    plan = make_plan(load_sweep(settings, [*EARLIER, "search.num_trials=3", "method.num_steps=4"]))
    storage = storage_of(plan.config)
    storage.folder.mkdir(parents=True, exist_ok=True)
    ledger = reserve_plan(plan, storage).ledger
    write_config(storage, with_absolute_paths(plan.config))
    for step in range(5):
        ledger.draw("earlier", "train_step", "trial-000", step)
    return plan, ledger


def more(settings, *overrides):
    return with_reused_tokens(
        load_sweep(settings, ["name=more", "search.reuse=earlier", "method.num_steps=3", *overrides])
    )


def test_what_is_left_over_is_drawn_for_nothing(settings, earlier):
    plan, ledger = earlier
    ledger.close("earlier")
    config = more(settings, "search.num_trials=fit")
    made = make_plan(config)
    assert (config.search.caps.steps, made.num_trials) == (7, 2)
    assert made.token_caps()["train_step"].parameters == plan.token_caps()["train_step"].parameters
    outlook = budget_outlook(made)
    assert (outlook.asked_epsilon, outlook.reused) == (0.0, 7)
    before = ledger.spent(outlook.name)
    reserve_plan(made, storage_of(config))
    assert ledger.spent(outlook.name) == before


def test_a_sweep_that_goes_on_keeps_what_it_has_reserved(settings, earlier):
    _, ledger = earlier
    ledger.close("earlier")
    config = more(settings, "search.num_trials=fit")
    reserve_plan(make_plan(config), storage_of(config))
    assert more(settings, "search.num_trials=fit") == config
    assert with_reused_tokens(config) == config


def test_more_than_what_is_left_is_charged(settings, earlier):
    _, ledger = earlier
    ledger.close("earlier")
    made = make_plan(more(settings, "search.caps={steps: 9}"))
    outlook = budget_outlook(made)
    assert outlook.reused == 7
    assert 0 < outlook.asked_epsilon < made.epsilon


def test_steps_of_a_sweep_that_has_not_ended_are_not_left_over(settings, earlier):
    with pytest.raises(ValueError, match=r"search\.reuse: 'earlier' has left no steps over: .*it has not ended"):
        more(settings)


def test_a_sweep_that_is_not_there_is_named(settings, earlier):
    with pytest.raises(ValueError, match=r"nobody: there is no config\.json"):
        more(settings, "search.reuse=nobody")
