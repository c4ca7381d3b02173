"""From logits to losses: what each row says of its options, and what an example's loss is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from trainers.evaluators.base import Example
from trainers.evaluators.rows import Row


def row_scores(logits_PV: torch.Tensor, rows: Sequence[Row]) -> list[np.ndarray]:
    """Return each row's scores as `score_tensors` has them, in numpy."""
    scores = score_tensors(logits_PV, rows)
    if isinstance(scores, torch.Tensor):
        return list(scores.cpu().numpy())  # all rows at once
    return [of_row.cpu().numpy() for of_row in scores]


def score_tensors(logits_PV: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor | list[torch.Tensor]:
    """Return each row's scores, float64, from the logits of the rows' places P, row after row; one tensor if all alike.

    A row of a classification head gives all classes' logits, one whose options share a place the options' logits, any
    other the mean log-probability of its continuation.
    """
    if not any(row.targets for row in rows):
        return logits_PV.double()
    if all(row.options_share_place for row in rows) and len({len(row.targets) for row in rows}) == 1:
        options_PO = torch.tensor([row.targets for row in rows], device=logits_PV.device)
        return logits_PV.gather(1, options_PO).double()
    by_row = logits_PV.split([len(row.places) for row in rows])
    return [_scores_of_row(logits_TV, row) for logits_TV, row in zip(by_row, rows, strict=True)]


def losses_of(scores: Sequence[np.ndarray], batch: Sequence[Example]) -> np.ndarray:
    """Return each example's loss, nats, float64 [B]: cross-entropy over its options, or minus a single one's score."""
    if len({len(of_example) for of_example in scores}) == 1 and len(scores[0]) > 1:
        scores_BO = np.stack(scores)
        labels_B = np.array([example.label for example in batch])
        return np.logaddexp.reduce(scores_BO, axis=1) - scores_BO[np.arange(len(batch)), labels_B]
    return np.array([_loss(of_example, example.label) for of_example, example in zip(scores, batch, strict=True)])


def loss_tensor(
    scores: torch.Tensor | Sequence[torch.Tensor], rows: Sequence[Row], batch: Sequence[Example]
) -> torch.Tensor:
    """Return what `losses_of` says of the scores of `rows`, with its graph, float64 [B]."""
    found: list[dict[int, torch.Tensor]] = [{} for _ in batch]
    for row, of_row in zip(rows, scores, strict=True):
        found[row.example][row.option] = of_row
    losses = []
    for options, example in zip(found, batch, strict=True):
        scores_O = torch.cat([options[index] for index in sorted(options)])
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
