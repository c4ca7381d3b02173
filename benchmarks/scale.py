"""What several workers gain and cost in a step, and how soon a lane takes its next trial.

    PYTHONPATH=. python benchmarks/scale.py                 # all three tables; about five minutes on two cores
    PYTHONPATH=. python benchmarks/scale.py --without-ray   # the first two tables

* Overhead: one process, two workers, and two that do not seal their messages, in turn, with losses that take no time.
* Steps: 1, 2 and 4 processes over gloo on this machine, with real sampling, clip, exact noise, log and fsync. The
  losses come from a simulated device that sleeps for a given time for each example and probe. It uses no core of this
  machine, so that the table shows how the work divides, not how many cores there are.
* Lanes (scale_lanes.py): trials of a real sweep on one group of two workers, and trials that each start Ray Train.

Bytes are counted twice: those that the step exchanges (payload), and those that the kernel counted on this process's
TCP connections in both directions, with gloo's own headers.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import socket
import stat
import statistics
import struct
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from measuring import result_table
from rich.console import Console
from rich.table import Table

from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.directions import WeightedDirections
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.parent import end_with_parent
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun
from trainers.workers.exchange import Exchange
from trainers.workers.ranks import Ranks
from trainers.workers.sealing import KEY_BYTES, TAG_BYTES

HOST = "127.0.0.1"
NUM_EXAMPLES, BATCH, WARM_UP = 20_000, 64, 30
_BYTES_SENT, _BYTES_RECEIVED = 200, 128  # places in the kernel's struct tcp_info


@dataclass(frozen=True)
class Setting:
    """A run: the number of workers, how many of them divide a batch's probes, and the seconds that a loss takes."""

    size: int
    group_size: int = 1
    loss_s: float = 0.0
    num_directions: int = 16
    num_steps: int = 200
    sealed: bool = True

    @property
    def config(self) -> RunConfig:
        return RunConfig.model_validate(
            {
                "name": "scale",
                "data": {"train": "none.jsonl", "num_examples": NUM_EXAMPLES},
                "task": {"template": "{text}", "label_column": "label", "labels": ["a", "b"]},
                "model": {"path": "none", "head": "sequence-classification"},
                "method": {
                    "name": "dp-zo" if self.num_directions == 1 else "dp-aggzo",
                    "num_steps": self.num_steps,
                    "num_directions": self.num_directions,
                },
                "privacy": {"noise_multiplier": 1.0, "expected_batch_size": BATCH},
                "resources": {"check_steps": self.num_steps},
            }
        )


class Unsealed:
    """In the place of the cipher: messages of the same length, in the clear."""

    def encrypt(self, nonce: bytes, message: bytes, _: None) -> bytes:
        return message + bytes(TAG_BYTES)

    def decrypt(self, nonce: bytes, message: bytes, _: None) -> bytes:
        return message[:-TAG_BYTES]


class Device:
    """A `LossEvaluator` that sleeps for the time that a device would take."""

    parameter_count = 1
    parameters: Any = None

    def __init__(self, loss_s: float) -> None:
        self._loss_s = loss_s

    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        if self._loss_s:
            time.sleep(self._loss_s * len(batch) * len(probes))
        return np.zeros((len(probes), len(batch)))

    def apply(self, update: WeightedDirections, *, momentum: float = 0.0) -> None: ...

    def reset(self) -> None: ...

    def public_outputs(self, points: Sequence[OutputPoint]) -> list[float]:
        return [0.0] * len(points)

    def public_answers(self) -> list[float]:
        return [0.0, 1.0]

    def state_digest(self) -> str:
        return "the same everywhere"


class Timed:
    """An exchange that adds up the seconds of its calls, which include the wait for other ranks."""

    def __init__(self, exchange: Any) -> None:
        self._exchange, self.rank, self.size, self.seconds = exchange, exchange.rank, exchange.size, 0.0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._exchange, name)

        def timed(*values: Any, **how: Any) -> Any:
            began = time.perf_counter()
            answer = call(*values, **how)
            self.seconds += time.perf_counter() - began
            return answer

        return timed


@dataclass(frozen=True)
class Measured:
    """Seconds of each step, the part of them in the exchange, and bytes a step that this rank sent and received."""

    seconds: list[float]
    exchange_seconds: list[float]
    bytes_per_step: float


