"""Sees what is drawn, read, summed and used, and compares it with what the disk holds at that moment.

A run is named by the folder of its log below the storage folder: `first`, or `sweep/trials/000` for a trial.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.budget.accounted_run import LedgerTokens
from orchestrator.budget.release_logs import RUN_HOLDER
from tests.simulation.disk import Disk
from tests.support.inline import Exported
from trainers.mechanism.noise import ExactNoise
from trainers.mechanism.release_log import LOG_NAME, ReleaseLog
from trainers.run import step as step_module
from trainers.run.method import Method
from trainers.run.step import StepContext

Entry = dict[str, Any]


class Witness:
    """Remembers through all lives of all runs; `problems` says what must not have happened."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.problems = disk, []
        self.tokens: Counter[str] = Counter()  # that the ledger gave, by run
        self.reads: Counter[tuple[str, int]] = Counter()  # steps that read private rows, by run and rank
        self.models: dict[tuple[str, int], Exported] = {}  # the last one, by run and rank
        self._reads_by_log: Counter[tuple[str, int]] = Counter()  # of them, those that the log on the disk may know
        self._used: dict[tuple[str, int], list[int]] = {}
        self._sums: defaultdict[str, dict[int, np.ndarray]] = defaultdict(dict)  # of this step, by run and rank
        self._noise: defaultdict[int, list[np.ndarray]] = defaultdict(list)  # of this step, by process

    def watch(self, setattr_: Callable[..., None]) -> None:
        """Put the witness into the code that draws tokens, sums, and uses releases."""
        draw, init, update = LedgerTokens.draw, Method.__init__, Method.update

        def seen_draw(tokens: LedgerTokens, step: int) -> None:
            draw(tokens, step)
            self.tokens[_run_of(tokens)] += 1

        def seen_init(method: Method, config: Any, plan: Any, evaluator: Any, log: Any, *ranks: Any) -> None:
            method.run = self._run(log.path)  # type: ignore[attr-defined]
            if isinstance(evaluator, WitnessedModel):
                evaluator.run = method.run  # type: ignore[attr-defined]
                self.models[evaluator.run, evaluator.rank] = evaluator
            init(method, config, plan, evaluator, log, *ranks)

        def seen_update(method: Method, step: int, noisy_K: np.ndarray) -> None:
            self._use(method.run, step, noisy_K.tolist())  # type: ignore[attr-defined]
            update(method, step, noisy_K)

        setattr_(LedgerTokens, "draw", seen_draw)
        setattr_(Method, "__init__", seen_init)
        setattr_(Method, "update", seen_update)
        self._watch_sums(setattr_)

    def _watch_sums(self, setattr_: Callable[..., None]) -> None:
        private_sum, noise = step_module._private_sum, ExactNoise.draw
        reserve, release = ReleaseLog.reserve, ReleaseLog.release
        machine = self.disk.machine

        def seen_sum(context: StepContext, step: int) -> np.ndarray:
            sum_K = private_sum(context, step)
            self._sums[self._run(context.log.path)][context.ranks.rank] = sum_K.copy()
            return sum_K

        def seen_noise(law: ExactNoise, plan: Any) -> np.ndarray:
            noise_K = noise(law, plan)
            self._noise[machine.process_number].append(noise_K.copy())
            return noise_K

        def seen_reserve(log: ReleaseLog, kind: Any, index: int) -> None:
            self._sums[self._run(log.path)].clear()
            self._noise[machine.process_number].clear()
            reserve(log, kind, index)

        def seen_release(log: ReleaseLog, kind: Any, index: int, noisy_K: np.ndarray) -> None:
            run = self._run(log.path)
            parts = [*self._sums[run].values(), *self._noise[machine.process_number]]
            if len(self._noise[machine.process_number]) != 1 or not np.array_equal(noisy_K, sum(parts)):
                self.problems.append(f"{run}: release {index} is not the sum of all ranks with one noise")
            release(log, kind, index, noisy_K)

        setattr_(step_module, "_private_sum", seen_sum)
        setattr_(ExactNoise, "draw", seen_noise)
        setattr_(ReleaseLog, "reserve", seen_reserve)
        setattr_(ReleaseLog, "release", seen_release)

    def log_of(self, run: str) -> Path:
        return self.disk.root / run / LOG_NAME

    def entries(self, run: str) -> list[Entry]:
        """Return the whole lines of a log that the disk holds for certain, but the first."""
        lines = self.disk.content_on_disk(self.log_of(run)).splitlines(keepends=True)
        return [json.loads(line) for line in lines[1:] if line.endswith(b"\n")]

    def reserved(self, run: str) -> int:
        """Return the number of steps that a log has reserved."""
        return sum(entry["type"] == "RESERVE" and entry["kind"] == "step" for entry in self.entries(run))

    def released(self, run: str) -> list[int]:
        """Return the steps that a log has released, in its order."""
        entries = self.entries(run)
        return [entry["index"] for entry in entries if entry["type"] == "RELEASE" and entry["kind"] == "step"]

    def most_reads(self, run: str) -> int:
        """Return the number of steps in which the rank that read most has read private rows."""
        return max((number for (name, _), number in self.reads.items() if name == run), default=0)

    def read(self, run: str, rank: int) -> None:
        """See a step in which a rank reads private rows."""
        self.disk.machine.operate("compute")
        self.reads[run, rank] += 1
        self._reads_by_log[run, rank] += 1
        if self.reads[run, rank] > self.tokens[run]:
            self.problems.append(f"{run}: rows were read without a token")
        if self._reads_by_log[run, rank] > self.reserved(run):
            self.problems.append(f"{run}: rows were read before the reservation was on disk")

    def set_back(self, run: str) -> None:
        """Hear that an older log of a run was put back: it may take steps again, each with a token of its own."""
        reserved, known = self.reserved(run), self.released(run)
        self._reads_by_log.update({key: reserved - self._reads_by_log[key] for key in self.reads if key[0] == run})
        self._used = {key: value for key, value in self._used.items() if key[0] != run or key[1] in known}

    def _run(self, log: Path) -> str:
        return log.parent.relative_to(self.disk.root).as_posix()

    def _use(self, run: str, step: int, units: list[int]) -> None:
        self.disk.machine.operate("compute")
        known = [entry["units"] for entry in self.entries(run) if _is_release(entry, step)]
        if known != [units]:
            self.problems.append(f"{run}: step {step} was used before its release was on disk")
        if self._used.setdefault((run, step), units) != units:
            self.problems.append(f"{run}: step {step} was released a second time, with other noise")


def _run_of(tokens: LedgerTokens) -> str:
    name, holder = tokens._drawer.name, tokens._drawer.holder
    return name if holder == RUN_HOLDER else f"{name}/trials/{holder.removeprefix('trial-')}"


def _is_release(entry: Entry, step: int) -> bool:
    return entry["type"] == "RELEASE" and entry["kind"] == "step" and entry["index"] == step


class WitnessedModel(Exported):
    """The quadratic model of a rank, which tells the witness of each step that reads private rows.

    `run` is whose step it takes.
    """

    def __init__(self, witness: Witness, rank: int = 0) -> None:
        super().__init__()
        self._witness, self.rank, self.run = witness, rank, ""

    def probe(self, batch: Any, probes: Any) -> np.ndarray:
        self._witness.read(self.run, self.rank)
        return super().probe(batch, probes)
