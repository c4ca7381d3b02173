"""One history: a few lives of two runs on one budget, each with a fault; then all is well, and both runs finish."""

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

import numpy as np
import pytest

from orchestrator.config.models import LedgeredConfig
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError, LedgerUnreachable
from orchestrator.privacy.ledger import clock, drawer, engines
from orchestrator.privacy.ledger.budget import BudgetTerms
from orchestrator.privacy.ledger.engines import sqlite_url
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage import files, paths
from orchestrator.storage.results import finished_result
from orchestrator.sweep import single_run, trial
from tests.simulation.database import Database
from tests.simulation.disk import Disk, put_in_place
from tests.simulation.machine import FAULTS, Fault, FaultKind, Killed, Machine
from tests.simulation.witness import Witness, WitnessedModel
from tests.support.quadratic import Quadratic, example
from tests.support.runs import run_config
from trainers.config.mechanism import mechanism_plan
from trainers.evaluators import tensor_file
from trainers.mechanism import release_log
from trainers.mechanism.release_log import Stopped
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun

NUM_STEPS, SPARE = 3, 1
NUM_EXAMPLES, BUDGET = 20, "people"
RUNS = ("first", "second", "third")  # the budget has room for two
ROOM = 2.5
_new_ledgers: dict[Path, bytes] = {}  # with the budget alone


def config_of(root: Path, name: str) -> LedgeredConfig:
    """Return the configuration of a run, of a few steps."""
    values = run_config(
        method__num_steps=NUM_STEPS,
        method__num_directions=2,
        data__num_examples=NUM_EXAMPLES,
        privacy__expected_batch_size=5,
        privacy__spare_steps=SPARE,
        performance__snapshot_steps=2,
    ).model_dump()
    values["data"] |= {"train": str(root / "people.jsonl")}
    return LedgeredConfig.model_validate(values | {"name": name, "storage_path": str(root), "budget": {"name": BUDGET}})


@cache
def plan_of(root: Path, name: str) -> Plan:
    return make_plan(config_of(root, name))


