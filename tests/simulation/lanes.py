"""Histories of a small sweep, whose trials a lane runs without a cluster: driver, study, ledger and logs are real."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages._rdb import storage as study_storage
from optuna.storages._rdb.storage import _VersionManager

from orchestrator.budget.release_logs import holder_of
from orchestrator.config.models import SweepConfig
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.privacy.ledger.engines import sqlite_url
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import storage_of
from orchestrator.sweep import driver, preparation, rebuild
from tests.simulation.claims import exported, replayed, wrong_with_ledger
from tests.simulation.database import Database
from tests.simulation.history import BUDGET, History, values_of
from tests.simulation.witness import Witness
from tests.support.inline import InlineTune
from trainers.run.context import Workspace

NAME, NUM_TRIALS, NUM_STEPS = "sweep", 2, 2
compare_rules, head_version = Plan.epsilon_by_other_rules, _VersionManager.get_head_version


class LaneHistory(History):
    """A history of one sweep: its driver and its lane are one process, which ends as a whole."""

    REACH = (40, 120, 220)

    def plan(self, name: str) -> Plan:
        return _plan_of(self.root, name)

    def logs(self) -> list[str]:
        return [f"{NAME}/trials/{number:03d}" for number in range(NUM_TRIALS)]

    def _runs(self) -> tuple[str, ...]:
        return (NAME,)

    def _drive(self, name: str) -> None:
        self._setattr(driver, "tune", InlineTune())
        plan = self.plan(name)
        if not storage_of(plan.config).result_file.exists():
            driver.run_sweep(plan)

    def _work_on(self, name: str) -> None:
        self._drive(name)

    def _install(self, setattr_: Callable[..., None]) -> None:
        super()._install(setattr_)
        self._setattr = setattr_
        setattr_(driver, "ray_session", lambda *_: contextlib.nullcontext())
        setattr_(preparation, "check_inputs", lambda config: None)
        for module in (preparation, rebuild):
            setattr_(module, "open_workspace", self._workspace)
        setattr_(study_storage, "time", self.machine)
        # each start would compute them anew, from the configuration and from the files of Optuna alone
        setattr_(Plan, "epsilon_by_other_rules", lambda plan: _epsilon_by_other_rules(self.root))
        setattr_(_VersionManager, "get_head_version", _head_version)

    def _workspace(self, config: Any, **how: Any) -> Workspace:
        private = super()._workspace(config, **how)
        return Workspace(private.examples, private.examples[:4], private.evaluator)

    def _prepare(self) -> None:
        (self.root / "public.jsonl").write_text(json.dumps({"text": "a page"}) + "\n")
        super()._prepare()
        if self.random.random() < 0.8:  # making the tables of the study takes long
            self.database.file.write_bytes(_with_tables(self.database))

    def _drawn(self, ledger: Ledger, run: str) -> int:
        holder = holder_of(int(run.rpartition("/")[2]))
        return sum(number for (_, who), number in ledger.drawn_by_holder(NAME).items() if who == holder)

    def _wrong_at_the_end(self) -> list[str]:
        with Ledger(sqlite_url(self.database.file), create=False) as ledger:
            wrong = wrong_with_ledger(ledger, BUDGET)
            drawn = {run: self._drawn(ledger, run) for run in self.logs()}
        lost = self.num_ended[NAME] + sum(self._num_lost.values())
        return wrong + wrong_with_sweep(self.plan(NAME), self.witness, drawn, lost)


def wrong_with_sweep(plan: Plan, witness: Witness, drawn: dict[str, int], num_lost: int) -> list[str]:
    """Compare ledger, study, logs, result and model of a finished sweep.

    Args:
        drawn: tokens that the ledger gave, by trial.
        num_lost: tokens that its lives may have cost without a release.
    """
    storage, cap = storage_of(plan.config), plan.token_caps()["train_step"].count
    if not storage.result_file.exists():
        return []  # why it cannot finish is known
    trials = optuna.load_study(study_name=NAME, storage=storage.database_url).trials
    result = json.loads(storage.result_file.read_text())
    rows, best, statement = result["trials"], result["best"], result["statement"]
    released = {run: witness.released(run) for run in drawn}
    reserved = {run: witness.reserved(run) for run in drawn}
    theta = replayed(plan.trial(best["values"]), storage.trial_folder(best["number"])) if best else np.zeros(0)
    total = sum(drawn.values())
    checks = {
        "each step is released once, in order": all(one == list(range(len(one))) for one in released.values()),
        "all steps are released, or all tokens are drawn": all(len(one) == NUM_STEPS for one in released.values())
        or total == cap,
        "no more tokens are drawn than the cap has": total <= cap,
        "each reservation in a log has a token of its trial": all(reserved[run] <= drawn[run] for run in drawn),
        "each read has a token of its trial": all(witness.most_reads(run) <= drawn[run] for run in drawn),
        "the end of a life costs at most one token": total - sum(map(len, released.values())) <= num_lost,
        "the study has the planned trials, and all have a score": [trial.state.name for trial in trials]
        == ["COMPLETE"] * NUM_TRIALS,
        "the result tells the study's trials": [row["number"] for row in rows] == list(range(NUM_TRIALS)),
        "the result tells the ledger's tokens": [row["steps_charged"] for row in rows] == list(drawn.values()),
        "the study tells the steps of each log": [trial.user_attrs.get("steps") for trial in trials]
        == [len(one) for one in released.values()],
        "the statement tells the plan's ε": statement["epsilon_here"] == plan.epsilon,
        "there is one reservation": statement["budget"]["num_reservations"] == 1,
        "the model is the replay of the log": np.array_equal(exported(witness, NAME), theta),
    }
    return [f"not so: {claim}" for claim, holds in checks.items() if not holds]


@cache
def _plan_of(root: Path, name: str) -> Plan:
    values = values_of(root, name)
    values["data"] |= {"validation": str(root / "public.jsonl")}
    values["method"] |= {"num_steps": NUM_STEPS}
    space = {"method.learning_rate": {"low": 0.01, "high": 0.1}}
    search = {"num_trials": NUM_TRIALS, "sampler": "random", "seed": 0, "space": space}
    return make_plan(SweepConfig.model_validate(values | {"search": search}))


@cache
def _epsilon_by_other_rules(root: Path) -> dict[str, float]:
    return compare_rules(_plan_of(root, NAME))


_heads: list[str] = []


def _head_version(manager: _VersionManager) -> str:
    if not _heads:
        _heads.append(head_version(manager))
    return _heads[0]


_tables: dict[Path, bytes] = {}


def _with_tables(database: Database) -> bytes:
    """Return the content of a new ledger in which the study's tables are made."""
    if database.file not in _tables:
        optuna.storages.RDBStorage(sqlite_url(database.file)).engine.dispose()
        database.end_process()
        _tables[database.file] = database.file.read_bytes()
    return _tables[database.file]
