import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Choice, Float, Space
from search_spaces.trial_config import apply, refused_ends
from trainers.config import RunConfig

COSINE = {"kind": "cosine", "start": 1e-2, "end": 1e-4}
CONFIG = RunConfig.model_validate(
    {
        "name": "run",
        "data": {"train": "private.jsonl", "num_examples": 4000},
        "task": {"template": "{text}", "target": "{summary}"},
        "model": {"path": "model"},
        "privacy": {"noise_multiplier": 2.0},
        "method": {"name": "dp-zoso"},
    }
)


def test_a_choice_may_be_a_whole_schedule_or_null():
    space = Space({"method.learning_rate": Choice([1e-3, COSINE]), "method.shrinkage": Choice([None, 0.5])})
    assert space.root["method.learning_rate"].ends == (1e-3, '{"kind": "cosine", "start": 0.01, "end": 0.0001}')
    assert not list(refused_ends(space, CONFIG))
    rate, shrinkage = (space.root[name].ends for name in space.root)
    method = apply(CONFIG, {"method.learning_rate": rate[1], "method.shrinkage": shrinkage[0]}).method
    assert method.learning_rate.model_dump() == COSINE
    assert method.shrinkage is None


def test_a_number_inside_a_chosen_schedule_is_put_in_after_it():
    rate = {"value": COSINE, "space": {"method.learning_rate.start": Float(0.1, 0.5)}}
    space = Space({"method.learning_rate": {"choices": [1e-3, rate]}})
    assert not list(refused_ends(space, CONFIG))
    chosen = {"method.learning_rate.start": 0.5, "method.learning_rate": space.root["method.learning_rate"].ends[1]}
    assert apply(CONFIG, chosen).method.learning_rate.model_dump() == {**COSINE, "start": 0.5}


KINDS = Space(
    {
        "method.learning_rate.kind": Choice(["constant", "cosine", "stagewise"]),
        "method.learning_rate.value": Float(1e-3, 1e-2, when={"method.learning_rate.kind": "constant"}),
        "method.learning_rate.start": Float(1e-3, 1e-2, when={"method.learning_rate.kind": "cosine"}),
        "method.learning_rate.end": Float(1e-4, 1e-3, when={"method.learning_rate.kind": "cosine"}),
        "method.learning_rate.values.0": Float(1e-3, 1e-2, when={"method.learning_rate.kind": "stagewise"}),
        "method.learning_rate.values.1": Float(1e-4, 1e-3, when={"method.learning_rate.kind": "stagewise"}),
    }
)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_searched_kind_makes_a_schedule_without_a_frame(seed):
    values = KINDS.sample(random.Random(seed))
    schedule = apply(CONFIG, values).method.learning_rate.model_dump(exclude_none=True)
    inside = {name.removeprefix("method.learning_rate."): value for name, value in values.items()}
    if "values.0" in inside:
        inside = {"kind": "stagewise", "values": (inside["values.0"], inside["values.1"])}
    assert schedule == inside


def test_the_kinds_of_a_schedule_are_tried_with_their_numbers():
    assert not list(refused_ends(KINDS, CONFIG))
    incomplete = Space({name: parameter for name, parameter in KINDS.root.items() if not name.endswith(".end")})
    assert [(name, end) for name, end, _ in refused_ends(incomplete, CONFIG)] == [
        ("method.learning_rate.kind", "cosine"),
        ("method.learning_rate.start", 1e-3),
        ("method.learning_rate.start", 1e-2),
    ]


def test_an_unknown_kind_is_refused():
    space = Space(
        {"method.learning_rate.kind": Choice(["constant", "linear"]), "method.learning_rate.value": Float(1, 2)}
    )
    with pytest.raises(ValueError, match="must be a number, or a schedule"):
        raise next(error for name, end, error in refused_ends(space, CONFIG) if end == "linear")
