"""Logits of label rows from vLLM's model runner: the rows become one batch of prompts, and nothing is sampled.

The runner gets what the engine's scheduler would give it. The engine itself queues no request and draws no token, and
the head computes the places that predict only. Every pass gets its cache blocks anew, zeroed (`cache`), so that none
sees what another left there.

In half precision the shape of a matrix product decides how its sums are rounded: by 1e-2 nats, other examples of the
batch would move a loss. There every pass has the same number of tokens, and the head the same number of rows; extra
rows are padding (the transformers evaluator does the same in `padding`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from vllm import SamplingParams
from vllm.v1.core.sched.output import CachedRequestData, NewRequestData, SchedulerOutput

from trainers.evaluators.rows import Row
from trainers.evaluators.scores import row_scores

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
    """

    def __init__(self, runner: Any, *, max_tokens: int, fixed_tokens: int | None = None) -> None:
        self._runner, self._fixed = runner, fixed_tokens
        self._max_tokens = min(max_tokens, fixed_tokens or max_tokens)
        (group,) = runner.kv_cache_config.kv_cache_groups
        self._block_size, self._num_blocks = group.kv_cache_spec.block_size, runner.kv_cache_config.num_blocks
        self._max_rows, self._longest = runner.scheduler_config.max_num_seqs, runner.max_model_len
        if self._fixed:  # room for the rows that pad a pass
            self._max_rows -= -(-self._fixed // self._longest)
        self._sampling = SamplingParams(max_tokens=1, temperature=0.0)

    def scores(self, visits: Sequence[Visit]) -> list[np.ndarray]:
        """Return the scores of each row (`scores.row_scores`); an empty list on a worker without logits."""
        scores: list[np.ndarray] = []
        for group in self._passes(visits):
            logits = self.logits(group)
            if logits is not None:
                scores += row_scores(logits, [visit.row for visit in group])
        return scores

    def logits(self, visits: Sequence[Visit]) -> torch.Tensor | None:
        """Return the logits at the places of one pass, row after row, [places, V]; None on a worker without logits."""
        read = [*visits, *self._padding(visits)] if self._fixed else visits
        names = [str(number) for number in range(len(read))]
        self._runner.execute_model(self._schedule(names, read))
        state, self._runner.execute_model_state = self._runner.execute_model_state, None
        order = [int(name) for name in self._runner.input_batch.req_ids]  # a backend may put the shortest first
        self._runner.execute_model(_finished(names))
        assert not self._runner.input_batch.num_reqs
        starts = np.empty(len(read), dtype=np.int64)
        starts[order] = np.cumsum([0, *(len(read[number].row.ids) for number in order[:-1])])
        places = [
            int(start) + place for start, visit in zip(starts, visits, strict=False) for place in visit.row.places
        ]
        if self._fixed:
            return self._logits_of_fixed_shape(state.hidden_states, places)
        if len(places) > len(visits):
            return self._runner.model.compute_logits(state.hidden_states[places])
        if state.logits is None or order == sorted(order):
            return state.logits  # of each row's last token, which the runner always computes
        return state.logits[np.argsort(order)]

    def _logits_of_fixed_shape(self, states: torch.Tensor, places: list[int]) -> torch.Tensor | None:
        parts = []
        for start in range(0, len(places), FIXED_PLACES):
            here = places[start : start + FIXED_PLACES]
            logits = self._runner.model.compute_logits(states[[*here, *here[:1] * (FIXED_PLACES - len(here))]])
            parts += [] if logits is None else [logits[: len(here)]]
        return torch.cat(parts) if parts else None

    def _padding(self, visits: Sequence[Visit]) -> Iterator[Visit]:
        """Yield padding rows, which make the size of a pass a multiple of the fixed number of tokens."""
        assert self._fixed
        tokens = sum(len(visit.row.ids) for visit in visits)
        missing = min(-tokens % self._fixed, self._runner.scheduler_config.max_num_batched_tokens - tokens)
        while missing:
            size = min(missing, self._longest)
            yield Visit(Row(0, 0, (0,) * size, (), options_share_place=False), None)
            missing -= size

    def _passes(self, visits: Sequence[Visit]) -> Iterator[list[Visit]]:
        group: list[Visit] = []
        tokens = blocks = 0
        for visit in visits:
            size = len(visit.row.ids)
            tokens, blocks = tokens + size, blocks + self._blocks_of(size)
            if group and (tokens > self._max_tokens or blocks >= self._num_blocks or len(group) == self._max_rows):
                yield group
                group, tokens, blocks = [], size, self._blocks_of(size)
            group.append(visit)
        if group:
            yield group

    def _blocks_of(self, tokens: int) -> int:
        return -(-tokens // self._block_size)

    def _schedule(self, names: Sequence[str], visits: Sequence[Visit]) -> SchedulerOutput:
        requests, block = [], 1  # block 0 is the engine's null block
        for name, (row, adapter) in zip(names, visits, strict=True):
            after = block + self._blocks_of(len(row.ids))
            requests.append(
                NewRequestData(
                    req_id=name,
                    prompt_token_ids=list(row.ids),
                    mm_features=[],
                    sampling_params=self._sampling,
                    pooling_params=None,
                    block_ids=(list(range(block, after)),),
                    num_computed_tokens=0,
                    lora_request=adapter,
                )
            )
            block = after
        sizes = {name: len(visit.row.ids) for name, visit in zip(names, visits, strict=True)}
        return SchedulerOutput(
            scheduled_new_reqs=requests,
            scheduled_cached_reqs=CachedRequestData.make_empty(),
            num_scheduled_tokens=sizes,
            total_num_scheduled_tokens=sum(sizes.values()),
            scheduled_spec_decode_tokens={},
            scheduled_encoder_inputs={},
            finished_req_ids=set(),
            free_encoder_mm_hashes=[],
        )


def _finished(names: Sequence[str]) -> SchedulerOutput:
    nothing = SchedulerOutput.make_empty()
    nothing.finished_req_ids = set(names)
    return nothing
