"""Cache blocks that hold zeros when a row receives them.

The last block of a row is filled in part. The CPU kernels multiply the rest of it, keys and values of an earlier pass,
by probability 0, and 0 · NaN is NaN: a row whose activations overflow would change the losses of other examples in
later passes, steps and trials.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import chain
from typing import Any

import torch


def zero_new_blocks(runner: Any) -> None:
    """Make a runner zero the blocks that a pass gives to rows, before the pass.

    All passes go through it: `scoring`, `reference` and `generation`. It costs a write of the rows' keys and values.

    Raises:
        ValueError: a cache has no dimension of blocks.
    """
    num_blocks = runner.kv_cache_config.num_blocks
    if any(num_blocks not in cache.shape for cache in runner.kv_caches):
        raise ValueError(
            "performance.evaluator: this vLLM keeps its cache in a form that cannot be cleaned between passes, so one "
            "example could change the losses of others. Use performance.evaluator transformers."
        )
    runner.execute_model = _on_zeros(runner.execute_model, runner, num_blocks)


def _on_zeros(execute: Callable[..., Any], runner: Any, num_blocks: int) -> Callable[..., Any]:
    @wraps(execute)
    @torch.inference_mode()
    def execute_on_zeros(scheduled: Any, *arguments: Any, **named: Any) -> Any:
        blocks = torch.tensor([*_new_blocks(scheduled)], dtype=torch.long, device=runner.device)
        if len(blocks):
            for cache in runner.kv_caches:
                cache.index_fill_(cache.shape.index(num_blocks), blocks, 0)
        return execute(scheduled, *arguments, **named)

    return execute_on_zeros


def _new_blocks(scheduled: Any) -> Iterator[int]:
    groups = [*(row.block_ids for row in scheduled.scheduled_new_reqs), *scheduled.scheduled_cached_reqs.new_block_ids]
    return chain.from_iterable(block for of_row in groups if of_row is not None for block in of_row)
