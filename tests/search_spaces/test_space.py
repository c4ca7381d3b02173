import pickle
import random

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from search_spaces.parameters import Choice
from search_spaces.space import Space, define_by_run
from search_spaces.trial_config import apply, refused_ends
from tests.search_spaces.strategies import contains
from trainers.config import RunConfig

FORMS = {
    "method.smoothing": {"low": 1e-3, "high": 1e-1, "log": True},
    "method.clip_norm": {"low": 1, "high": 30},
    "method.learning_rate": {"choices": [1e-4, 1e-3]},
    "method.num_directions": {"low": 4, "high": 64, "log": True},
    "method.direction": {"choices": ["gaussian", "rademacher"]},
}
SPACE = Space.model_validate(FORMS)
spaces = st.sets(st.sampled_from(sorted(FORMS)), min_size=1).map(
    lambda names: Space.model_validate({name: FORMS[name] for name in names})
)


@pytest.fixture(autouse=True)
def quiet_optuna():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def config():
    return RunConfig.model_validate(
        {
            "name": "run",
            "data": {"train": "private.jsonl", "num_examples": 4000},
            "task": {"template": "{text}", "label_column": "label", "label_words": {"a": " a", "b": " b"}},
            "model": {"path": "model"},
            "privacy": {"epsilon": 8},
        }
    )


