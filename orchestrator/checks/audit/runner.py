"""A whole audit: the three checks of every case over several processes, the replay on a real model, and the extras."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from orchestrator.checks.audit.cases import AuditCase, GradientClaim
from orchestrator.checks.audit.extras import audit_caps, audit_scores, audit_users
from orchestrator.checks.audit.gradients import audit_gradients
from orchestrator.checks.audit.membership import audit_membership, play_runs
from orchestrator.checks.audit.real_model import replay_real_model
from orchestrator.checks.audit.replay import audit_replay
from orchestrator.checks.audit.residuals import NUM_RUNS, audit_residuals, num_steps
from orchestrator.checks.audit.result import AuditResult, CaseResult, ExtraResult
from orchestrator.checks.audit.trade_off import TAIL
from orchestrator.config.version import version_of
from trainers.evaluators.parent import end_with_parent

MOST_JOBS = 2
_CHUNK = 50  # runs that a process plays at a time
_MEMORY = Path("/dev/shm")  # a release log is fsynced twice a step, which takes 7 times longer on a disk
_LIBRARIES = ("dpzo", "dp-accounting", "numpy", "scipy")

OnSteps = Callable[[str, int], None]
"""Called with the label of a case and the number of steps that were just taken."""


def run_audit(
    cases: Sequence[AuditCase],
    gradients: Sequence[GradientClaim],
    *,
    runs: int,
    jobs: int,
    on_steps: OnSteps,
    tail: float = TAIL,
) -> AuditResult:
    """Audit every case with `runs` runs without the canary and as many with it, and all else once.

    Formal guarantees:
        If the claim of a case holds, a violation is reported with probability at most 2 · `tail` + 2e-5, and about
        0.3 % at the usual .025 (see `judge` and `residual_findings`).
    """
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(jobs, context, initializer=end_with_parent)
    with scratch_folder() as folder, pool as executor:
        results = [
            _audit_case(case, runs, tail, folder / str(number), executor, partial(on_steps, case.label))
            for number, case in enumerate(cases)
        ]
        extras = list(_extras(cases, gradients, folder / "extras"))
        model = replay_real_model(folder / "real")
    versions = {library: version_of(library) for library in _LIBRARIES}
    return AuditResult(cases=results, extras=extras, model=model, seconds=time.monotonic() - started, versions=versions)


def total_steps(cases: Sequence[AuditCase], runs: int) -> int:
    return sum(2 * runs * case.plan.num_steps + NUM_RUNS * num_steps(case) for case in cases)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder, in memory where the machine has a file system there."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        yield Path(name)


def _audit_case(
    case: AuditCase, runs: int, tail: float, folder: Path, executor: Executor, advance: Callable[[int], None]
) -> CaseResult:
    plan = case.plan
    without, present = _play_in_chunks(case, runs, folder / "membership", executor, advance)
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
        replay=audit_replay(case, folder / "replay"),
        residuals=audit_residuals(case, folder / "residuals", advance),
        membership=audit_membership(case, without, present, tail),
    )


def _extras(cases: Sequence[AuditCase], gradients: Sequence[GradientClaim], folder: Path) -> Iterator[ExtraResult]:
    """Play scores and users under each noise law, the caps of one run, and first-order methods."""
    of_law = {case.noise: case for case in reversed(cases)}
    checks = [partial(check, case) for case in of_law.values() for check in (audit_scores, audit_users)]
    checks += [partial(audit_caps, case) for case in cases[:1]]
    checks += [partial(audit_gradients, *claim) for claim in gradients]
    for number, check in enumerate(checks):
        own = folder / str(number)
        own.mkdir(parents=True)
        yield check(own)


def _play_in_chunks(
    case: AuditCase, runs: int, folder: Path, executor: Executor, advance: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    sizes = [min(_CHUNK, runs - start) for start in range(0, runs, _CHUNK)]
    futures = [executor.submit(play_runs, case, size, folder / str(number)) for number, size in enumerate(sizes)]
    played = []
    for future in as_completed(futures):
        played.append(future.result())
        advance(2 * len(played[-1][0]) * case.plan.num_steps)
    without, present = zip(*played, strict=True)
    return np.concatenate(without), np.concatenate(present)
