"""The kernels of vLLM's second model runner that prepare a pass, for CPUs: plain torch operations.

vLLM 0.32 has this runner for CPUs too, but its kernels of integers (which token is where, which block is whose) are
written in Triton, and pip finds no Triton for CPUs. vLLM lets a platform replace kernels; these are the ones
that scoring, `prompt_logprobs` and greedy generation launch. They follow the arguments of vLLM's own, and refuse what
they lack: random sampling, and several groups of a cache.
"""

import ctypes
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch

_RUNNER = "vllm.v1.worker.gpu."


@cache
def use_cpu_kernels() -> None:
    """Replace the kernels, once in a process, if this vLLM computes on a CPU and has no Triton for it."""
    from vllm.platforms import current_platform
    from vllm.triton_utils import HAS_TRITON

    if HAS_TRITON or not current_platform.is_cpu():
        return
    from vllm.triton_utils import triton
    from vllm.triton_utils.dispatcher import register_kernels
    from vllm.utils.math_utils import next_power_of_2

    import_module("vllm.v1.worker.cpu.shm")  # vLLM's own changes for CPUs precede the runner
    config: Any = import_module("vllm.config.vllm")
    config.HAS_TRITON = True  # it refuses this runner otherwise
    triton.next_power_of_2 = next_power_of_2  # what stands for the missing package lacks it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM looks at every name of every module, and some are deprecated
        register_kernels({_RUNNER + name: kernel for name, kernel in _KERNELS.items()})


def _apply_write(
    output: torch.Tensor, stride: int, rows: Any, starts: Any, contents: Any, ends: Any, groups: Any, **_: Any
) -> None:
    """Write slices of `contents` into rows of `output`, each from its start."""
    _require_one_group(groups is None)
    sizes = ends.diff(prepend=ends.new_zeros(1))
    within = torch.arange(int(ends[-1])) - _repeated(ends - sizes, sizes)
    output.view(-1)[_repeated(rows.long() * stride + starts, sizes) + within] = contents[: len(within)]


def _gather_block_tables(
    rows: torch.Tensor, sources: Any, targets: Any, strides: Any, num_blocks: torch.Tensor, *_: Any, **__: Any
) -> None:
    """Copy each row's block numbers to its place in the pass."""
    _require_one_group(len(sources) == 1)
    shape = (num_blocks.shape[1], int(strides[0]))
    _table_at(targets, shape)[: len(rows)] = _table_at(sources, shape)[rows]


