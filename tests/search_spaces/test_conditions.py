import pickle
import random

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from search_spaces import Choice, Float, Int, Space
from search_spaces.dependencies import is_active
from search_spaces.space import define_by_run

CONDITIONAL = Space(
    {
        "method.clip_norm": Float(1.0, 30.0, when={"method.proximal": {"above": 0.5}}),
        "method.proximal": Float(0.0, 1.0, step=0.25, when={"method.stage_steps": [100, 200]}),
        "method.stage_steps": Choice([None, 100, 200, 400]),
        "method.learning_rate.kind": {
            "choices": [
                {
                    "value": "constant",
                    "space": {"method.learning_rate.value": {"low": 1e-4, "high": 1e-2, "log": True}},
                },
                {
                    "value": "cosine",
                    "space": {
                        "method.learning_rate.start": Float(1e-3, 1e-2, log=True),
                        "method.learning_rate.end": Float(1e-5, 1e-4, log=True),
                    },
                },
            ]
        },
    }
)


def asked(space, num_trials, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trials = [study.ask() for _ in range(num_trials)]
    for trial in trials:
        define_by_run(space.root)(trial)
    return [trial.params for trial in trials]


def test_parameters_stand_after_those_that_they_depend_on():
    names = list(CONDITIONAL.root)
    assert names.index("method.stage_steps") < names.index("method.proximal") < names.index("method.clip_norm")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_what_is_inactive_is_neither_drawn_nor_asked_of_optuna(seed):
    for values in (CONDITIONAL.sample(random.Random(seed)), asked(CONDITIONAL, 1, seed)[0]):
        active = [name for name, parameter in CONDITIONAL.root.items() if is_active(parameter, values)]
        assert list(values) == active
        assert ("method.proximal" in values) == (values["method.stage_steps"] in (100, 200))
        assert ("method.clip_norm" in values) == (values.get("method.proximal", 0) > 0.5)
        assert ("method.learning_rate.end" in values) == (values["method.learning_rate.kind"] == "cosine")


def test_a_conditional_space_is_drawn_from_as_optunas_random_sampler_does():
    rng = random.Random(5)
    ours, theirs = [CONDITIONAL.sample(rng) for _ in range(2000)], asked(CONDITIONAL, 2000)
    for name in ("method.clip_norm", "method.learning_rate.value", "method.learning_rate.start"):
        one, other = ([values[name] for values in many if name in values] for many in (ours, theirs))
        assert stats.ks_2samp(one, other, method="asymp").pvalue > 1e-3
        assert abs(len(one) - len(other)) < 150
    counts = [[sum(values.get("method.proximal") == share / 4 for values in many) for share in range(5)]
              for many in (ours, theirs)]  # fmt: skip
    assert stats.chi2_contingency(counts).pvalue > 1e-3


def test_a_conditional_space_comes_back_from_json_and_pickle():
    assert Space.model_validate_json(CONDITIONAL.model_dump_json()) == CONDITIONAL
    assert pickle.loads(pickle.dumps(CONDITIONAL)) == CONDITIONAL


def test_a_description_has_a_line_for_each_setting():
    lines = CONDITIONAL.describe().splitlines()
    assert len(lines) == len(CONDITIONAL.root)
    assert lines[0].split() == ["method.stage_steps", "null,", "100,", "200,", "400"]
    assert lines[1].endswith("0 … 1, step 0.25  when method.stage_steps is 100 or 200")
    assert lines[2].endswith("1 … 30  when method.proximal above 0.5")


@pytest.mark.parametrize(
    ("when", "complaint"),
    [
        ({"method.stage_steps": 100}, "is not searched. `when` names another setting of this space: method.clip_norm"),
        ({"method.proximal": 2.0}, "never is 2.0: it is searched over 0 to 1"),
        ({"method.num_directions": 5}, "never is 5: it is searched over 2 to 8"),
        ({"method.direction": ["gaussian", "cube"]}, "never is 'cube': it is searched over gaussian, sphere"),
        ({"method.proximal": {"above": 1}}, "is never in these bounds: it is searched over 0 to 1"),
        ({"method.direction": {"above": 1}}, "is never in these bounds: it is searched over gaussian, sphere"),
        ({"method.proximal": {}}, "give above, below, or both"),
        ({"method.proximal": []}, "give at least one value"),
        ({"method.clip_norm": {"above": 2}}, "the conditions of method.clip_norm go in a circle"),
    ],
)
def test_a_condition_that_can_never_be_asked_is_refused(when, complaint):
    others = {
        "method.proximal": Float(0.0, 1.0),
        "method.num_directions": Int(2, 8, step=2),
        "method.direction": Choice(["gaussian", "sphere"]),
    }
    with pytest.raises(ValidationError) as refusal:
        Space({"method.clip_norm": {"low": 1, "high": 9, "when": when}, **others})
    assert complaint in str(refusal.value)


def test_two_settings_that_wait_for_each_other_are_refused():
    with pytest.raises(ValidationError, match=r"conditions of method\.clip_norm and method\.smoothing go in a circle"):
        Space(
            {
                "method.clip_norm": Float(1, 9, when={"method.smoothing": {"above": 0.5}}),
                "method.smoothing": Float(0, 1, when={"method.clip_norm": {"below": 2}}),
            }
        )


def test_an_option_may_not_list_what_the_space_lists_already():
    inner = {"choices": ["gaussian", {"value": "low-rank", "space": {"method.smoothing": Float(1e-3, 1.0)}}]}
    with pytest.raises(ValidationError, match=r"method\.smoothing is listed twice"):
        Space({"method.smoothing": Float(0.1, 1.0), "method.direction": inner})


def test_an_option_may_not_list_what_enters_the_event():
    inner = {"choices": ["gaussian", {"value": "sphere", "space": {"method.num_steps": Int(1, 9)}}]}
    with pytest.raises(ValidationError, match="rule 1 of the accounting"):
        Space({"method.direction": inner})
