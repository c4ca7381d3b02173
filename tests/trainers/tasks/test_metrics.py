import numpy as np
import pytest

from trainers.evaluators.base import Example
from trainers.tasks.metrics import accuracy, f1, num_correct

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


def test_an_option_that_is_right_too_counts():
    example = Example((1,), ((2,), (3,), (4,)), 0, also_right=(2,))
    assert [num_correct(np.array([option]), [example]) for option in range(3)] == [1, 0, 1]


def test_f1_is_of_the_last_of_two_labels_and_the_mean_of_more():
    assert f1(np.array([1, 1, 1, 1]), EXAMPLES, 2) == pytest.approx(2 / 3)
    assert f1(np.array([0, 0, 0, 0]), EXAMPLES, 2) == 0.0
    heads = [Example((1,), (), label) for label in (0, 1, 2, 2)]
    assert f1(np.array([0, 1, 2, 1]), heads, 3) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    with pytest.raises(ValueError, match="F1 of no examples"):
        f1(np.array([]), [], 2)
