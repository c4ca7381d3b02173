import pytest

from search_spaces.searchable import FILTERED, SEARCHABLE, dotted_names, searchable, type_of
from trainers.config import MethodConfig, RunConfig
from trainers.config.sections import Searchable


def test_searchable_settings_exist_in_the_run_configuration():
    assert set(SEARCHABLE) <= set(dotted_names(RunConfig))
    assert [type_of(name) for name in SEARCHABLE[:4]] == [int, float, float, float]
    assert set(FILTERED) == {"method.num_steps", "privacy.noise_multiplier", "privacy.expected_batch_size"}


def test_a_setting_is_searchable_where_its_field_says_so():
    marked = {name for name, field in MethodConfig.model_fields.items() if Searchable() in field.metadata}
    assert {f"method.{name}" for name in marked} == set(SEARCHABLE)


INSIDE = {
    "method.learning_rate.start": float,
    "method.smoothing.end": float,
    "method.clip_norm.values.1": float,
    "method.learning_rate.every": int,
    "method.learning_rate.parts.1.schedule.start": float,
    "method.mask.keep": float,
    "method.mask.keep.factor": float,
    "method.mask.num_directions": int,
    "method.shrinkage": float,
}


@pytest.mark.parametrize("name", INSIDE)
def test_numbers_inside_schedules_and_masks_pass_with_their_type(name):
    assert searchable(name) == name
    assert type_of(name) is INSIDE[name]


@pytest.mark.parametrize(
    "name", ["method.num_steps.start", "method.smoothing.parts.0.kind", "method.mask.strategy", "score.x.y"]
)
def test_other_places_inside_a_setting_are_refused(name):
    with pytest.raises(ValueError, match=r"unknown name|fixed before"):
        searchable(name)


@pytest.mark.parametrize("name", SEARCHABLE)
def test_searchable_names_pass(name):
    assert searchable(name) == name


@pytest.mark.parametrize("name", sorted(set(dotted_names(RunConfig)) - set(SEARCHABLE)))
def test_every_other_setting_is_refused(name):
    with pytest.raises(ValueError, match=r"fixed before the sweep|not a hyperparameter"):
        searchable(name)


@pytest.mark.parametrize(
    "name",
    [
        "privacy.epsilon",
        "privacy.noise_multiplier",
        "privacy.expected_batch_size",
        "privacy.no_such_setting",
        "method.num_steps",
        "data.num_examples",
        "score.times",
        "score.noise_multiplier",
    ],
)
def test_what_the_event_counts_is_refused_by_rule_1(name):
    with pytest.raises(ValueError, match=r"fixed before the sweep.*rule 1 of the accounting"):
        searchable(name)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("method.smothing", "unknown name. Did you mean 'method.smoothing'?"),
        ("learning_rate", "unknown name. Did you mean 'method.learning_rate'?"),
        ("num_steps", "unknown name. If 'method.num_steps' is meant: fixed before the sweep"),
        ("path", "unknown name. If 'model.path' is meant: it is the same for every trial"),
        ("zzz", "unknown name. Searchable: method.num_directions, method.smoothing, "),
        ("method", "a section: write dotted names, method.num_directions: {low: …, high: …}"),
        ("data.train", "not a hyperparameter: it is the same for every trial"),
        ("method.seed", "not a hyperparameter"),
    ],
)
def test_refusals_say_what_was_meant(name, complaint):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the message is compared below
        searchable(name)
    assert str(refusal.value).startswith(complaint)
