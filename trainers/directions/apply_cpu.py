"""CPU tensors → numba kernels, on as many threads as torch uses.

The threads are Python's and not those of numba's `parallel=True`: its GNU OpenMP layer kills a process that forks after
a parallel call, its workqueue layer aborts when two threads call at once. The kernels release the GIL, and a pool that
is forgotten after a fork has neither fault. Chunks are handed out as threads become free, because the other trial of a
sweep keeps a core busy now and then; which thread takes a chunk changes no bit.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch

from trainers.directions import kernels_cpu
from trainers.directions.counter import Direction, stream
from trainers.directions.streaming import ALIGNMENT

CHUNK = 1 << 16  # elements that one thread takes at a time; a multiple of 128
MIN_PARALLEL = 1 << 17  # elements below which waking a thread costs more than it saves
MIN_STREAMED = 1 << 19  # elements; fewer are written through the caches

Terms = Sequence[tuple[Direction, np.float32]]

_WRITERS = {
    torch.float32: kernels_cpu.write_float32,
    torch.bfloat16: kernels_cpu.write_bfloat16,
    torch.float16: kernels_cpu.write_float16,
}


def write_perturbed(
    live: torch.Tensor, master: torch.Tensor, direction: Direction, name: str, scale: np.float32, update: Terms = ()
) -> None:
    """Add the update to master, write live ← master + scale · z; arguments as checked by `apply.write_perturbed`."""
    write, target, source = _writer(live, direction), _flat(live), _flat(master)
    terms = _arrays([*update, (direction, scale)], name)
    _run(lambda start, stop: write(start, stop, target, source, *terms), source.size)


def add_directions(master: torch.Tensor, terms: Terms, name: str) -> None:
    """Add every coefficient · z to master; arguments as checked by `apply.add_directions`."""
    values, arrays = _flat(master), _arrays(terms, name)
    _run(lambda start, stop: kernels_cpu.add_in_place(start, stop, values, *arrays), values.size)


def _writer(live: torch.Tensor, direction: Direction) -> Callable[..., None]:
    """Choose a kernel: small weights may stay in a cache until they are used; normal values cost more than memory."""
    large_and_aligned = live.numel() >= MIN_STREAMED and live.data_ptr() % ALIGNMENT == 0
    if live.dtype == torch.float32 and direction.kind == "rademacher" and large_and_aligned:
        return kernels_cpu.stream_float32
    return _WRITERS[live.dtype]


def _arrays(terms: Terms, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return streams uint64 [K, 4], whether each is Gaussian bool [K], and factors float32 [K]."""
    streams = np.array([stream(direction, name) for direction, _ in terms], np.uint64)
    are_gaussian = np.array([direction.kind == "gaussian" for direction, _ in terms])
    return streams, are_gaussian, np.array([factor for _, factor in terms], np.float32)


def _flat(tensor: torch.Tensor) -> np.ndarray:
    """View a contiguous tensor as one row of float32, or of uint16 where numpy has no such type or numba no code."""
    flat = tensor.detach().reshape(-1)
    return (flat if flat.dtype == torch.float32 else flat.view(torch.uint16)).numpy()


def _run(task: Callable[[int, int], None], numel: int) -> None:
    """Call task(start, stop) over all chunks, on the caller's thread and torch.get_num_threads() - 1 others."""
    num_threads = torch.get_num_threads() if numel >= MIN_PARALLEL else 1
    if num_threads == 1:
        task(0, numel)
        return
    starts = deque(range(0, numel, CHUNK))

    def work() -> None:
        while True:
            try:
                start = starts.popleft()
            except IndexError:
                return
            task(start, min(start + CHUNK, numel))

    helpers = [_pool().submit(work) for _ in range(num_threads - 1)]
    try:
        work()
    finally:  # no helper may outlive the call: it writes into the caller's tensors
        starts.clear()
        for helper in helpers:
            if not helper.cancel():
                helper.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="dpzo-directions")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