class History:
    """A history from its seed, in an empty folder. `run` returns what went wrong, which should be nothing.

    Args:
        setattr_: as that of pytest's MonkeyPatch.
        faults: that the lives meet.
        max_lives: before all is well.
    """

    def __init__(
        self,
        seed: int,
        root: Path,
        setattr_: Callable[..., None],
        faults: Sequence[FaultKind] = FAULTS,
        max_lives: int = 5,
    ) -> None:
        self.seed, self.root, self._faults, self._max_lives = seed, root, faults, max_lives
        self.random = random.Random(seed)
        self.machine = Machine(seed)
        self.disk = Disk(self.machine, root)
        self.database = Database(self.machine, root / paths.LEDGER_FILE)
        self.witness = Witness(self.disk)
        self.outcomes: list[str] = []
        self.num_ended: Counter[str] = Counter()  # lives that something ended, by run
        self._num_lost: Counter[str] = Counter()  # releases that an older log does not know, by run
        self._old: dict[Path, bytes] = {}  # earlier contents of the ledger and of logs
        self.machine.intruder = self._intrude
        self._install(setattr_)

    def run(self) -> list[str]:
        with self.database.installed():
            self._prepare()
            for _ in range(self.random.randint(1, self._max_lives)):
                self._happen_between_lives()
                self.live(self.random.choice(RUNS[:2]), self._fault())
            self._finish()
            return [*self.witness.problems, *self._wrong_at_the_end()]

    def _finish(self) -> None:
        """Let both runs finish, now that all is well; a third one has no room."""
        for name in RUNS[:2]:
            outcome = self.live(name, None)
            if "clock went backwards" in outcome:
                with Ledger(sqlite_url(self.database.file)) as ledger:
                    ledger.accept_clock(BUDGET)
                outcome = self.live(name, None)
            if outcome != "finished":
                self.witness.problems.append(f"{name}: cannot finish: {outcome}")
        if self.random.random() < 0.2 and "is reserved and" not in (outcome := self.live(RUNS[2], None)):
            self.witness.problems.append(f"{RUNS[2]}: has no room in the budget, and is not refused: {outcome}")

    def live(self, name: str, fault: Fault | None) -> str:
        """Let a process take a run as far as it comes, and return how it ended."""
        with self.machine.process(fault):
            outcome = _outcome_of(partial(self._drive, name))
        self.outcomes.append(f"{name}: {fault and fault.kind} at {fault and fault.at}: {outcome}")
        self.num_ended[name] += outcome != "finished"
        self.database.end_process()
        if fault is not None and fault.kind == "power":
            self.disk.lose_power()
            self.database.lose_power()
        return outcome

    def _drive(self, name: str) -> None:
        plan = plan_of(self.root, name)
        if finished_result(plan.config) is None:
            single_run.run_training(plan)

    def _fault(self) -> Fault:
        kind = self.random.choice(self._faults)
        at = self.random.randint(1, self.random.choice((12, 40, 120)))
        return Fault(kind, at, self.random.randint(1, 5))

    def _intrude(self) -> None:
        """Live as a second process beside another one: the other run, the same one, or a worker that was left over."""
        name = self.random.choice(RUNS[:2])
        drive = self._drive if self.random.random() < 0.7 else self._work_on
        fault = Fault("kill", self.random.randint(1, 30)) if self.random.random() < 0.3 else None
        with self.machine.process(fault):
            outcome = _outcome_of(partial(drive, name))
        self.num_ended[name] += outcome != "finished"
        self.outcomes.append(f"{name}, beside: {outcome}")

    def _work_on(self, name: str) -> None:
        """Take a run without the lock of its folder, as a worker does whose driver is dead."""
        plan = plan_of(self.root, name)
        if finished_result(plan.config) is None:
            single_run.PrivateRun(plan, paths.storage_of(plan.config)).take()

    def _happen_between_lives(self) -> None:
        """Move the clock, keep copies, or put an older copy back."""
        if self.random.random() < 0.15:
            self.machine.shift_clock(self.random.choice((1, 3, 400, -1, -3, -400)))
        for path in (self.database.file, *map(self.witness.log_of, RUNS[:2])):
            if path.exists() and self.random.random() < 0.3:
                self._old.setdefault(path, path.read_bytes())
        unfinished = [name for name in RUNS[:2] if not (self.root / name / "result.json").exists()]
        if unfinished and self._old and self.random.random() < 0.2:
            self._put_back(self.random.choice(sorted(self._old)), self.random.choice(unfinished))

    def _put_back(self, path: Path, unfinished: str) -> None:
        old = self._old.pop(path)
        if path == self.database.file:
            self._put_ledger_back(old, unfinished)
        elif path == self.witness.log_of(unfinished):
            before = len(self.witness.released(unfinished))
            self.disk.restore(path, old)
            self.witness.set_back(unfinished)
            self._num_lost[unfinished] += before - len(self.witness.released(unfinished))

    def _put_ledger_back(self, old: bytes, name: str) -> None:
        """Start a run on an older ledger: refused if a log knows of more tokens; then the newest one is restored."""
        newest = self.database.file.read_bytes()
        self.database.file.write_bytes(old)
        with Ledger(sqlite_url(self.database.file)) as ledger:
            drawn = {run: sum(ledger.drawn_by_holder(run).values()) for run in RUNS[:2]}
        self.database.end_process()
        is_behind = any(self.witness.reserved(run) > drawn[run] for run in RUNS[:2])
        outcome = self.live(name, None)
        if is_behind and "by its own log" not in outcome and "clock" not in outcome:
            self.witness.problems.append(f"{name}: a ledger that was set back is not refused: {outcome}")
        if is_behind:
            self.database.file.write_bytes(newest)

    def _prepare(self) -> None:
        (self.root / "people.jsonl").write_text(json.dumps({"text": "people"}) + "\n")
        if _new_ledgers.get(self.root):
            self.database.file.write_bytes(_new_ledgers[self.root])
            return
        limit = ROOM * plan_of(self.root, RUNS[0]).epsilon
        terms = BudgetTerms(name=BUDGET, epsilon=limit, delta=0.5, num_units=NUM_EXAMPLES)
        with Ledger(sqlite_url(self.database.file)) as ledger:
            ledger.create_budget(terms)
        self.database.end_process()
        _new_ledgers[self.root] = self.database.file.read_bytes()

    def _install(self, setattr_: Callable[..., None]) -> None:
        """Put machine, disk and witness below the driver."""
        put_in_place(self.disk, [release_log, files, tensor_file], setattr_)
        for module in (release_log, drawer, paths):
            setattr_(module, "time", self.machine)
        setattr_(clock, "today", self.machine.today)
        setattr_(engines, "_BUSY_TIMEOUT_S", 0.0)
        setattr_(engines, "os", SimpleNamespace(register_at_fork=lambda **_: None))  # it would keep each engine
        setattr_(single_run, "check_inputs", lambda config: None)
        setattr_(trial, "open_workspace", self._workspace)
        self.witness.watch(setattr_)

    def _workspace(self, config: Any, **_: Any) -> Workspace:
        examples = [example(number) for number in range(NUM_EXAMPLES)]
        return Workspace(examples, [], WitnessedModel(self.witness, config.name))

    def _wrong_at_the_end(self) -> list[str]:
        wrong = []
        with Ledger(sqlite_url(self.database.file), create=False) as ledger:
            try:
                ledger.verify_all()
            except LedgerCorruptError as error:
                wrong.append(f"the chain does not verify: {error}")
            limit = ledger.budget(BUDGET).epsilon
            if limit is None or ledger.spent(BUDGET).epsilon > limit:
                wrong.append("more ε is reserved than the budget has")
            for name in {entry.name for entry in ledger.reservations()}:
                wrong += [f"{name}: {what}" for what in self._wrong_with(ledger, name)]
        return wrong

    def _wrong_with(self, ledger: Ledger, name: str) -> list[str]:
        """Compare the ledger, the log, the model and what was seen of a run."""
        reserved, released = self.witness.reserved(name), self.witness.released(name)
        drawn, cap = ledger.drawn(name, "train_step"), plan_of(self.root, name).token_caps()["train_step"].count
        lost = self.num_ended[name] + self._num_lost[name]
        checks = {
            "each step is released once, in order": released == list(range(len(released))),
            "all steps are released, or all tokens are drawn": len(released) == NUM_STEPS or drawn == cap,
            "no more tokens are drawn than the cap has": drawn <= cap,
            "each reservation in the log has a token": len(released) <= reserved <= drawn,
            "each read has a token": self.witness.reads[name] <= drawn,
            "the end of a life costs at most one token": drawn - len(released) <= lost,
            "the model is the replay of the log": np.array_equal(self._exported(name), self._replayed(name)),
        }
        return [f"not so: {claim}" for claim, holds in checks.items() if not holds]

    def _exported(self, name: str) -> np.ndarray:
        path = self.root / name / "model" / "theta.npy"
        return np.load(path) if path.exists() else np.empty(0)

    def _replayed(self, name: str) -> np.ndarray:
        config, model, none = config_of(self.root, name), Quadratic(), LocalTokens(0)
        plan = mechanism_plan(config, config.privacy.noise_multiplier)
        context = RunContext(Workspace([], [], model), config, plan, Tokens(none, none), self.root / name)
        run = ZerothOrderRun(context)
        with run.log:
            run.replay()
        return model.theta


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


def wrong_in(seed: int, root: Path, faults: Sequence[FaultKind] = FAULTS) -> list[str]:
    """Run a history in a folder, which is emptied before, and return what went wrong."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        return History(seed, root, patch.setattr, faults).run()
