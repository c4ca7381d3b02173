from orchestrator.sweep.preparation import worst_trials
from search_spaces import Choice, Float, Int
from search_spaces.config import SearchConfig

COSINE = '{"kind": "cosine", "start": 0.01, "end": 0.0001}'


def worst(space):
    return worst_trials(SearchConfig.model_validate({"num_trials": 3, "space": space}))


def test_rounding_is_tried_at_the_smallest_radius_clip_and_number_of_directions():
    space = {"method.smoothing": Float(1e-3, 1.0), "method.num_directions": Int(4, 9), "method.momentum": Float(0, 0.5)}
    assert worst(space) == [{"method.smoothing": 1e-3, "method.num_directions": 4}]


def test_rounding_is_tried_for_each_way_that_choices_and_conditions_go():
    space = {
        "method.smoothing": Choice([1e-2, COSINE]),
        "method.direction": {
            "choices": ["gaussian", {"value": "low-rank", "space": {"method.clip_norm": Float(1.0, 9.0)}}]
        },
    }
    assert sorted(map(str, worst(space))) == sorted(
        str({"method.smoothing": smoothing, **direction})
        for smoothing in (1e-2, COSINE)
        for direction in ({"method.direction": "gaussian"}, {"method.direction": "low-rank", "method.clip_norm": 1.0})
    )