def tcp_bytes() -> int:
    """Return what this process's TCP connections have sent and received so far."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed since, or a socket of another kind
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as copy:
                info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
            total += sum(struct.unpack_from("<Q", info, place)[0] for place in (_BYTES_SENT, _BYTES_RECEIVED))
    return total


def run_rank(pipe: Any, port: int, rank: int, setting: Setting, folder: str) -> None:
    """Take a run as one of its ranks, and send a `Measured` through the pipe."""
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    end_with_parent()
    ranks: Any = Ranks()
    timed: Any = None
    if setting.size > 1:
        store = TCPStore(HOST, port, is_master=False)
        ranks = Ranks.meet(store, bytes(KEY_BYTES), rank, setting.size, group_size=setting.group_size, address=HOST)
        if not setting.sealed:
            ranks._exchange._seal._cipher = Unsealed()
        timed = Timed(ranks._exchange)
        ranks._exchange = cast(Exchange, timed)
    config, device = setting.config, Device(setting.loss_s)
    examples = [Example((number,), (), 0) for number in range(NUM_EXAMPLES)]
    tokens = LocalTokens(setting.num_steps)
    workspace: Any = Workspace(examples, [], device)  # pyright: ignore[reportArgumentType]
    plan = mechanism_plan(config, config.privacy.noise_multiplier)
    context = RunContext(workspace, config, plan, Tokens(tokens, tokens), Path(folder) / str(rank), ranks)
    run = ZerothOrderRun(context)
    times, exchanged, counted = [], [], []

    def on_step(steps: int) -> None:
        times.append(time.perf_counter())
        exchanged.append(timed.seconds if timed else 0.0)
        if steps in (WARM_UP, setting.num_steps - 1):
            counted.append(tcp_bytes())

    with run.log:
        list(run.segments(on_step))
    steps = setting.num_steps - 1 - WARM_UP
    seconds, of_exchange = (np.diff(clock[WARM_UP:-1]).tolist() for clock in (times, exchanged))
    pipe.send(Measured(seconds, of_exchange, (counted[1] - counted[0]) / steps))
    ranks.close()


def measured(setting: Setting) -> list[Measured]:
    """Start the ranks of a run and return what each of them measured."""
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch.distributed", "trainers.run.zeroth_order"])  # imports them once
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory() as folder:
        ends = [context.Pipe() for _ in range(setting.size)]
        processes = [
            context.Process(target=run_rank, args=(theirs, store.port, rank, setting, folder))
            for rank, (_, theirs) in enumerate(ends)
        ]
        for process, (_, theirs) in zip(processes, ends, strict=True):
            process.start()
            theirs.close()  # so that recv below raises when the process dies
        found = [ours.recv() for ours, _ in ends]
        for process in processes:
            process.join()
    return found


def payload(setting: Setting) -> float:
    """Return the bytes that a rank other than 0 sends and receives a step: go, sum, release, and its losses."""
    words = 1 + 2 * setting.num_directions
    if setting.group_size > 1:
        mean = BATCH / (setting.size // setting.group_size)
        words += 4 + 2 * setting.num_directions * math.ceil(mean + 10 * math.sqrt(mean) + 24) / setting.group_size
    return 8.0 * words if setting.size > 1 else 0.0


def steps_table(loss_s: float) -> Table:
    """Measure steps a second and bytes for 1, 2 and 4 workers."""
    title = f"Steps: K = 16, B = {BATCH}, {1e3 * loss_s:g} ms an example and probe"
    heads = ("workers", "divided", "steps a second", "speed-up", "payload B/step", "on the wire B/step", "64·K")
    table = result_table(title, *heads)
    alone = 0.0
    for size, group_size in ((1, 1), (2, 1), (2, 2), (4, 1), (4, 4), (4, 2)):
        setting = Setting(size, group_size, loss_s, num_steps=80)
        ranks = measured(setting)
        speed = 1.0 / statistics.mean(ranks[0].seconds)
        alone = alone or speed
        divided = {1: "data", size: "directions"}.get(group_size, "both") if size > 1 else "–"
        wire = statistics.mean(rank.bytes_per_step for rank in ranks)
        cells = (f"{speed:.2f}", f"{speed / alone:.2f}", f"{payload(setting):.0f}", f"{wire:.0f}", f"{64 * 16}")
        table.add_row(str(size), divided, *cells)
    return table


def overhead_table(rounds: int) -> Table:
    """Measure a step whose losses cost nothing, with one process and with two, in turn."""
    title = "A step without losses, ms (each round: p50; last row: median of the rounds)"
    heads = ("K", "one process", "two workers", "difference", "in the exchange (rank 0)", "not sealed", "sealed : not")
    table = result_table(title, *heads)
    for num_directions in (1, 16):
        found = []
        for _ in range(rounds):
            one, two, plain = (
                measured(Setting(size, num_directions=num_directions, sealed=sealed))[0]
                for size, sealed in ((1, True), (2, True), (2, False))
            )
            alone, both, exchange, unsealed = (
                1e3 * statistics.median(seconds)
                for seconds in (one.seconds, two.seconds, two.exchange_seconds, plain.seconds)
            )
            found.append((alone, both, both - alone, exchange, unsealed, both / unsealed))
        middle = [statistics.median(column) for column in zip(*found, strict=True)]
        for label, row in [*((str(num_directions), row) for row in found), ("median", middle)]:
            table.add_row(label, *(f"{value:.2f}" for value in row))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss-ms", type=float, default=0.1, help="time of one example at one probe")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the overhead table")
    parser.add_argument("--without-ray", action="store_true", help="leave out the table of lanes")
    arguments = parser.parse_args()
    console = Console()
    console.print(overhead_table(arguments.rounds))
    console.print(steps_table(1e-3 * arguments.loss_ms))
    if not arguments.without_ray:
        from scale_lanes import lanes_table  # loads Ray, which the processes above do without

        console.print(lanes_table())


if __name__ == "__main__":
    main()
