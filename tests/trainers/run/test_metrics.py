import numpy as np
import pytest

from trainers.evaluators.base import Example
from trainers.run.metrics import confusion_cells, confusion_scores, right_answers

EXAMPLES = [Example((1,), ((2,), (3,)), label) for label in (0, 1, 1, 0)]


def test_right_answers_are_told():
    assert right_answers(np.array([0, 1, 0, 0]), EXAMPLES).tolist() == [True, True, False, True]
    heads = [Example((1,), (), label) for label in (2, 0)]
    assert right_answers(np.array([2, 2]), heads).tolist() == [True, False]
    assert right_answers(np.array([], dtype=np.int64), []).tolist() == []


@pytest.mark.parametrize("predicted", [np.array([0, 1]), np.array([[0, 1, 1, 0]]), np.array(0)])
def test_one_prediction_for_each_example_is_required(predicted):
    with pytest.raises(ValueError, match="one prediction for each example is expected") as caught:
        right_answers(predicted, EXAMPLES)
    assert "4" not in str(caught.value)  # how many examples there are may be private


def test_a_target_text_has_no_right_answer():
    with pytest.raises(ValueError, match="a target text is one option, always the likeliest"):
        right_answers(np.array([0]), [Example((1,), ((2, 3),), 0)])


def test_an_example_is_in_one_cell_of_the_confusion_matrix():
    cells = confusion_cells(np.array([0, 1, 0, 0]), EXAMPLES, 2)
    assert cells.sum(axis=1).tolist() == [1, 1, 1, 1]
    assert cells.sum(axis=0).reshape(2, 2).tolist() == [[2, 0], [1, 1]]
    assert confusion_cells(np.array([], dtype=np.int64), [], 3).shape == (0, 9)


@pytest.mark.parametrize("num_labels", [2, 3, 6])
def test_scores_of_the_confusion_matrix_are_those_that_everybody_computes(num_labels):
    generator = np.random.default_rng(num_labels)
    labels, predicted = generator.integers(0, num_labels, (2, 200))
    counts = np.zeros((num_labels, num_labels))
    np.add.at(counts, (labels, predicted), 1.0)
    shown = range(1, 2) if num_labels == 2 else range(num_labels)  # scikit-learn: average "binary", else "macro"
    precision = [np.mean(labels[predicted == label] == label) for label in shown]
    recall = [np.mean(predicted[labels == label] == label) for label in shown]
    f1 = [2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True)]
    assert confusion_scores(counts, 200) == pytest.approx(
        {
            "accuracy": np.mean(labels == predicted),
            "precision": np.mean(precision),
            "recall": np.mean(recall),
            "f1": np.mean(f1),
        }
    )


def test_noise_below_zero_leaves_ratios_in_their_range():
    found = confusion_scores(np.array([[5.0, -3.0], [-2.0, -1.0]]), 10)
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)
    assert found["accuracy"] == pytest.approx(0.4)
    noisy = np.random.default_rng(0).normal(0, 20, (100, 3, 3))
    ratios = [confusion_scores(counts, 10)[name] for counts in noisy for name in ("precision", "recall", "f1")]
    assert min(ratios) >= 0
    assert max(ratios) <= 1


def test_an_option_that_is_right_too_counts():
    example = Example((1,), ((2,), (3,), (4,)), 0, also_right=(2,))
    assert [bool(right_answers(np.array([option]), [example])[0]) for option in range(3)] == [True, False, True]
