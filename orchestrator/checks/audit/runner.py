"""A whole audit: all parts of all cases, in a temporary folder, over one or two processes."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.console import Console

from orchestrator.checks.audit import membership as part3
from orchestrator.checks.audit import residuals as part2
from orchestrator.checks.audit.cases import AuditCase
from orchestrator.checks.audit.real_model import replay_real_model
from orchestrator.checks.audit.replay import replay
from orchestrator.checks.audit.result import AuditResult, CaseResult
from orchestrator.checks.audit.trade_off import TAIL
from orchestrator.cli.views.live import steps_bar

MOST_JOBS = 2
_MEMORY = Path("/dev/shm")  # release logs are fsynced twice a step: 7 times slower on a disk
_LIBRARIES = ("dpzo", "dp-accounting", "numpy", "scipy")

Advance = Callable[[int], None]


def run_audit(
    cases: Sequence[AuditCase], *, runs: int, jobs: int = 1, tail: float = TAIL, console: Console | None = None
) -> AuditResult:
    """Audit every case with `runs` runs without and with the canary each, and the real model once.

    Formal guarantees:
        Of a case whose claim holds, a violation is reported with probability at most 2 · `tail` + 2e-5, and about 0.3 %
        at the usual .025 (see `judge` and `audit_residuals`).
    """
    started = time.monotonic()
    with scratch_folder() as folder, _executor(jobs) as executor:
        with steps_bar(console or Console(quiet=True)) as bar:
            task = bar.add_task("audit", total=sum(_steps(case, runs) for case in cases))
            results = []
            for number, case in enumerate(cases):
                bar.update(task, description=case.label)
                advance = partial(bar.advance, task)
                results.append(_audit_case(case, runs, tail, folder / str(number), executor, advance))
        model = replay_real_model(folder / "real")
    versions = {library: version(library) for library in _LIBRARIES}
    return AuditResult(cases=results, model=model, seconds=time.monotonic() - started, versions=versions)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder for as long as the body runs, in memory where there is a file system for that."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        yield Path(name)


def _audit_case(
    case: AuditCase, runs: int, tail: float, folder: Path, executor: Executor | None, advance: Advance
) -> CaseResult:
    plan = case.plan
    without, present = _play(case, runs, folder / "membership", executor, advance)
    return CaseResult(
        method=case.config.method.name,
        title=case.label,
        noise=case.noise,
        adjacency=case.adjacency,
        sampling_prob=plan.sampling_prob,
        noise_multiplier=case.law.noise_multiplier,
        num_directions=plan.num_directions,
        num_steps=plan.num_steps,
        planned_steps=case.planned_steps,
        delta=case.delta,
        epsilon=case.epsilon,
        replay=replay(case, folder / "replay"),
        residuals=part2.residuals(case, folder / "residuals", advance),
        membership=part3.membership(case, without, present, tail),
    )


def _play(case: AuditCase, runs: int, folder: Path, executor: Executor | None, advance: Advance) -> part3.Scores:
    """Play all runs in chunks, here or in the executor's processes."""
    sizes = [min(part3.CHUNK, runs - start) for start in range(0, runs, part3.CHUNK)]
    played = []
    for scores in _chunks(case, sizes, folder, executor):
        played.append(scores)
        advance(2 * len(scores[0]) * case.plan.num_steps)
    return np.concatenate([one for one, _ in played]), np.concatenate([other for _, other in played])


def _chunks(case: AuditCase, sizes: list[int], folder: Path, executor: Executor | None) -> Iterator[part3.Scores]:
    if executor is None:
        for number, size in enumerate(sizes):
            yield part3.play(case, size, folder / str(number))
        return
    futures = [executor.submit(part3.play, case, size, folder / str(number)) for number, size in enumerate(sizes)]
    for future in as_completed(futures):
        yield future.result()


@contextmanager
def _executor(jobs: int) -> Iterator[Executor | None]:
    """Start processes afresh (a fork of a process with threads may hang), or none for one job."""
    if jobs == 1:
        yield None
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


def _steps(case: AuditCase, runs: int) -> int:
    return 2 * runs * case.plan.num_steps + part2.NUM_RUNS * part2.num_steps(case)
