import math

import pytest
from pydantic import TypeAdapter, ValidationError

from trainers.config import MethodConfig
from trainers.config.schedules import Schedule, as_function, points, stage_starts, uses_stages

ADAPTER = TypeAdapter(Schedule)


def values(form, num_steps, starts=(0,)) -> list[float]:
    schedule = as_function(ADAPTER.validate_python(form), num_steps, starts)
    return [schedule(step) for step in range(num_steps)]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (0.5, [0.5] * 5),
        ({"kind": "constant", "value": 2}, [2.0] * 5),
        ({"kind": "step", "start": 8, "factor": 0.5, "every": 2}, [8, 8, 4, 4, 2]),
        ({"kind": "cosine", "start": 3, "end": 1}, [3, 2 + math.sqrt(0.5), 2, 2 - math.sqrt(0.5), 1]),
        ({"kind": "geometric", "start": 16, "end": 1}, [16, 8, 4, 2, 1]),
        ({"kind": "stagewise", "start": 4, "factor": 0.5}, [4, 2, 2, 1, 1]),
        ({"kind": "stagewise", "values": [4, 7]}, [4, 7, 7, 7, 7]),
        (
            {
                "kind": "joined",
                "parts": [
                    {"num_steps": 2, "schedule": {"kind": "geometric", "start": 1, "end": 4}},
                    {"num_steps": 9, "schedule": {"kind": "cosine", "start": 4, "end": 2}},
                ],
            },
            [1, 4, 4, 3, 2],
        ),
        (
            {
                "kind": "joined",
                "parts": [
                    {"num_steps": 2, "schedule": 9},
                    {"num_steps": 3, "schedule": {"kind": "stagewise", "start": 4, "factor": 0.5}},
                ],
            },
            [9, 9, 2, 1, 1],
        ),
    ],
)
def test_each_kind_has_its_values(form, expected):
    assert values(form, 5, (0, 1, 3)) == pytest.approx(expected)


def test_a_schedule_keeps_its_last_value_beyond_the_end_and_lasts_one_step():
    schedule = as_function(ADAPTER.validate_python({"kind": "cosine", "start": 3, "end": 1}), 5)
    assert schedule(5) == schedule(100) == pytest.approx(1.0)
    assert values({"kind": "geometric", "start": 16, "end": 1}, 1) == [16]


def test_stages_double_and_the_last_one_takes_what_is_left():
    assert stage_starts(6000, 1000) == (0, 1000, 3000)
    assert stage_starts(7001, 1000) == (0, 1000, 3000, 7000)
    assert stage_starts(10, None) == (0,)


def test_points_begin_and_end_with_the_run():
    drawn = points(ADAPTER.validate_python({"kind": "geometric", "start": 16, "end": 1}), 10_001, most=5)
    assert drawn[0] == (0, 16)
    assert drawn[-1] == (10_000, pytest.approx(1.0))
    assert len(drawn) == 5
    assert points(3.0, 2) == [(0, 3.0), (1, 3.0)]


FORMS = [
    1e-3,
    {"kind": "cosine", "start": 1e-2, "end": 1e-3},
    {"kind": "stagewise", "values": [1e-3, 1e-4]},
    {"kind": "joined", "parts": [{"num_steps": 3, "schedule": {"kind": "stagewise", "start": 1, "factor": 2}}]},
]


@pytest.mark.parametrize("form", FORMS)
def test_a_schedule_survives_json(form):
    name = "dp-zoso" if uses_stages(ADAPTER.validate_python(form)) else "dp-aggzo"
    method = MethodConfig.model_validate({"name": name, "smoothing": form})
    assert MethodConfig.model_validate_json(method.model_dump_json()) == method
    assert isinstance(method.smoothing, float) == isinstance(form, float)


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        (0, "greater than 0"),
        (float("inf"), "finite"),
        ("high", "number"),
        ([1, 2], "number"),
        ({"start": 1}, "must be a number, or a schedule"),
        ({"kind": "linear", "start": 1}, "must be a number, or a schedule"),
        ({"kind": "cosine", "start": 1, "end": 0}, "greater than 0"),
        ({"kind": "cosine", "start": 1, "end": 1, "factor": 2}, "Extra inputs"),
        ({"kind": "stagewise"}, "start and factor, or values"),
        ({"kind": "stagewise", "values": [1], "start": 1, "factor": 1}, "start and factor, or values"),
        ({"kind": "joined", "parts": []}, "at least 1 item"),
    ],
)
def test_what_is_no_schedule_is_refused(form, complaint):
    with pytest.raises(ValidationError, match=complaint):
        ADAPTER.validate_python(form)
