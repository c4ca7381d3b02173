"""From logits to losses: the scores of each row's options, and the loss of an example."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

from trainers.evaluators.base import Example
from trainers.evaluators.rows import Row

Scores = TypeVar("Scores")


def row_scores(logits_TV: torch.Tensor, rows: Sequence[Row]) -> list[np.ndarray]:
    """Return what `score_tensors` returns, in numpy."""
    scores = score_tensors(logits_TV, rows)
    if isinstance(scores, torch.Tensor):
        return list(scores.cpu().numpy())
    return [of_row.cpu().numpy() for of_row in scores]


def score_tensors(logits_TV: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor | list[torch.Tensor]:
    """Return each row's scores, float64, from the logits of the rows' places T; one tensor if all rows have as many.

    The scores are the classes' logits for a classification head, the options' logits if they share a place, and else
    the mean log-probability of the continuation.
    """
    if not any(row.targets for row in rows):
        return logits_TV.double()
    if all(row.options_share_place for row in rows) and len({len(row.targets) for row in rows}) == 1:
        options_TO = torch.tensor([row.targets for row in rows], device=logits_TV.device)
        return logits_TV.gather(1, options_TO).double()
    by_row = logits_TV.split([len(row.places) for row in rows])
    return [_scores_of_row(of_row_TV, row) for of_row_TV, row in zip(by_row, rows, strict=True)]


def option_scores(rows: Sequence[Row], scores: Sequence[Scores], num_examples: int) -> list[list[Scores]]:
    """Return, for each example, the scores of its rows in the order of its options."""
    of_examples: list[dict[int, Scores]] = [{} for _ in range(num_examples)]
    for row, of_row in zip(rows, scores, strict=True):
        of_examples[row.example][row.option] = of_row
    return [[options[number] for number in sorted(options)] for options in of_examples]


def best_options(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return the number of each example's most likely option or class, int64 [B]."""
    return np.array([int(np.argmax(of_example)) for of_example in scores], dtype=np.int64)


def losses_of(scores: Sequence[np.ndarray], batch: Sequence[Example]) -> np.ndarray:
    """Return each example's loss, nats, float64 [B]: cross-entropy over its options, or minus its only score."""
    with np.errstate(invalid="ignore", over="ignore"):  # a warning would tell that an example overflowed
        return _losses(scores, batch)


def _losses(scores: Sequence[np.ndarray], batch: Sequence[Example]) -> np.ndarray:
    if len({len(of_example) for of_example in scores}) == 1 and len(scores[0]) > 1:
        scores_BO = np.stack(scores)
        labels_B = np.array([example.label for example in batch])
        return np.logaddexp.reduce(scores_BO, axis=1) - scores_BO[np.arange(len(batch)), labels_B]
    return np.array([_loss(of_example, example.label) for of_example, example in zip(scores, batch, strict=True)])


def loss_tensor(
    scores: torch.Tensor | Sequence[torch.Tensor], rows: Sequence[Row], batch: Sequence[Example]
) -> torch.Tensor:
    """Return what `losses_of` returns for the scores of `rows`, float64 [B], as a tensor with its graph."""
    losses = []
    for options, example in zip(option_scores(rows, list(scores), len(batch)), batch, strict=True):
        scores_O = torch.cat(options)
        losses.append(-scores_O[0] if len(scores_O) == 1 else scores_O.logsumexp(0) - scores_O[example.label])
    return torch.stack(losses)


def _scores_of_row(logits_TV: torch.Tensor, row: Row) -> torch.Tensor:
    targets = torch.tensor(row.targets, device=logits_TV.device)
    if row.options_share_place:
        return logits_TV[-1, targets].double()
    log_probs_TV = torch.log_softmax(logits_TV.double(), dim=-1)
    return log_probs_TV.gather(1, targets[:, None]).mean().reshape(1)


def _loss(scores_O: np.ndarray, label: int) -> float:
    if len(scores_O) == 1:
        return float(-scores_O[0])
    return float(np.logaddexp.reduce(scores_O) - scores_O[label])
