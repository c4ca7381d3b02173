"""Threads, forks, fresh processes and a read-only cache change no bit and break nothing."""

import hashlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numba.core import caching

from trainers.directions import Direction, counter
from trainers.directions.apply import add_directions, write_perturbed
from trainers.directions.backends import cpu as apply_cpu
from trainers.directions.backends import cpu_kernels as kernels_cpu
from trainers.directions.backends import torch_ops as apply_torch
from trainers.directions.counter import Stream

NUMEL = 3 * apply_cpu.MIN_PARALLEL + 41
GAUSSIAN, RADEMACHER = Direction(1, 2, 3, "gaussian"), Direction(1, 2, 3, "rademacher")

# The weights come from numpy: torch's own OpenMP operations hang in a process forked after one of them.
IN_ANOTHER_PROCESS = """
import hashlib, os, resource, sys
import numpy, torch
from trainers.directions import Direction
from trainers.directions.backends import cpu as apply_cpu
from trainers.directions.apply import add_directions, write_perturbed

def digest():
    master = torch.from_numpy(numpy.linspace(-1, 1, int(sys.argv[1]), dtype="float32"))
    terms = [(Direction(1, 2, 3, kind), 1e-3) for kind in ("gaussian", "rademacher")]
    add_directions({"w": master}, terms)
    return hashlib.sha256(master.numpy().tobytes()).hexdigest()

torch.set_num_threads(2)
print(digest(), flush=True)
if os.fork() == 0:
    assert apply_cpu._pool.cache_info().currsize == 0
    print(digest(), flush=True)
    os._exit(0)
assert os.wait()[1] == 0

master, live = torch.ones(16_000_000), torch.ones(16_000_000)
write_perturbed({"w": live[:9]}, {"w": master[:9]}, Direction(1, 2, 3, "gaussian"), 1e-3)  # compiles
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_perturbed({"w": live}, {"w": master}, Direction(1, 2, 3, "gaussian"), 1e-3)
add_directions({"w": master}, [(Direction(1, 2, 3, "rademacher"), 1e-3)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(autouse=True)
def _restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def digest(num_threads: int) -> str:
    torch.set_num_threads(num_threads)
    master = torch.from_numpy(np.linspace(-1, 1, NUMEL, dtype=np.float32))
    add_directions({"w": master}, [(GAUSSIAN, 1e-3), (RADEMACHER, 1e-3)])
    return hashlib.sha256(master.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_an_update_in_the_pass_of_a_write_is_the_same_on_every_number_of_threads(num_threads, kind, monkeypatch):
    torch.set_num_threads(num_threads)
    monkeypatch.setattr(apply_cpu, "CHUNK", 128 * 200)
    master = torch.from_numpy(np.linspace(-1, 1, apply_cpu.MIN_STREAMED + 41, dtype=np.float32))
    expected, two_passes, one_pass = master.clone(), torch.empty_like(master), torch.empty_like(master)
    update = [(Direction(4, step, 0, kind), 1e-3) for step in range(3)]
    add_directions({"w": expected}, update)
    write_perturbed({"w": two_passes}, {"w": expected}, RADEMACHER, 1e-3)
    write_perturbed({"w": one_pass}, {"w": master}, RADEMACHER, 1e-3, update)
    assert torch.equal(master, expected)
    assert torch.equal(one_pass, two_passes)


@pytest.mark.parametrize("num_threads", [2, 3, 7])
def test_the_number_of_threads_changes_no_bit(num_threads):
    assert digest(num_threads) == digest(1)


@pytest.mark.parametrize("chunk", [128, 128 * 100, 1 << 18])
def test_the_size_of_a_chunk_changes_no_bit(chunk, monkeypatch):
    expected = digest(1)
    monkeypatch.setattr(apply_cpu, "CHUNK", chunk)
    assert digest(2) == expected


def test_a_fresh_process_and_its_fork_rebuild_the_same_bits_in_little_memory():
    run = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(NUMEL)]
    done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=60)
    *digests, growth_kib = done.stdout.split()
    assert digests == [digest(1)] * 2
    assert int(growth_kib) < 16_000  # the tensors hold 62,500 KiB each


def test_callers_on_several_threads_do_not_disturb_each_other():
    torch.set_num_threads(2)
    master = torch.linspace(-1, 1, NUMEL)
    directions = [Direction(1, step, 0, "gaussian") for step in range(6)]

    def written(direction: Direction) -> torch.Tensor:
        live = torch.empty_like(master)
        write_perturbed({"w": live}, {"w": master}, direction, 1e-3)
        return live

    alone = [written(direction) for direction in directions]
    with ThreadPoolExecutor(4) as callers:
        together = list(callers.map(written, directions))
    assert all(torch.equal(left, right) for left, right in zip(alone, together, strict=True))


def test_blocks_are_counted_with_64_bits():
    key, first = Stream(1, 2, 3, 4), 2**32 - 2
    expected = counter.words(key, first, 4)
    compiled = np.zeros(16, np.uint32)
    kernels_cpu._hash_blocks(first, 4, np.array(key, np.uint64), compiled)
    np.testing.assert_array_equal(compiled.reshape(4, 4), expected)
    in_torch = apply_torch.philox(torch.arange(first, first + 4), key)
    np.testing.assert_array_equal(torch.stack(in_torch, dim=-1).numpy(), expected)


def test_small_tensors_wake_no_thread(monkeypatch):
    torch.set_num_threads(2)
    monkeypatch.setattr(apply_cpu, "_pool", lambda: pytest.fail("a small tensor went to the thread pool"))
    add_directions({"w": torch.zeros(apply_cpu.MIN_PARALLEL - 1)}, [(GAUSSIAN, 1.0)])


def test_an_error_in_a_helper_reaches_the_caller():
    torch.set_num_threads(2)
    caller, failed = threading.get_ident(), threading.Event()

    def fail(start: int, stop: int) -> None:
        if threading.get_ident() != caller:
            failed.set()
            raise FloatingPointError(f"{start} to {stop}")
        assert failed.wait(60)

    with pytest.raises(FloatingPointError):
        apply_cpu.run(apply_cpu._chunks(fail, NUMEL))


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert kernels_cpu.compiled(lambda x: x + 1)(1) == 2
