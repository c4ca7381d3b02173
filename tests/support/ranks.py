"""Ranks that meet over gloo on this machine: threads for what is broken on purpose, processes for the real thing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from torch.distributed import TCPStore

from tests.support.frozen import FrozenNoise
from tests.support.quadratic import Quadratic, example
from tests.support.runs import plan_of
from trainers.config import RunConfig
from trainers.mechanism.noise import Noise
from trainers.mechanism.sampling import Sampler
from trainers.mechanism.tokens import LocalTokens, StepTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun
from trainers.workers.exchange import PeerLost
from trainers.workers.patience import FLOOR_S, Patience
from trainers.workers.ranks import Ranks
from trainers.workers.ray_worker import open_store

HOST = "127.0.0.1"
KEY = bytes(range(32))
HERE = ["tests.support.ranks", "trainers.run.zeroth_order", "torch.distributed"]


class ShardSampler:
    """Hands out this rank's part of the given batches, which are in rows of all ranks together."""

    def __init__(self, batches: Iterable[Sequence[int]], ranks: Ranks, num_units: int) -> None:
        self._batches = iter(batches)
        self._places = {row: place for place, row in enumerate(ranks.shard_of(range(num_units)))}

    def draw(self) -> np.ndarray:
        rows = [self._places[row] for row in next(self._batches) if row in self._places]
        return np.array(rows, dtype=np.int64)


def open_run(
    ranks: Ranks,
    folder: Path,
    config: RunConfig,
    *,
    batches: Iterable[Sequence[int]] | None = None,
    evaluator: Quadratic | None = None,
    tokens: StepTokens | None = None,
    sampler: Sampler | None = None,
    noise: Noise | None = None,
    users: list[str] | None = None,
    num_examples: int = 40,
) -> ZerothOrderRun:
    """Open a run of several ranks on the quadratic model; only rank 0 is given a folder that it may write into."""
    workspace = Workspace([example(n) for n in range(num_examples)], [], evaluator or Quadratic(), users=users)
    tokens = tokens or LocalTokens(config.method.num_steps if ranks.is_rank_0 else 0)
    if batches is not None:
        sampler = ShardSampler(batches, ranks, len(dict.fromkeys(users)) if users else num_examples)
    place = folder if ranks.is_rank_0 else folder / f"nobody-{ranks.rank}"
    context = RunContext(workspace, config, plan_of(config), Tokens(tokens, tokens), place, ranks)
    return ZerothOrderRun(context, sampler=sampler, noise=noise or FrozenNoise(1))


def in_threads(size: int, job: Callable[[Ranks], Any], group_size: int = 1) -> list[Any]:
    """Return what `job` returns, or the error it raises, on each of `size` ranks."""
    store = open_store(HOST)
    results: list[Any] = [None] * size

    def live(rank: int) -> None:
        ranks = None
        try:
            ranks = _meet(store.port, rank, size, group_size)
            results[rank] = job(ranks)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[rank] = error
        finally:
            if ranks is not None:
                ranks.close()

    threads = [threading.Thread(target=live, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a rank hangs"
    return results


class Processes:
    """Processes that live through several runs; each run takes as many as it needs."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(HERE)  # imports torch once
        self._pipes, self._processes = [], []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def __call__(
        self,
        size: int,
        job: Callable[..., Any],
        *args: Any,
        group_size: int = 1,
        lost: int | None = None,
        step_patience_s: float = FLOOR_S,
    ) -> list[Any]:
        """Return what `job(ranks, *args)` returns on each of `size` ranks but the one that is `lost`."""
        store = open_store(HOST)
        for rank in range(size):
            self._pipes[rank].send((store.port, rank, size, group_size, step_patience_s, job, args))
        return [self.answer_of(rank) for rank in range(size) if rank != lost]

    def answer_of(self, rank: int) -> Any:
        """Return what the job returned on one rank, when it has."""
        good, answer = self._pipes[rank].recv()
        assert good, answer
        return answer

    def resume(self, rank: int) -> None:
        """Let a stopped process continue."""
        os.kill(self._processes[rank].pid, signal.SIGCONT)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _serve(pipe: Any) -> None:
    while True:
        port, rank, size, group_size, step_patience_s, job, args = pipe.recv()
        try:
            ranks = _meet(port, rank, size, group_size, Patience(step_patience_s))
            pipe.send((True, job(ranks, *args)))
            ranks.close()
        except Exception:  # noqa: BLE001 - the test shows it
            pipe.send((False, traceback.format_exc()))


def _meet(port: int, rank: int, size: int, group_size: int, patience: Patience | None = None) -> Ranks:
    if size == 1:
        return Ranks()
    store = TCPStore(HOST, port, is_master=False, timeout=timedelta(seconds=30))
    return Ranks.meet(store, KEY, rank, size, group_size=group_size, address=HOST, patience=patience)


def only_lost(results: Sequence[Any]) -> bool:
    """Return whether every rank reported that another one is gone."""
    return all(isinstance(result, PeerLost) for result in results)
