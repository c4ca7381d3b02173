"""One history: a few faults of one run or two on one budget; then all is well, and every run that began finishes."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.config.models import LedgeredConfig
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError, LedgerUnreachable
from orchestrator.privacy.ledger import clock, drawer, engines, tables
from orchestrator.privacy.ledger.budget import BudgetTerms
from orchestrator.privacy.ledger.engines import sqlite_url
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage import files, paths, progress
from orchestrator.storage.results import finished_result
from orchestrator.sweep import single_run, trial
from tests.simulation.claims import wrong_with_ledger, wrong_with_run
from tests.simulation.database import Database
from tests.simulation.disk import Disk, put_in_place
from tests.simulation.group import this_rank
from tests.simulation.machine import FAULTS, Entropy, Fault, FaultKind, Killed, Machine
from tests.simulation.witness import Witness, WitnessedModel
from tests.support.quadratic import example
from tests.support.runs import run_config
from trainers.evaluators import tensor_file
from trainers.mechanism import noise, release_log, sampling
from trainers.mechanism.release_log import Stopped
from trainers.run.context import Workspace
from trainers.workers import ranks

NUM_STEPS, SPARE = 3, 1
NUM_EXAMPLES, BUDGET = 20, "people"
RUNS = ("first", "second", "third")  # the budget has room for two
ROOM = 2.5
_new_ledgers: dict[tuple[Path, type], bytes] = {}  # with the budget alone, by folder and kind of history


def values_of(root: Path, name: str) -> dict[str, Any]:
    """Return the settings of a run, of a few steps."""
    values = run_config(
        method__num_steps=NUM_STEPS,
        method__num_directions=2,
        data__num_examples=NUM_EXAMPLES,
        privacy__expected_batch_size=5,
        privacy__spare_steps=SPARE,
        performance__snapshot_steps=2,
    ).model_dump()
    values["data"] |= {"train": str(root / "people.jsonl")}
    return values | {"name": name, "storage_path": str(root), "budget": {"name": BUDGET}}


@cache
def plan_of(root: Path, name: str) -> Plan:
    return make_plan(LedgeredConfig.model_validate(values_of(root, name)))


class History:
    """A history from its seed, in an empty folder. `run` returns what went wrong, which should be nothing.

    Args:
        setattr_: as that of pytest's MonkeyPatch.
        faults: that the lives meet; of the kind of the history when None.
    """

    FAULTS: Sequence[FaultKind] = FAULTS
    REACH = (12, 40, 70)  # operations within which a fault comes; a run without faults has about 60

    def __init__(
        self, seed: int, root: Path, setattr_: Callable[..., None], faults: Sequence[FaultKind] | None = None
    ) -> None:
        self.seed, self.root, self._faults = seed, root, faults or self.FAULTS
        self.random = random.Random(seed)
        self.machine = Machine(seed)
        self.disk = Disk(self.machine, root)
        self.database = Database(self.machine, root / paths.LEDGER_FILE)
        self.witness = Witness(self.disk)
        self.names = self._runs()
        self.outcomes: list[str] = []
        self.num_ended: Counter[str] = Counter()  # lives that something ended, by run
        self._num_lost: Counter[str] = Counter()  # releases that an older log does not know, by run
        self._old: dict[Path, bytes] = {}  # earlier contents of the ledger and of logs
        self.machine.intruder = self._intrude
        self._install(setattr_)

    def run(self) -> list[str]:
        with self.database.installed():
            self._prepare()
            for _ in range(self.random.choice((1, 1, 1, 2, 2, 3))):
                self._happen_between_lives()
                self.live(self.random.choice(self.names), self._fault())
            self._finish()
            return [*self.witness.problems, *self._wrong_at_the_end()]

    def plan(self, name: str) -> Plan:
        """Return the plan of a run."""
        return plan_of(self.root, name)

    def logs(self) -> list[str]:
        """Return the runs that may have a log, as the witness names them."""
        return list(self.names)

    def _runs(self) -> tuple[str, ...]:
        return RUNS[:1] if self.random.random() < 0.8 else RUNS[:2]

    def _finish(self) -> None:
        """Let all runs finish, now that all is well; one more has no room."""
        for name in self.names:
            self.witness.models.clear()
            outcome = self.live(name, None)
            if "clock went backwards" in outcome:
                with Ledger(sqlite_url(self.database.file)) as ledger:
                    ledger.accept_clock(BUDGET)
                outcome = self.live(name, None)
            if outcome != "finished":
                self.witness.problems.append(f"{name}: cannot finish: {outcome}")
        is_full = len(self.names) == 2
        if is_full and self.random.random() < 0.2 and "is reserved and" not in (one := self.live(RUNS[2], None)):
            self.witness.problems.append(f"{RUNS[2]}: has no room in the budget, and is not refused: {one}")

    def live(self, name: str, fault: Fault | None) -> str:
        """Let a process take a run as far as it comes, and return how it ended."""
        with self.machine.process(fault):
            outcome = _outcome_of(partial(self._drive, name))
            self.disk.end_process()
        self.outcomes.append(f"{name}: {fault and fault.kind} at {fault and fault.at}: {outcome}")
        self.num_ended[name] += outcome != "finished"
        self.database.end_process()
        if fault is not None and fault.kind == "power":
            self.disk.lose_power()
            self.database.lose_power()
        return outcome

    def _drive(self, name: str) -> None:
        plan = self.plan(name)
        if finished_result(plan.config) is None:
            single_run.run_training(plan)

    def _fault(self) -> Fault:
        kind = self.random.choice(self._faults)
        at = self.random.randint(1, self.random.choice(self.REACH))
        return Fault(kind, at, self.random.randint(1, 5))

    def _intrude(self) -> None:
        """Live as a second process beside another one: the other run, the same one, or a worker that was left over."""
        name = self.random.choice(self.names)
        drive = self._drive if self.random.random() < 0.7 else self._work_on
        fault = Fault("kill", self.random.randint(1, 30)) if self.random.random() < 0.3 else None
        with self.machine.process(fault):
            outcome = _outcome_of(partial(drive, name))
            self.disk.end_process()
        self.num_ended[name] += outcome != "finished"
        self.outcomes.append(f"{name}, beside: {outcome}")

    def _work_on(self, name: str) -> None:
        """Take a run without the lock of its folder, as a worker does whose driver is dead."""
        plan = self.plan(name)
        if finished_result(plan.config) is None:
            single_run.PrivateRun(plan, paths.storage_of(plan.config)).take()

    def _happen_between_lives(self) -> None:
        """Move the clock, keep copies, or put an older copy back."""
        if self.random.random() < 0.15:
            self.machine.shift_clock(self.random.choice((1, 3, 400, -1, -3, -400)))
        for path in (self.database.file, *map(self.witness.log_of, self.logs())):
            if path.exists() and self.random.random() < 0.3:
                self._old.setdefault(path, path.read_bytes())
        unfinished = [name for name in self.names if not (self.root / name / "result.json").exists()]
        if unfinished and self._old and self.random.random() < 0.2:
            self._put_back(self.random.choice(sorted(self._old)), self.random.choice(unfinished))

    def _put_back(self, path: Path, unfinished: str) -> None:
        old = self._old.pop(path)
        if path == self.database.file:
            self._put_ledger_back(old, unfinished)
            return
        run = path.parent.relative_to(self.root).as_posix()
        if run.partition("/")[0] == unfinished:
            before = len(self.witness.released(run))
            self.disk.restore(path, old)
            self.witness.set_back(run)
            self._num_lost[run] += before - len(self.witness.released(run))

    def _put_ledger_back(self, old: bytes, name: str) -> None:
        """Start a run on an older ledger: refused if a log knows of more tokens; then the newest one is restored."""
        newest = self.database.file.read_bytes()
        self.database.file.write_bytes(old)
        with Ledger(sqlite_url(self.database.file)) as ledger:
            drawn = {run: self._drawn(ledger, run) for run in self.logs()}
        self.database.end_process()
        is_behind = any(self.witness.reserved(run) > drawn[run] for run in drawn)
        outcome = self.live(name, None)
        if is_behind and "by its own log" not in outcome and "clock" not in outcome:
            self.witness.problems.append(f"{name}: a ledger that was set back is not refused: {outcome}")
        if is_behind:
            self.database.file.write_bytes(newest)

    def _drawn(self, ledger: Ledger, run: str) -> int:
        return sum(ledger.drawn_by_holder(run).values())

    def _prepare(self) -> None:
        (self.root / "people.jsonl").write_text(json.dumps({"text": "people"}) + "\n")
        known = _new_ledgers.get((self.root, type(self)))
        if known is not None:
            self.database.file.write_bytes(known)
            return
        limit = ROOM * self.plan(self.names[0]).epsilon
        terms = BudgetTerms(name=BUDGET, epsilon=limit, delta=0.5, num_units=NUM_EXAMPLES)
        with Ledger(sqlite_url(self.database.file)) as ledger:
            ledger.create_budget(terms)
        self.database.end_process()
        _new_ledgers[self.root, type(self)] = self.database.file.read_bytes()

    def _install(self, setattr_: Callable[..., None]) -> None:
        """Put machine, disk and witness below the driver."""
        put_in_place(self.disk, [release_log, files, tensor_file], setattr_)
        for module in (release_log, drawer, paths, progress):
            setattr_(module, "time", self.machine)
        for module in (noise, sampling, ranks, drawer, paths, tables):
            setattr_(module, "secrets", Entropy(self.machine))
        setattr_(clock, "today", self.machine.today)
        setattr_(engines, "_BUSY_TIMEOUT_S", 0.0)
        setattr_(engines, "os", SimpleNamespace(register_at_fork=lambda **_: None))  # it would keep each engine
        setattr_(single_run, "check_inputs", lambda config: None)
        setattr_(trial, "open_workspace", self._workspace)
        self.witness.watch(setattr_)

    def _workspace(self, config: Any, **_: Any) -> Workspace:
        return Workspace(list(_examples()), [], WitnessedModel(self.witness, this_rank()))

    def _wrong_at_the_end(self) -> list[str]:
        with Ledger(sqlite_url(self.database.file), create=False) as ledger:
            wrong = wrong_with_ledger(ledger, BUDGET)
            for name in {entry.name for entry in ledger.reservations()}:
                lost = self.num_ended[name] + self._num_lost[name]
                wrong += wrong_with_run(ledger, self.plan(name), self.witness, lost)
        return wrong


@cache
def _examples() -> tuple[Any, ...]:
    return tuple(example(number) for number in range(NUM_EXAMPLES))


def _outcome_of(life: Callable[[], None]) -> str:
    try:
        life()
    except Killed:
        return "killed"
    except (Stopped, LedgerUnreachable, OSError) as error:
        return f"stopped: {error}"
    except (LedgerCorruptError, BudgetExceeded, ValueError) as error:
        return f"refused: {error}"
    return "finished"


def wrong_in(
    seed: int, root: Path, faults: Sequence[FaultKind] | None = None, kind: type[History] = History
) -> list[str]:
    """Run a history in a folder, which is emptied before, and return what went wrong."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        return kind(seed, root, patch.setattr, faults).run()