def asked(space, num_trials, seed=0):
    """Parameters that Optuna's RandomSampler gives."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    ask = define_by_run(space.root)
    trials = [study.ask() for _ in range(num_trials)]
    for trial in trials:
        assert ask(trial) is None
    return [trial.params for trial in trials]


def test_whole_ends_become_floats_where_a_float_is_due():
    clip, directions = SPACE.root["method.clip_norm"], SPACE.root["method.num_directions"]
    assert [type(end) for end in clip.ends] == [float, float]
    assert [type(end) for end in directions.ends] == [int, int]


@pytest.mark.parametrize(
    ("name", "form", "complaint"),
    [
        ("method.num_directions", {"low": 2.0, "high": 8.0}, "takes whole numbers"),
        (
            "method.clip_norm",
            {"low": 1, "high": 10, "step": 2},
            "high must be low plus a multiple of step: 10 is not, 9 would be",
        ),
        ("method.direction", {"low": 1, "high": 2}, r"no order.*choices: \['gaussian', 'rademacher', "),
        ("privacy.noise_multiplier", {"low": 1.0, "high": 2.0}, "rule 1 of the accounting"),
        ("method.num_steps", {"choices": [100, 200]}, "rule 1 of the accounting"),
    ],
)
def test_a_distribution_must_suit_its_setting(name, form, complaint):
    with pytest.raises(ValidationError, match=complaint) as refusal:
        Space.model_validate({name: form, "method.smoothing": FORMS["method.smoothing"]})
    assert all(problem["loc"][0] == name for problem in refusal.value.errors())


def test_an_empty_space_is_refused():
    with pytest.raises(ValidationError, match="at least one setting"):
        Space.model_validate({})


def test_a_space_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        SPACE.root = {}


@given(spaces)
def test_json_brings_back_an_equal_space(space):
    assert Space.model_validate_json(space.model_dump_json()) == space


@given(spaces, st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_optuna_and_sample_give_the_same_keys_and_stay_in_range(space, seed):
    for values in (
        asked(space, 1, seed)[0],
        space.sample(random.Random(seed)),
        space.sample(np.random.default_rng(seed)),
    ):
        assert list(values) == list(space.root)
        assert all(contains(parameter, values[name]) for name, parameter in space.root.items())


def test_sample_has_the_law_of_optunas_random_sampler():
    rng = np.random.default_rng(5)
    ours, theirs = [SPACE.sample(rng) for _ in range(2000)], asked(SPACE, 2000)
    for name, parameter in SPACE.root.items():
        if isinstance(parameter, Choice):
            counts = [[values[name] for values in many].count(parameter.choices[0]) for many in (ours, theirs)]
            assert stats.chi2_contingency([counts, [2000 - count for count in counts]]).pvalue > 1e-3
        else:
            one, other = ([values[name] for values in many] for many in (ours, theirs))
            assert stats.ks_2samp(one, other, method="asymp").pvalue > 1e-3


def test_draws_repeat_with_the_generator_and_depend_on_nothing_else():
    alone = SPACE.sample(random.Random(7))
    rng = random.Random(7)
    assert SPACE.sample(rng) == alone
    assert SPACE.sample(rng) != alone


def test_settings_of_a_draw_are_uncorrelated():
    rng = random.Random(3)
    draws = [SPACE.sample(rng) for _ in range(2000)]
    smoothing, clip = ([values[name] for values in draws] for name in ("method.smoothing", "method.clip_norm"))
    assert stats.spearmanr(smoothing, clip).pvalue > 1e-3


def test_ray_tunes_search_gives_flat_dotted_names_and_can_be_saved(tmp_path):
    from ray.tune.search.optuna import OptunaSearch

    search = OptunaSearch(
        space=define_by_run(SPACE.root), metric="score", mode="max", sampler=optuna.samplers.RandomSampler()
    )
    suggested = search.suggest("trial-1")
    assert suggested is not None
    assert list(suggested) == list(SPACE.root)
    search.save(str(tmp_path / "search"))
    search.restore(str(tmp_path / "search"))
    assert list(search.suggest("trial-2") or {}) == list(SPACE.root)


def test_the_function_for_optuna_can_be_pickled():
    ask = pickle.loads(pickle.dumps(define_by_run(SPACE.root)))
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    ask(trial)
    assert set(trial.params) == set(SPACE.root)


@given(st.integers(0, 2**32 - 1))
def test_apply_puts_in_what_was_drawn_and_leaves_the_rest(seed):
    config = RunConfig.model_validate(
        {
            "name": "run",
            "data": {"train": "private.jsonl", "num_examples": 4000},
            "task": {"template": "{text}", "target": "{summary}"},
            "model": {"path": "model"},
            "privacy": {"noise_multiplier": 2.0},
        }
    )
    values = SPACE.sample(random.Random(seed))
    trial = apply(config, values)
    assert {name: getattr(trial.method, name.split(".")[1]) for name in values} == values
    untouched = {"method": config.method}
    assert trial.model_copy(update=untouched) == config
    assert (trial.method.num_steps, trial.method.name) == (config.method.num_steps, config.method.name)


def test_apply_validates_again(config):
    with pytest.raises(ValidationError, match="greater than 0"):
        apply(config, {"method.clip_norm": -1.0})
    with pytest.raises(ValidationError, match="takes num_directions 2 to 4096, not 1"):
        apply(config, {"method.num_directions": 1})


@pytest.mark.parametrize(
    "name", ["privacy.noise_multiplier", "method.num_steps", "data.num_examples", "method.smothing"]
)
def test_apply_refuses_what_a_sweep_may_not_vary(config, name):
    with pytest.raises(ValueError, match=rf"^{name}: (fixed before the sweep|unknown name)"):
        apply(config, {name: 1})


def test_refused_ends_names_each_end_that_the_run_would_refuse(config):
    space = Space.model_validate(
        {
            "method.smoothing": {"low": -1.0, "high": 1.0},
            "method.num_directions": {"low": 1, "high": 5000},
            "method.direction": {"choices": ["gaussian", "cube"]},
            "method.clip_norm": FORMS["method.clip_norm"],
        }
    )
    assert [(name, end) for name, end, _ in refused_ends(space, config)] == [
        ("method.smoothing", -1.0),
        ("method.num_directions", 1),
        ("method.num_directions", 5000),
        ("method.direction", "cube"),
    ]
    assert list(refused_ends(SPACE, config)) == []


def test_a_trial_puts_values_into_the_schedule_and_the_mask_of_the_configuration(config):
    method = {
        "name": "dp-zopo",
        "learning_rate": {"kind": "cosine", "start": 1e-2, "end": 1e-4},
        "clip_norm": {"kind": "stagewise", "values": [3, 2]},
    }
    staged = RunConfig.model_validate({**config.model_dump(), "method": method})
    values = {"method.learning_rate.start": 0.5, "method.clip_norm.values.1": 7.0, "method.mask.keep": 0.25}
    trial = apply(staged, values).method
    assert trial.learning_rate.model_dump() == {"kind": "cosine", "start": 0.5, "end": 1e-4}
    assert trial.clip_norm.values == (3, 7)
    assert trial.mask.keep == 0.25
    assert apply(staged, {"method.learning_rate": 0.3}).method.learning_rate.model_dump(exclude_none=True) == {
        "kind": "stagewise",
        "start": 0.3,
        "factor": 0.5,
    }


@pytest.mark.parametrize("name", ["method.learning_rate.start", "method.clip_norm.values.0", "method.mask.keep"])
def test_a_place_that_the_configuration_does_not_have_is_refused(config, name):
    with pytest.raises(ValueError, match="to vary: write the schedule or mask into the method section"):
        apply(config, {name: 0.5})
