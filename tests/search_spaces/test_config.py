import pytest
from pydantic import ValidationError

from search_spaces.config import SearchConfig

SPACE = {"method.smoothing": {"low": 1e-3, "high": 1e-1, "log": True}}


def test_defaults():
    config = SearchConfig.model_validate({"num_trials": 8, "space": SPACE})
    assert (config.concurrent_trials, config.sampler, config.seed, config.early_stopping) == (1, "tpe", None, "none")


@pytest.mark.parametrize(
    "change",
    [
        {"num_trials": 0},
        {"concurrent_trials": 0},
        {"sampler": "grid"},
        {"seed": -1},
        {"seed": 2**32},
        {"early_stopping": "median"},
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
