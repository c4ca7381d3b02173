import pickle

import optuna
import pytest

from orchestrator.sweep import samplers
from orchestrator.sweep.samplers import make_sampler, require_packages
from search_spaces.config import SearchConfig
from search_spaces.space import define_by_run

SPACE = {
    "method.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "method.num_directions": {"low": 2, "high": 16},
    "method.direction": {"choices": ["gaussian", "rademacher"]},
}


def drawn(sampler, num_trials=8):
    search = SearchConfig.model_validate({"num_trials": num_trials, "sampler": sampler, "seed": 3, "space": SPACE})
    study = optuna.create_study(sampler=make_sampler(search, num_trials), direction="maximize")
    for _ in range(num_trials):
        trial = study.ask()
        define_by_run(search.parameters)(trial)
        study.tell(trial, -trial.params["method.learning_rate"])
    return study


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sampler_that_learns_leaves_random_draws_after_the_first_third(sampler):
    chosen, free = (
        [trial.params["method.learning_rate"] for trial in drawn(name).trials] for name in (sampler, "random")
    )
    assert chosen != free
    assert sum(chosen[3:]) < sum(free[3:])  # smaller rates were better


def test_an_even_sampler_fills_the_space_from_the_first_trial_on():
    rates = sorted(trial.params["method.learning_rate"] for trial in drawn("qmc").trials)
    bounds = [1e-4 * 100 ** (eighth / 8) for eighth in range(9)]
    assert all(low <= rate < high for low, rate, high in zip(bounds[:-1], rates, bounds[1:], strict=True))


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "nsga2"])
def test_a_sampler_can_be_saved_as_ray_tune_does(sampler):
    study = drawn(sampler, 5)
    assert type(pickle.loads(pickle.dumps(study.sampler))) is type(study.sampler)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(samplers, "find_spec", lambda package: None)
    with pytest.raises(ValueError, match=r"search\.sampler: 'cma-es' needs cmaes: pip install cmaes"):
        require_packages("cma-es")
    require_packages("tpe")
