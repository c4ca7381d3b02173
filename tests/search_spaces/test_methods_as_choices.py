"""A trial's method or preset: what the configuration gave goes with it, and what enters ε stays."""

import pytest

from search_spaces import Choice, Space
from search_spaces.trial_config import apply, refused_ends
from tests.support.runs import plan_of, run_config

CAUSAL = {"model__head": "causal-lm", "task__labels": None, "task__label_words": {"a": " x", "b": " y"}}


@pytest.mark.parametrize("name", ["dp-zo", "dpzero", "dp-zoso", "dp-zopo", "dp-aggzo"])
def test_another_method_is_the_same_event_with_the_settings_that_it_takes(name):
    config = run_config()
    trial = apply(config, {"method.name": name, "method.clip_norm": 7.0})
    method = trial.method
    assert (method.name, method.clip_norm, method.smoothing, method.seed) == (name, 7.0, 1e-2, 0)
    assert method.num_directions == (1 if name == "dpzero" else 3)
    assert (method.stage_steps is not None) == (name in ("dp-zoso", "dp-zopo"))
    ours, theirs = plan_of(config), plan_of(trial)
    for field in ("sampling_prob", "num_steps", "noise_multiplier", "noise", "adjacency", "expected_batch_size"):
        assert getattr(ours, field) == getattr(theirs, field)


def test_a_preset_goes_first_but_for_its_number_of_steps():
    method = apply(run_config(**CAUSAL), {"method.preset": "dpzero/opt-1.3b", "method.smoothing": 0.02}).method
    assert (method.name, method.clip_norm, method.learning_rate) == ("dpzero", 300.0, 1e-7)
    assert (method.num_steps, method.smoothing) == (10, 0.02)


@pytest.mark.parametrize(
    ("values", "changes", "words"),
    [
        ({"method.name": "dp-sgd"}, {}, "counted in another way"),
        ({"method.name": "mezo"}, {}, "counted in another way"),
        ({"method.name": "dp-zo"}, {"privacy__noise": "laplace"}, "depends on K under Laplace"),
        ({"method.name": "dp-aggz"}, {}, "Did you mean 'dp-aggzo'"),
        ({"method.preset": "dpzero/opt-1.3b"}, {}, "was published for model.head"),
        ({"method.preset": "dp-sgd/nothing"}, {}, "unknown preset"),
    ],
)
def test_what_is_counted_in_another_way_is_refused(values, changes, words):
    with pytest.raises(ValueError, match=words):
        apply(run_config(**changes), values)


def test_settings_that_a_method_of_the_space_refuses_are_found_before_the_sweep():
    names = Choice(["dp-aggzo", "dpzero", "dp-zoso"])
    config = run_config()
    space = Space({"method.name": names, "method.num_directions": Choice([2, 8])})
    assert {name for name, _, _ in refused_ends(space, config)} == {"method.num_directions"}
    asked = {
        "method.name": names,
        "method.num_directions": Choice([2, 8], when={"method.name": ["dp-aggzo"]}),
        "method.stage_steps": Choice([2, 5], when={"method.name": ["dp-zoso"]}),
    }
    assert not list(refused_ends(Space(asked), config))
