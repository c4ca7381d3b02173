"""One forward pass of vLLM's second model runner over rows of tokens, without the engine's scheduler.

All that knows the runner's inside is here: how a pass is scheduled, where its rows lie in the states that it leaves,
and how those are dropped. vLLM 0.33's own `vllm bench forward` does the same.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from vllm import SamplingParams
from vllm.v1.core.sched.output import CachedRequestData, NewRequestData, SchedulerOutput

from trainers.evaluators.vllm.graphs import Capture, Launches

Read = tuple[Sequence[int], Any]
"""Tokens of a row, and the adapter to read it with, or None."""


class Passes:
    """Passes of one worker.

    Args:
        runner: vLLM's model runner, without requests.
        capture: of passes that repeat; None launches every pass.

    Raises:
        ValueError: it is not the runner that dpzo knows, or its cache has several groups.
    """

    def __init__(self, runner: Any, capture: Capture | None = None) -> None:
        if not hasattr(runner, "req_states"):
            raise ValueError(
                f"performance.evaluator: vllm: expected vLLM's second model runner, got {type(runner).__qualname__}. "
                "Install vLLM 0.32, or use performance.evaluator: transformers"
            )
        groups = runner.kv_cache_config.kv_cache_groups
        if len(groups) != 1:
            raise ValueError(
                f"performance.evaluator: vllm: expected one group of cache blocks, this model has {len(groups)}. Use "
                "performance.evaluator: transformers"
            )
        self._runner = runner
        self._block_size = groups[0].kv_cache_spec.block_size
        self.num_blocks = runner.kv_cache_config.num_blocks - 1  # block 0 is the engine's null block
        self._launches = None if capture is None else Launches(runner.model, capture)
        self._sampling = SamplingParams(max_tokens=1, temperature=0.0)

    def blocks_of(self, tokens: int) -> int:
        """Return the number of cache blocks that a row takes."""
        return -(-tokens // self._block_size)

    def repeating(self) -> AbstractContextManager[None]:
        """Return a block within which the same rows are read again and again, over weights that move."""
        return nullcontext() if self._launches is None else self._launches.repeating()

    def run(self, reads: Sequence[Read]) -> tuple[torch.Tensor, list[int]]:
        """Return the last hidden states, [tokens, width], and the first token of each row in them."""
        names = [str(number) for number in range(len(reads))]
        self._drop_rows()  # the engine's own stay until its next pass
        if self._launches is not None:
            self._launches.of_rows(tuple((tuple(ids), adapter and adapter.lora_int_id) for ids, adapter in reads))
        self._runner.execute_model(self._schedule(names, reads))
        state, self._runner.execute_model_state = self._runner.execute_model_state, None
        self._drop_rows()
        of_pass = state.input_batch  # its rows stand in an order of the runner's own
        starts = dict(zip(of_pass.req_ids, of_pass.query_start_loc_np.tolist(), strict=False))
        return state.hidden_states, [starts[name] for name in names]

    def _drop_rows(self) -> None:
        nothing = SchedulerOutput.make_empty()
        nothing.finished_req_ids = set(self._runner.req_states.req_id_to_index)
        if nothing.finished_req_ids:
            self._runner.execute_model(nothing)
        assert not self._runner.req_states.num_reqs

    def _schedule(self, names: Sequence[str], reads: Sequence[Read]) -> SchedulerOutput:
        requests, block = [], 1
        for name, (ids, adapter) in zip(names, reads, strict=True):
            after = block + self.blocks_of(len(ids))
            requests.append(
                NewRequestData(
                    req_id=name,
                    prompt_token_ids=list(ids),
                    prefill_token_ids=list(ids),
                    mm_features=[],
                    sampling_params=self._sampling,
                    pooling_params=None,
                    block_ids=(list(range(block, after)),),
                    num_computed_tokens=0,
                    lora_request=adapter,
                )
            )
            block = after
        sizes = {name: len(ids) for name, (ids, _) in zip(names, reads, strict=True)}
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
