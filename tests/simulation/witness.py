"""Sees what is drawn, read and used, and compares it with what the disk holds at that moment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.budget.accounted_run import LedgerTokens
from tests.simulation.disk import Disk
from tests.support.inline import Exported
from trainers.mechanism.release_log import LOG_NAME
from trainers.run.method import Method

Entry = dict[str, Any]


class Witness:
    """Remembers through all lives of all runs; `problems` says what must not have happened."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.problems = disk, []
        self.tokens: Counter[str] = Counter()  # that the ledger gave, by run
        self.reads: Counter[str] = Counter()  # steps that read private rows, by run
        self.reads_by_log: Counter[str] = Counter()  # of them, those that the log on the disk may know
        self.used: dict[tuple[str, int], list[int]] = {}

    def watch(self, setattr_: Callable[..., None]) -> None:
        """Put the witness into the code that draws tokens and that uses releases."""
        draw, update, init = LedgerTokens.draw, Method.update, Method.__init__

        def seen_draw(tokens: LedgerTokens, step: int) -> None:
            draw(tokens, step)
            self.tokens[tokens._drawer.name] += 1

        def seen_init(method: Method, config: Any, plan: Any, evaluator: Any, log: Any, *args: Any) -> None:
            method.name_of_run = log.path.parent.name  # type: ignore[attr-defined]
            init(method, config, plan, evaluator, log, *args)

        def seen_update(method: Method, step: int, noisy_K: np.ndarray) -> None:
            self._use(method.name_of_run, step, noisy_K.tolist())  # type: ignore[attr-defined]
            update(method, step, noisy_K)

        setattr_(LedgerTokens, "draw", seen_draw)
        setattr_(Method, "__init__", seen_init)
        setattr_(Method, "update", seen_update)

    def log_of(self, name: str) -> Path:
        return self.disk.root / name / LOG_NAME

    def entries(self, name: str) -> list[Entry]:
        """Return the whole lines of a log that the disk holds for certain, but the first."""
        lines = self.disk.content_on_disk(self.log_of(name)).splitlines(keepends=True)
        return [json.loads(line) for line in lines[1:] if line.endswith(b"\n")]

    def reserved(self, name: str) -> int:
        """Return the number of steps that a log has reserved."""
        return sum(entry["type"] == "RESERVE" and entry["kind"] == "step" for entry in self.entries(name))

    def released(self, name: str) -> list[int]:
        """Return the steps that a log has released, in its order."""
        entries = self.entries(name)
        return [entry["index"] for entry in entries if entry["type"] == "RELEASE" and entry["kind"] == "step"]

    def read(self, name: str) -> None:
        """See a step that reads private rows."""
        self.disk.machine.operate("compute")
        self.reads[name] += 1
        self.reads_by_log[name] += 1
        if self.reads[name] > self.tokens[name]:
            self.problems.append(f"{name}: rows were read without a token")
        if self.reads_by_log[name] > self.reserved(name):
            self.problems.append(f"{name}: rows were read before the reservation was on disk")

    def set_back(self, name: str) -> None:
        """Hear that an older log of a run was put back: it may take steps again, each with a token of its own."""
        self.reads_by_log[name] = self.reserved(name)
        known = self.released(name)
        self.used = {key: value for key, value in self.used.items() if key[0] != name or key[1] in known}

    def _use(self, name: str, step: int, units: list[int]) -> None:
        self.disk.machine.operate("compute")
        known = [entry["units"] for entry in self.entries(name) if _is_release(entry, step)]
        if known != [units]:
            self.problems.append(f"{name}: step {step} was used before its release was on disk")
        if self.used.setdefault((name, step), units) != units:
            self.problems.append(f"{name}: step {step} was released a second time, with other noise")


def _is_release(entry: Entry, step: int) -> bool:
    return entry["type"] == "RELEASE" and entry["kind"] == "step" and entry["index"] == step


class WitnessedModel(Exported):
    """The quadratic model of a run, which tells the witness of each step that reads private rows."""

    def __init__(self, witness: Witness, name: str) -> None:
        super().__init__()
        self._witness, self._name = witness, name

    def probe(self, batch: Any, probes: Any) -> np.ndarray:
        self._witness.read(self._name)
        return super().probe(batch, probes)
