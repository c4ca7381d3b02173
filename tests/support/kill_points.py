"""Runs that are killed with SIGKILL at chosen points of a step, again and again, until they have finished.

    python -m tests.support.kill_points FOLDER NUM_KILLS SEED [LEDGER_URL]

A process of its own, without threads, forks one child for each life of a run. In a child every part of a step (token,
log, noise, update) is wrapped, and one of the calls, drawn at random, kills the process: before it, after it, or for a
line of the log in its middle. Parent and children share nothing but the folder. With the URL of a ledger on a server,
release logs lie in its database, and the folder of a run is lost after every second kill. Prints what happened as JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.budget.accounted_run import LedgerTokens, open_accounted_run
from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.models import LedgeredConfig
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import storage_of
from tests.support.quadratic import Quadratic, example
from tests.support.runs import run_config
from trainers.run.context import Workspace

POINTS = (
    "before the token",
    "before RESERVE",
    "in RESERVE",
    "after RESERVE",
    "after noise",
    "in RELEASE",
    "after RELEASE",
    "after apply",
)
NUM_STEPS, NUM_SCORES, SPARE = 12, 3, 400


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killer:
    """Kills this process when it passes `point` for the `countdown`-th time."""

    def __init__(self, point: str, countdown: int) -> None:
        self._point, self._left = point, countdown

    def pass_by(self, point: str) -> bool:
        """Count a passage; return whether this is the one."""
        self._left -= point == self._point
        return point == self._point and self._left == 0

    def wrap(self, owner: Any, name: str, before: str | None = None, after: str | None = None) -> None:
        call = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            if before and self.pass_by(before):
                die()
            result = call(*args, **kwargs)
            if after and self.pass_by(after):
                die()
            return result

        setattr(owner, name, watched)


def settings(folder: Path, name: str, ledger: str | None = None) -> Any:
    """Return the configuration of a run."""
    base = run_config(
        method__num_steps=NUM_STEPS,
        data__validation="private-validation.jsonl",
        score__on="private",
        score__num_examples=20,
        score__times=NUM_SCORES,
        privacy__spare_steps=SPARE,
        privacy__spare_scores=SPARE,
    )
    values = base.model_dump() | {"name": name, "storage_path": str(folder)}
    values["data"] |= {"train": str(folder / "private.jsonl"), "validation": str(folder / "private-validation.jsonl")}
    if ledger is not None:
        values["performance"] |= {"log": "database"}
        values |= {"budget": {"ledger": ledger}}
    return LedgeredConfig.model_validate(values)


def live(folder: Path, name: str, ledger: str | None, killer: Killer) -> None:
    """Take a run as far as it comes."""
    config = settings(folder, name, ledger)
    plan, storage = make_plan(config), storage_of(config)
    reserve_plan(plan, storage)
    workspace = Workspace([example(n) for n in range(100)], [example(n) for n in range(20)], Quadratic())
    run = open_accounted_run(workspace, plan, plan.trial({}), storage, "run", storage.folder)
    watch(run, workspace.evaluator, killer)
    with run.log:
        list(run.segments())
        (storage.folder / "digest").write_text(workspace.evaluator.state_digest())


def watch(run: Any, evaluator: Any, killer: Killer) -> None:
    """Put the killer's points into the parts of a run."""
    killer.wrap(LedgerTokens, "draw", before="before the token", after="before RESERVE")
    killer.wrap(run.log, "reserve", after="after RESERVE")
    killer.wrap(run.log, "release", after="after RELEASE")
    killer.wrap(run._context.noise, "draw", after="after noise")
    killer.wrap(evaluator, "apply", after="after apply")
    write = run.log._file.write

    def torn(line: bytes) -> int:
        if killer.pass_by("in RESERVE" if b'"RESERVE"' in line else "in RELEASE"):
            write(line[: len(line) // 2])
            run.log._file.flush()
            die()
        return write(line)

    run.log._file = Torn(run.log._file, torn)


class Torn:
    """A file whose writes may end in the middle."""

    def __init__(self, file: Any, write: Callable[[bytes], int]) -> None:
        self._file, self.write = file, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def main(folder: Path, num_kills: int, seed: int, ledger: str | None = None) -> None:
    """Kill runs until there were `num_kills` kills, and one at each point."""
    assert make_plan(settings(folder, "any")).epsilon < float("inf")  # certified once; the children inherit the answer
    for name in ("private", "private-validation"):  # the ledger knows a data set by its fingerprint
        (folder / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")
    rng = random.Random(seed)
    kills: Counter[str] = Counter()
    runs = 0
    while kills.total() < num_kills or len(kills) < len(POINTS):
        name, runs = f"run-{runs:03d}", runs + 1
        finished = False
        while not finished:
            point = rng.choice(POINTS)
            finished = lived(partial(live, folder, name, ledger, Killer(point, countdown=rng.randint(1, 8))))
            if not finished:
                kills[point] += 1
                if ledger is not None and kills.total() % 2:
                    shutil.rmtree(folder / name)
    print(json.dumps({"runs": runs, "kills": dict(kills)}))


def lived(life: Callable[[], None]) -> bool:
    """Run a life in a child; return whether it came to its end, and fail if it died of anything but its kill."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            life()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if os.WEXITSTATUS(status) != 0:
        sys.exit(f"a run ended with status {status}")
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
