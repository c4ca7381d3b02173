"""What the benchmarks share: timing in turn, peak memory, numbers from a fresh process, and a table of results."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from rich.table import Table


def times_in_turn(
    contestants: Mapping[str, Callable[[int], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Call the contestants in turn, `repeats` times after a warm-up; return the seconds of each call by contestant.

    A busy machine slows down all contestants alike, so that ratios of their times stay comparable. A contestant is
    called with the number of the repeat.
    """
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, run in contestants.items():
            started = clock()
            run(repeat)
            synchronize()
            if repeat:  # the first call compiles kernels and touches memory
                times[name].append(clock() - started)
    return times


def median_seconds(
    contestants: Mapping[str, Callable[[int], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median of `times_in_turn` of each contestant."""
    return {name: statistics.median(times) for name, times in times_in_turn(contestants, repeats, clock).items()}


def peak_resident_gigabytes() -> float:
    """Return the peak resident memory of this process in GB."""
    status = Path("/proc/self/status").read_text()  # getrusage would include the process that started this one
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1e6  # pyright: ignore[reportOptionalSubscript]


def number_from_fresh_process(script: str, *arguments: object) -> float:
    """Run a script with arguments in a new process and return the last number that it prints."""
    command = [sys.executable, script, *map(str, arguments)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def result_table(title: str, *columns: str) -> Table:
    """Return an empty table; the first column is aligned left, the others, which hold numbers, right."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table
