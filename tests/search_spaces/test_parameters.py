import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from search_spaces.parameters import Choice, Float, Int, Parameter
from tests.search_spaces.strategies import contains, float_ranges, int_ranges, parameters

PARAMETER = TypeAdapter(Parameter)
UNIFORM = st.floats(0.0, 1.0, exclude_max=True)


@pytest.mark.parametrize(
    ("given_as", "expected"),
    [
        ({"low": 1e-3, "high": 1, "log": True}, Float(low=0.001, high=1.0, log=True)),
        ({"low": "1e-3", "high": "1e-1"}, Float(low=0.001, high=0.1)),
        ({"low": 2, "high": 8}, Int(low=2, high=8)),
        ({"low": 2, "high": 8, "step": 3}, Int(low=2, high=8, step=3)),
        ({"low": 2, "high": 8.0}, Float(low=2.0, high=8.0)),
        ({"low": 0, "high": 1.0, "step": 0.1}, Float(0.0, 1.0, step=0.1)),
        ({"choices": ["a", None, {"kind": "x"}]}, Choice(["a", None, '{"kind": "x"}'])),
        ({"choices": ["gaussian", 1, 2.5]}, Choice(choices=("gaussian", 1, 2.5))),
    ],
)
def test_the_form_tells_the_kind(given_as, expected):
    found = PARAMETER.validate_python(given_as)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("given_as", "complaint"),
    [
        ({"low": 2.0, "high": 1.0}, "low must be below high, got low 2 and high 1"),
        ({"low": 3, "high": 3}, "low must be below high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "logarithmic range needs low above 0, got 0"),
        ({"low": 0, "high": 5, "log": True}, "logarithmic range needs low above 0, got 0"),
        ({"low": 1, "high": 9, "log": True, "step": 2}, "logarithmic range has no step, got step 2"),
        ({"low": 1, "high": 8, "step": 3}, "8 is not, 7 would be"),
        ({"low": 0.0, "high": 1.0, "step": 0.3}, "1 is not, 0.9 would be"),
        ({"low": 1, "high": 8, "step": 0}, "greater than or equal to 1"),
        ({"low": 1.0, "high": math.inf}, "finite number"),
        ({"low": math.nan, "high": 1.0}, "finite number"),
        ({"choices": []}, "at least 1 item"),
        ({"choices": [1, 2, 1.0]}, "each choice must be listed once, 1.0 is listed again"),
        ({"choices": [[1]]}, "a choice is a finite number, a text, null or a schedule"),
        ({"choices": [True]}, "a choice is a finite number, a text, null or a schedule"),
        ({"choices": [math.nan]}, "a choice is a finite number, a text, null or a schedule"),
        ({"choices": [1], "low": 0}, "Extra inputs"),
        ({"low": 0.5, "hihg": 1}, "Extra inputs"),
        (0.1, r"must be a range, {low: …, high: …, log: true}, or a list, {choices: \[…\]}"),
    ],
)
def test_bad_forms_are_refused(given_as, complaint):
    with pytest.raises(ValidationError, match=complaint):
        PARAMETER.validate_python(given_as)


@given(parameters)
def test_json_brings_back_an_equal_parameter(parameter):
    back = PARAMETER.validate_json(parameter.model_dump_json())
    assert back == parameter
    assert type(back) is type(parameter)


@given(parameters, UNIFORM)
def test_a_quantile_lies_in_the_range(parameter, uniform):
    assert contains(parameter, parameter.quantile(uniform))


@given(float_ranges() | int_ranges(), UNIFORM, UNIFORM)
def test_a_quantile_grows_with_its_share(parameter, one, other):
    assert parameter.quantile(min(one, other)) <= parameter.quantile(max(one, other)) * (1 + 1e-12)


@given(parameters)
def test_the_ends_are_reached(parameter):
    almost_one = 1 - 2**-53
    if isinstance(parameter, Float):
        reached = (parameter.quantile(0.0), parameter.quantile(almost_one))
        assert reached == pytest.approx(parameter.ends, rel=1e-9)
    else:
        assert parameter.quantile(0.0) == parameter.ends[0]
        assert parameter.quantile(almost_one) == parameter.ends[-1]


# Laws: 4,000 draws from a fixed seed, so these tests do not flicker; levels are those of the tests behind them.
DRAWS = 4000


def drawn(parameter):
    rng = random.Random(20261122)
    return [parameter.quantile(rng.random()) for _ in range(DRAWS)]


def test_a_float_range_is_uniform_and_a_logarithmic_one_in_the_logarithm():
    flat = stats.uniform(0.001, 0.099).cdf
    logarithmic = stats.loguniform(0.001, 0.1).cdf
    for log, right, wrong in ((False, flat, logarithmic), (True, logarithmic, flat)):
        values = drawn(Float(low=0.001, high=0.1, log=log))
        assert stats.kstest(values, right).pvalue > 1e-3
        assert stats.kstest(values, wrong).pvalue < 1e-9


def test_an_int_range_gives_every_step_alike():
    values = drawn(Int(low=2, high=11, step=3))
    assert stats.chisquare([values.count(value) for value in (2, 5, 8, 11)]).pvalue > 1e-3


def test_a_logarithmic_int_range_weighs_by_the_half_units_around():
    values = drawn(Int(low=1, high=4, log=True))
    weights = [math.log((value + 0.5) / (value - 0.5)) / math.log(9) for value in (1, 2, 3, 4)]
    counts = [values.count(value) for value in (1, 2, 3, 4)]
    assert stats.chisquare(counts, [DRAWS * weight for weight in weights]).pvalue > 1e-3
    assert stats.chisquare(counts).pvalue < 1e-9


def test_rounding_does_not_leave_a_logarithmic_range():
    low = 1e-5
    assert math.exp(math.log(low)) < low
    assert Float(low=low, high=1.0, log=True).quantile(0.0) == low
