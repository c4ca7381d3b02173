"""Adds directions to CPU tensors with numba kernels, on as many threads as torch uses.

The threads are Python's, not those of numba's `parallel=True`: its GNU OpenMP layer kills a process that forks after a
parallel call, and its workqueue layer aborts if two threads call at once. The kernels release the GIL, and the pool is
dropped after a fork. A thread that becomes free takes the next chunk, since other work may keep a core busy; which
thread takes a chunk changes no bit.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch

from trainers.directions.backends import cpu_kernels, cpu_rounding
from trainers.directions.backends.cpu_streaming import ALIGNMENT
from trainers.directions.counter import Direction, Float32Directions, stream
from trainers.directions.rounding import Rounding

CHUNK = 1 << 18  # elements that one thread takes at a time; a multiple of 128
MIN_PARALLEL = 1 << 17  # elements below which waking a thread costs more than it saves
MIN_STREAMED = 1 << 19  # elements below which weights are written through the caches

Task = tuple[Any, ...]  # kernel, start, stop, arrays


def write_perturbed(
    tensors: Iterable[tuple[str, torch.Tensor, torch.Tensor]],
    direction: Direction,
    scale: np.float32,
    update: Float32Directions,
) -> None:
    terms, tasks = [*update, (direction, scale)], []
    for name, live, master in tensors:
        half = () if live.dtype == torch.float32 else (live.dtype == torch.bfloat16,)
        arrays = _flat(live), _flat(master), *_arrays(terms, name), *half
        tasks += _chunks(_writer(live, master, direction), master.numel(), *arrays)
    run(tasks)


def add_directions(masters: Iterable[tuple[str, torch.Tensor]], terms: Float32Directions) -> None:
    tasks = []
    for name, master in masters:
        tasks += _chunks(cpu_kernels.add_in_place, master.numel(), _flat(master), *_arrays(terms, name))
    run(tasks)


def add_rounded(masters: Iterable[tuple[str, torch.Tensor]], terms: Float32Directions, rounding: Rounding) -> None:
    tasks = []
    for name, master in masters:
        key = np.array(rounding.stream(name), np.uint64)
        arrays = _flat(master), *_arrays(terms, name), key
        tasks += _chunks(cpu_rounding.add_rounded, master.numel(), *arrays)
    run(tasks)


def _writer(live: torch.Tensor, master: torch.Tensor, direction: Direction) -> Callable[..., None]:
    """Return a kernel. Streaming does not help small weights, which may stay in a cache, or slow normal values."""
    kernels: Any = cpu_kernels if master.dtype == torch.float32 else cpu_rounding
    if live.dtype != torch.float32:
        return kernels.write_half
    large_and_aligned = live.numel() >= MIN_STREAMED and live.data_ptr() % ALIGNMENT == 0
    if kernels is cpu_kernels and direction.kind == "rademacher" and large_and_aligned:
        return cpu_kernels.stream_float32
    return kernels.write_float32


def _arrays(terms: Float32Directions, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return streams uint64 [K, 4], whether each is Gaussian bool [K], and factors float32 [K]."""
    streams = np.array([stream(direction, name) for direction, _ in terms], np.uint64)
    are_gaussian = np.array([direction.kind != "rademacher" for direction, _ in terms])
    return streams, are_gaussian, np.array([factor for _, factor in terms], np.float32)


def _flat(tensor: torch.Tensor) -> np.ndarray:
    """View a contiguous tensor as one row of float32, or of uint16 for half precision, which numba lacks."""
    flat = tensor.detach().reshape(-1)
    return (flat if flat.dtype == torch.float32 else flat.view(torch.uint16)).numpy()


def _chunks(kernel: Callable[..., None], numel: int, *arrays: Any) -> list[Task]:
    return [(kernel, start, min(start + CHUNK, numel), *arrays) for start in range(0, numel, CHUNK)]


def run(tasks: Sequence[Task]) -> None:
    """Call kernel(start, stop, *arrays) for every task, on this thread and torch.get_num_threads() - 1 others."""
    left = deque(tasks)

    def work() -> None:
        while True:
            try:
                kernel, *arguments = left.popleft()
            except IndexError:
                return
            kernel(*arguments)

    is_large = sum(stop - start for _, start, stop, *_ in tasks) >= MIN_PARALLEL
    helpers = [_pool().submit(work) for _ in range(torch.get_num_threads() - 1 if is_large else 0)]
    try:
        work()
    finally:  # no helper may outlive the call: it writes into the caller's tensors
        left.clear()
        for helper in helpers:
            if not helper.cancel():
                helper.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="dpzo-directions")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
