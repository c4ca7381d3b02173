import pytest
from pydantic import ValidationError

from search_spaces.config import SearchConfig

SPACE = {"method.smoothing": {"low": 1e-3, "high": 1e-1, "log": True}}


def test_defaults():
    config = SearchConfig.model_validate({"num_trials": 8, "space": SPACE})
    assert (config.concurrent_trials, config.sampler, config.seed, config.early_stopping.kind) == (
        1,
        "auto",
        None,
        "none",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"num_trials": 0},
        {"concurrent_trials": 0},
        {"sampler": "grid"},
        {"seed": -1},
        {"seed": 2**32},
        {"early_stopping": "mean"},
        {"early_stopping": {"kind": "asha", "brackets": 2}},
        {"first": [{"method.smoothing": 1.0}]},
        {"first": [{"method.clip_norm": 1.0}]},
        {"space": {}},
        {"trials": 3},
    ],
)
def test_what_cannot_be_searched_is_refused(change):
    with pytest.raises(ValidationError) as refusal:
        SearchConfig.model_validate({"num_trials": 8, "space": SPACE, **change})
    assert refusal.value.errors()[0]["loc"][0] == next(iter(change))


def test_the_largest_seed_suits_optunas_samplers():
    import optuna

    config = SearchConfig.model_validate({"num_trials": 8, "space": SPACE, "seed": 2**32 - 1})
    for sampler in (optuna.samplers.TPESampler, optuna.samplers.RandomSampler):
        optuna.create_study(sampler=sampler(seed=config.seed)).ask({"x": optuna.distributions.FloatDistribution(0, 1)})


@pytest.mark.parametrize(
    ("changes", "num_trials", "sampler", "startup"),
    [
        ({}, 6, "qmc", 6),
        ({}, 10, "gp", 3),
        ({}, 30, "gp", 10),
        ({}, 300, "tpe", 100),
        ({"early_stopping": "asha"}, 10, "tpe", 3),
        ({"release": "best"}, 10, "random", 10),
        ({"sampler": "tpe", "startup": 5}, 6, "tpe", 5),
        ({"space": {"method.direction": {"choices": ["gaussian", "sphere"]}}}, 6, "tpe", 3),
    ],
)
def test_the_sampler_follows_the_number_of_trials(changes, num_trials, sampler, startup):
    config = SearchConfig.model_validate({"num_trials": num_trials, "space": SPACE, **changes})
    assert (config.sampler_for(num_trials), config.startup_of(num_trials)) == (sampler, startup)


@pytest.mark.parametrize("sampler", ["gp", "cma-es"])
def test_a_model_of_numbers_is_refused_for_choices_alone(sampler):
    space = {"method.direction": {"choices": ["gaussian", "sphere"]}}
    with pytest.raises(ValidationError, match=f"'{sampler}' models numbers, and search.space has choices alone"):
        SearchConfig.model_validate({"num_trials": 8, "sampler": sampler, "space": space})
