import numpy as np
import pytest

from trainers.evaluators.base import Example
from trainers.tasks.metrics import accuracy, num_correct

EXAMPLES = [Example((1,), ((2,), (3,)), label) for label in (0, 1, 1, 0)]


def test_right_answers_are_counted():
    assert num_correct(np.array([0, 1, 0, 0]), EXAMPLES) == 3
    assert accuracy(np.array([0, 1, 0, 0]), EXAMPLES) == 0.75
    assert isinstance(num_correct(np.array([0, 1, 1, 0]), EXAMPLES), int)
    heads = [Example((1,), (), label) for label in (2, 0)]
    assert accuracy(np.array([2, 2]), heads) == 0.5


@pytest.mark.parametrize("predicted", [np.array([0, 1]), np.array([[0, 1, 1, 0]]), np.array(0)])
def test_one_prediction_for_each_example_is_required(predicted):
    with pytest.raises(ValueError, match="one prediction for each of 4 examples is expected; got shape"):
        num_correct(predicted, EXAMPLES)


def test_a_target_text_has_no_accuracy():
    with pytest.raises(ValueError, match="a target text is one option, always the likeliest"):
        accuracy(np.array([0]), [Example((1,), ((2, 3),), 0)])


def test_no_examples_have_no_accuracy():
    assert num_correct(np.array([]), []) == 0
    with pytest.raises(ValueError, match="accuracy of no examples"):
        accuracy(np.array([]), [])
