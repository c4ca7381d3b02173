"""Right answers and the metrics of their counts. `scoring.py` adds the noise on private examples."""

from collections.abc import Sequence

import numpy as np

from trainers.evaluators.base import Example


def right_answers(predicted: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
    """Return whether each of `predicted`, option or class numbers, int [B], is its example's label; bool [B].

    Raises:
        ValueError: not one prediction for each example, or a target text, which leaves no choice. The message does not
            show the number of examples: it may be private.
    """
    if np.shape(predicted) != (len(examples),):
        raise ValueError("one prediction for each example is expected, in a row of their number")
    if any(len(example.option_ids) == 1 for example in examples):
        raise ValueError("a target text is one option, always the likeliest: accuracy needs task.label_words or labels")
    right = [example.is_right(int(option)) for option, example in zip(predicted, examples, strict=True)]
    return np.array(right, dtype=bool)


def confusion_cells(predicted: np.ndarray, examples: Sequence[Example], num_labels: int) -> np.ndarray:
    """Return each example's confusion matrix, float64 [B, num_labels²]: 1 in the cell (label, predicted), else 0."""
    _ = right_answers(predicted, examples)  # the same checks
    cells_B = _labels(examples) * num_labels + np.asarray(predicted, dtype=np.int64)
    cells_BC = np.zeros((len(examples), num_labels**2))
    cells_BC[np.arange(len(examples)), cells_B] = 1.0
    return cells_BC


def confusion_scores(counts: np.ndarray, size: float) -> dict[str, float]:
    """Return accuracy, precision, recall and F1 of a confusion matrix, as scikit-learn does.

    Of two labels the second is the positive one; of more, the plain mean over labels is taken ("macro"); a ratio of
    nothing to nothing is 0.

    Args:
        counts: [labels, predictions], with or without noise; a noisy cell below 0 counts as 0 in the ratios.
        size: number of examples, or its declared value, which accuracy is a share of.
    """
    cells = np.maximum(counts, 0.0)
    right = np.diag(cells)
    precision = _ratio(right, cells.sum(axis=0))
    recall = _ratio(right, cells.sum(axis=1))
    f1 = _ratio(2.0 * right, cells.sum(axis=0) + cells.sum(axis=1))
    shown = slice(1, 2) if len(cells) == 2 else slice(None)
    ratios = {"precision": precision, "recall": recall, "f1": f1}
    return {"accuracy": float(np.trace(counts)) / size} | {
        name: float(values[shown].mean()) for name, values in ratios.items()
    }


def _labels(examples: Sequence[Example]) -> np.ndarray:
    return np.array([example.label for example in examples], dtype=np.int64)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
