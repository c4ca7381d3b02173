"""Logits of label rows from vLLM's model runner: the rows become one batch of prompts, and nothing is sampled.

The runner gets what the engine's scheduler would give it (`passes`). The engine itself queues no request and draws no
token, and the head computes the places that predict only. Every pass gets its cache blocks anew, zeroed (`cache`), so
that none sees what another left there.

In half precision the shape of a matrix product decides how its sums are rounded: by 1e-2 nats, other examples of the
batch would move a loss. There every pass has the same number of tokens, and the head the same number of rows; extra
rows are padding (the transformers evaluator does the same in `padding`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from trainers.evaluators.rows import Row
from trainers.evaluators.scores import row_scores
from trainers.evaluators.vllm.graphs import Capture
from trainers.evaluators.vllm.passes import Passes

FIXED_PLACES = 64  # rows of the head's input in half precision


class Visit(NamedTuple):
    """A row to be read, and the adapter to read it with, or None."""

    row: Row
    adapter: Any


class Scorer:
    """Passes over rows on one worker.

    Args:
        runner: vLLM's model runner, without requests.
        max_tokens: largest pass, in tokens; a longer row is a pass of its own.
        fixed_tokens: every pass has a multiple of this; None if the size of a pass changes no rounding.
        capture: of passes that repeat; None launches every pass.
    """

    def __init__(
        self, runner: Any, *, max_tokens: int, fixed_tokens: int | None = None, capture: Capture | None = None
    ) -> None:
        self._passes, self._fixed = Passes(runner, capture), fixed_tokens
        self.repeating = self._passes.repeating
        self._max_tokens = min(max_tokens, fixed_tokens or max_tokens)
        self._max_rows, self._longest = runner.scheduler_config.max_num_seqs, runner.max_model_len
        self._largest_pass = runner.scheduler_config.max_num_batched_tokens
        self._compute_logits = runner.model.compute_logits
        if self._fixed:  # room for the rows that pad a pass
            self._max_rows -= -(-self._fixed // self._longest)

    def scores(self, visits: Sequence[Visit]) -> list[np.ndarray]:
        """Return the scores of each row (`scores.row_scores`); an empty list on a worker without logits."""
        scores: list[np.ndarray] = []
        for group in self._groups(visits):
            logits = self.logits(group)
            if logits is not None:
                scores += row_scores(logits, [visit.row for visit in group])
        return scores

    def logits(self, visits: Sequence[Visit]) -> torch.Tensor | None:
        """Return the logits at the places of one pass, row after row, [places, V]; None on a worker without logits."""
        read = [*visits, *self._padding(visits)] if self._fixed else visits
        states, starts = self._passes.run([(visit.row.ids, visit.adapter) for visit in read])
        places = [start + place for start, visit in zip(starts, visits, strict=False) for place in visit.row.places]
        if not self._fixed:
            return self._compute_logits(states[places])
        parts = []
        for first in range(0, len(places), FIXED_PLACES):
            here = places[first : first + FIXED_PLACES]
            logits = self._compute_logits(states[[*here, *here[:1] * (FIXED_PLACES - len(here))]])
            parts += [] if logits is None else [logits[: len(here)]]
        return torch.cat(parts) if parts else None

    def _padding(self, visits: Sequence[Visit]) -> Iterator[Visit]:
        """Yield padding rows, which make the size of a pass a multiple of the fixed number of tokens."""
        assert self._fixed
        tokens = sum(len(visit.row.ids) for visit in visits)
        missing = min(-tokens % self._fixed, self._largest_pass - tokens)
        while missing:
            size = min(missing, self._longest)
            yield Visit(Row(0, 0, (0,) * size, (), options_share_place=False), None)
            missing -= size

    def _groups(self, visits: Sequence[Visit]) -> Iterator[list[Visit]]:
        group: list[Visit] = []
        tokens = blocks = 0
        for visit in visits:
            size = len(visit.row.ids)
            tokens, blocks = tokens + size, blocks + self._passes.blocks_of(size)
            if group and (
                tokens > self._max_tokens or blocks > self._passes.num_blocks or len(group) == self._max_rows
            ):
                yield group
                group, tokens, blocks = [], size, self._passes.blocks_of(size)
            group.append(visit)
        if group:
            yield group
