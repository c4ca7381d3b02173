import optuna
import pytest
from pydantic import TypeAdapter, ValidationError
from ray import tune

from search_spaces import Choice, Float, Int, Space
from search_spaces.parameters import Parameter

PARAMETER = TypeAdapter(Parameter)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True), Float(1e-4, 1e-2, log=True)),
        (optuna.distributions.FloatDistribution(0, 1, step=0.25), Float(0.0, 1.0, step=0.25)),
        (optuna.distributions.IntDistribution(1, 9, step=2), Int(1, 9, step=2)),
        (optuna.distributions.CategoricalDistribution([None, 1, "a"]), Choice([None, 1, "a"])),
        (tune.uniform(0, 1), Float(0.0, 1.0)),
        (tune.loguniform(1e-4, 1e-1), Float(1e-4, 1e-1, log=True)),
        (tune.quniform(0, 1, 0.1), Float(0.0, 1.0, step=0.1)),
        (tune.randint(1, 10), Int(1, 9)),
        (tune.qrandint(2, 10, 2), Int(2, 10, step=2)),
        (tune.lograndint(1, 10), Int(1, 9, log=True)),
        (tune.choice([1, 2]), Choice([1, 2])),
        (tune.grid_search([1, 2]), Choice([1, 2])),
    ],
)
def test_a_distribution_of_another_library_becomes_ours(given, expected):
    found = PARAMETER.validate_python(given)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("given", [tune.randn(0, 1), tune.sample_from(lambda spec: 1)])
def test_a_domain_without_ends_is_refused_by_name(given):
    with pytest.raises(ValidationError, match=r"ray\.tune's (Float with Normal|Function) is no distribution"):
        PARAMETER.validate_python(given)


def test_the_space_of_an_optuna_study_is_the_union_of_its_trials():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.ask().suggest_float("method.smoothing", 1e-3, 1e-1, log=True)
    study.ask().suggest_int("method.num_directions", 2, 8)
    space = Space({"method.smoothing": Float(1e-3, 1e-1, log=True), "method.num_directions": Int(2, 8)})
    assert Space.from_optuna(study) == space
    assert Space.from_optuna(dict(space.root)) == space