def _compute_slot_mappings(
    num_places: int,
    rows: torch.Tensor,
    starts: torch.Tensor,
    positions: torch.Tensor,
    tables: Any,
    strides: Any,
    block_sizes: torch.Tensor,
    enabled: torch.Tensor,
    sharded: Any,
    slots: torch.Tensor,
    *_: Any,
    PAD_ID: int,
    **__: Any,
) -> None:
    """Give each token the place of its key and value in the cache."""
    del num_places, sharded
    _require_one_group(len(tables) == 1 and bool(enabled[0]))
    of_token = _repeated(rows, starts[: len(rows) + 1].diff())
    table, size = _table_at(tables, (int(rows.max()) + 1, int(strides[0]))), int(block_sizes[0])
    here = positions[: len(of_token)]
    slots[0, : len(of_token)] = table[of_token, here // size] * size + here % size
    slots[0, len(of_token) :] = PAD_ID


def _prepare_prefill_inputs(
    ids: torch.Tensor,
    next_ids: Any,
    next_stride: Any,
    num_next: Any,
    rows: torch.Tensor,
    starts: torch.Tensor,
    all_ids: torch.Tensor,
    stride: int,
    prompt_sizes: torch.Tensor,
    num_computed: torch.Tensor,
    **_: Any,
) -> None:
    """Copy the tokens of prompts; `next_ids` is for drafts, which nobody makes here."""
    del next_ids, next_stride, num_next, stride
    of_token, positions = _positions(rows, starts, num_computed)
    reads = num_computed[of_token] < prompt_sizes[of_token]
    ids[: len(reads)][reads] = all_ids[of_token[reads], positions[reads]]


def _prepare_pos_seq_lens(
    positions: torch.Tensor, seq_lens: torch.Tensor, rows: Any, starts: Any, num_computed: Any, *_: Any, **__: Any
) -> None:
    """Write each token's position, and each row's length with this pass; 0 after the last row."""
    here = _positions(rows, starts, num_computed)[1]
    positions[: len(here)] = here
    seq_lens[: len(rows)] = num_computed[rows] + starts[: len(rows) + 1].diff()
    seq_lens[len(rows) :] = 0


def _combine_sampled_and_draft_tokens(
    ids: torch.Tensor,
    rows: torch.Tensor,
    last: torch.Tensor,
    starts: torch.Tensor,
    seq_lens: torch.Tensor,
    prompt_sizes: torch.Tensor,
    drafts: Any,
    drafts_stride: Any,
    cu_num_logits: Any,
    places: torch.Tensor,
    **_: Any,
) -> None:
    """Write the place of each row's last token, and there the token that it generated before."""
    del drafts, drafts_stride, cu_num_logits
    places[:] = starts[1 : len(rows) + 1] - 1
    writes = seq_lens[: len(rows)] > prompt_sizes[rows]
    ids[places[writes]] = last[rows[writes], 0].to(ids.dtype)


def _get_num_sampled_and_rejected(
    num_sampled: torch.Tensor, num_rejected: Any, seq_lens: Any, cu_num_logits: Any, rows: Any, prompt_sizes: Any
) -> None:
    """Let each row sample one token, but none if its prompt goes on in the next pass."""
    del cu_num_logits
    num_sampled[seq_lens[: len(rows)] < prompt_sizes[rows]] = 0
    num_rejected.zero_()


def _post_update(
    rows: torch.Tensor,
    num_computed: torch.Tensor,
    last: torch.Tensor,
    counts: Any,
    counts_stride: Any,
    sampled: torch.Tensor,
    sampled_stride: Any,
    num_sampled: torch.Tensor,
    num_rejected: Any,
    starts: torch.Tensor,
    all_ids: torch.Tensor,
    stride: Any,
    total: torch.Tensor,
    **_: Any,
) -> None:
    """Append what was sampled; `counts` is for penalties, which nobody asks for here."""
    del counts, counts_stride, sampled_stride, num_rejected, stride
    num_computed[rows] += starts[: len(rows) + 1].diff()
    new = num_sampled > 0
    rows, tokens = rows[new], sampled[new, 0]
    last[rows, 0] = tokens
    all_ids[rows, total[rows].long()] = tokens.to(all_ids.dtype)
    total[rows] += 1


def _gumbel_sample(best: torch.Tensor, _a: Any, highest: torch.Tensor, *others: Any, **__: Any) -> None:
    """Choose the likeliest token."""
    logits, _, rows, _, _, temperature = others[7:13]
    if temperature[rows].any():
        raise ValueError("dpzo's kernels for CPUs choose the likeliest token; expected temperature 0")
    highest.fill_(-torch.inf)
    highest[:, 0], best[:, 0] = logits.float().max(dim=-1)


def _prompt_logprobs_token_ids(
    targets: torch.Tensor, starts: Any, rows: Any, num_computed: Any, all_ids: torch.Tensor, *_: Any, **__: Any
) -> None:
    """Write the token after each token."""
    of_token, positions = _positions(rows, starts, num_computed)
    targets[: len(of_token)] = all_ids[of_token, (positions + 1).clamp(max=all_ids.shape[1] - 1)]


def _topk_log_softmax(
    output: torch.Tensor, logits: torch.Tensor, stride: Any, ids: torch.Tensor, *_: Any, **__: Any
) -> None:
    del stride
    output[:] = logits.float().log_softmax(dim=-1).gather(1, ids)


def _ranks(output: torch.Tensor, logits: torch.Tensor, stride: Any, ids: torch.Tensor, *_: Any, **__: Any) -> None:
    del stride
    output[:] = (logits >= logits.gather(1, ids[:, None])).sum(dim=-1)


def _positions(rows: Any, starts: Any, num_computed: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row of each token of the pass, and its position in the row."""
    sizes = starts[: len(rows) + 1].diff()
    of_token = _repeated(rows, sizes)
    within = torch.arange(len(of_token)) - _repeated(starts[: len(rows)], sizes)
    return of_token, within + num_computed[of_token]


def _repeated(values: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Repeat each value; torch starts all threads for this, which takes far longer on a busy machine."""
    return torch.from_numpy(np.repeat(values.numpy(), times.numpy()))


def _table_at(pointers: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return the int32 table at the first of these addresses."""
    memory = (ctypes.c_int32 * (shape[0] * shape[1])).from_address(int(pointers[0]))
    return torch.from_numpy(np.ctypeslib.as_array(memory)).view(shape)


def _require_one_group(is_one: bool) -> None:
    if not is_one:
        raise ValueError("dpzo's kernels for CPUs know one group of a cache; this model has several")


_KERNELS: Mapping[str, Callable[..., None]] = {
    "buffer_utils._apply_write_kernel": _apply_write,
    "block_table._gather_block_tables_kernel": _gather_block_tables,
    "block_table._compute_slot_mappings_kernel": _compute_slot_mappings,
    "input_batch._prepare_prefill_inputs_kernel": _prepare_prefill_inputs,
    "input_batch._prepare_pos_seq_lens_kernel": _prepare_pos_seq_lens,
    "input_batch._combine_sampled_and_draft_tokens_kernel": _combine_sampled_and_draft_tokens,
    "input_batch._get_num_sampled_and_rejected_kernel": _get_num_sampled_and_rejected,
    "input_batch._post_update_kernel": _post_update,
    "sample.gumbel._gumbel_sample_kernel": _gumbel_sample,
    "sample.prompt_logprob._prompt_logprobs_token_ids_kernel": _prompt_logprobs_token_ids,
    "sample.logprob._topk_log_softmax_kernel": _topk_log_softmax,
    "sample.logprob._ranks_kernel": _ranks,
}
