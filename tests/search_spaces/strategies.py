"""Hypothesis strategies for parameters, and what lies in one."""

from hypothesis import strategies as st

from search_spaces.parameters import Choice, Float, Int

positive = st.floats(1e-12, 1e12)


@st.composite
def float_ranges(draw):
    low, high = sorted(draw(st.lists(positive, min_size=2, max_size=2, unique=True)))
    return Float(low=low, high=high, log=draw(st.booleans()))


@st.composite
def int_ranges(draw):
    low, log = draw(st.integers(1, 10**6)), draw(st.booleans())
    step = 1 if log else draw(st.integers(1, 50))
    return Int(low=low, high=low + step * draw(st.integers(1, 1000)), log=log, step=step)


value_lists = st.lists(st.text(max_size=5) | st.integers() | st.floats(-1e9, 1e9), min_size=1, max_size=6, unique=True)
parameters = float_ranges() | int_ranges() | value_lists.map(lambda values: Choice(choices=tuple(values)))


def contains(parameter, value):
    if isinstance(parameter, Choice):
        return value in parameter.choices
    if isinstance(parameter, Int) and (type(value) is not int or (value - parameter.low) % parameter.step):
        return False
    return parameter.low <= value <= parameter.high
