"""A zeroth-order run: replay the releases of the log, then take fresh steps."""

import dataclasses
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import cast

from trainers.config import RunConfig
from trainers.config.mechanism import ROUNDING_SHARE, is_batch_invariant, rounding_share
from trainers.evaluators.base import Guided
from trainers.evaluators.self_test import require_above_rounding
from trainers.mechanism.noise import ExactNoise, Noise
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.sampling import PoissonSampler, Sampler
from trainers.mechanism.units import units_of
from trainers.run.auto_rate import require_scale
from trainers.run.base_run import BaseRun
from trainers.run.context import RunContext
from trainers.run.divergence import require_alive
from trainers.run.estimator import selftest_probes
from trainers.run.method import Method, smallest_resolution
from trainers.run.public_basis import PublicBasis, require_public_rows
from trainers.run.replay_state import ReplayState, read_state, write_state
from trainers.run.step import StepContext, take_step
from trainers.workers.exchange import LONG_TIMEOUT

LOGGER = logging.getLogger(__name__)
SNAPSHOT_STEPS = 1000  # between snapshots, by default


class ZerothOrderRun(BaseRun):
    """One zeroth-order training: the log holds every release, and replaying it rebuilds θ.

    Args:
        sampler, noise: replaced in tests only; no configuration can name another.

    Raises:
        ValueError: as for every run, or the smoothing is lost in rounding.
        PeerLost: another rank is gone; the run continues when all ranks are started again.
        RuntimeError: a rank's weights differ from the others' again, after they were rebuilt from the log.
    """

    def __init__(self, context: RunContext, *, sampler: Sampler | None = None, noise: Noise | None = None) -> None:
        workspace, config, plan, ranks = context.workspace, context.config, context.plan, context.ranks
        require_schedules_above_rounding(workspace.rounding, plan, config)
        require_public_rows(config, workspace.public_rows)
        require_scale(config.method, workspace.evaluator.parameters)
        units = units_of(workspace.examples, workspace.users)
        ranks.begin_run(plan.expected_batch_size, config.data.max_examples_per_user)
        ranks.require_same("examples, in the same order", lambda: workspace.content)
        super().__init__(context)
        own = ranks.shard_of(units)
        self._plan = plan
        self._rebuilt: set[int] = set()
        self._is_warned = False
        self._context = StepContext(
            plan=plan,
            method=self._new_method(),
            evaluator=workspace.evaluator,
            units=own,
            sampler=sampler or PoissonSampler(plan, len(own), ranks.entropy),
            noise=noise or ExactNoise(),
            tokens=context.tokens.steps,
            log=self.log,
            ranks=ranks,
            max_examples=config.data.max_examples_per_user,
        )
        self._restore()

    def replay(self, on_step: Callable[[int], None] = lambda steps: None) -> None:
        while self.steps_taken < self.steps_released:
            self._step()
            on_step(self.steps_taken)

    def _step(self) -> None:
        """Apply the next release of the log, or take a fresh step at its end."""
        self._context.method.enter(self.steps_taken)
        fresh = self.steps_taken == self.steps_released
        if fresh:
            take_step(self._context, self.steps_taken)
        else:
            self._context.method.update(self.steps_taken, self.log.releases["step"][self.steps_taken])
        self.steps_taken += 1
        every, last = self.config.resources.check_steps, self.config.method.num_steps
        due = self.steps_taken % (self.config.performance.snapshot_steps or SNAPSHOT_STEPS) == 0
        checked = self.steps_taken % every == 0 or self.steps_taken == last or due
        if fresh and checked:
            self._require_same_weights()
            method, workspace = self.config.method, self._workspace
            probes = selftest_probes(
                method.direction, method.seed, method.direction_rank, smallest_resolution(method)[0]
            )
            require_alive(workspace.evaluator, self.config.name, self.steps_taken, self.ranks, workspace.public, probes)
        if fresh and due and self.ranks.is_rank_0:
            self._save()

    def _save(self) -> None:
        """Write a snapshot. It only speeds up a replay, so a full disk is not fatal."""
        state = ReplayState(self.steps_taken, self._context.method.state(), tuple(self._scores))
        try:
            write_state(self._folder, self._header, self.log, state, self._workspace.evaluator.parameters.save)
        except OSError as error:
            if not self._is_warned:
                LOGGER.warning("%s: no snapshot can be written (%s); a replay will take longer", self._folder, error)
            self._is_warned = True

    def _restore(self) -> None:
        """Continue from the last snapshot that the log's releases gave, if there is one."""
        snapshot = read_state(self._folder, self._header, self.log)
        if snapshot is not None and self._context.method.can_restore(snapshot[0].steps):
            state, file = snapshot
            self._workspace.evaluator.parameters.load(file)
            self._context.method.restore(state.method, state.steps)
            self.steps_taken, self._scores = state.steps, list(state.scores)

    def _require_same_weights(self) -> None:
        """Rebuild the weights of the ranks that differ from most ranks, from the log."""
        divergent = self._divergent_ranks()
        if not divergent:
            return
        if not self._rebuilt.intersection(divergent):
            LOGGER.warning(
                "%s: after %d steps the weights of rank %s differ, and are rebuilt from the release log",
                self.config.name,
                self.steps_taken,
                ", ".join(map(str, divergent)),
            )
            self._rebuilt.update(divergent)
            if self.ranks.rank in divergent:
                self._rebuild()
            divergent = self._divergent_ranks(timeout=LONG_TIMEOUT)  # a replay takes long
        if divergent:
            raise RuntimeError(
                f"{self.config.name}: after {self.steps_taken} steps the weights of rank "
                f"{', '.join(map(str, divergent))} differ again: a device computes wrongly, or the workers' machines "
                "differ. All releases are in the log."
            )

    def _divergent_ranks(self, *, timeout: timedelta | None = None) -> list[int]:
        return self.ranks.divergent_ranks(lambda: self._workspace.evaluator.state_digest().encode(), timeout=timeout)

    def _new_method(self) -> Method:
        workspace, config = self._workspace, self.config
        basis = None
        if config.uses_public_rows:
            evaluator = cast("Guided", workspace.evaluator)  # the configuration allows no other
            basis = PublicBasis(config, evaluator, workspace.public_rows, self.log, self._folder)
        return Method(config.method, self._plan, workspace.evaluator, self.log, self.ranks, basis)

    def _rebuild(self) -> None:
        evaluator, context = self._workspace.evaluator, self._context
        evaluator.reset()
        self._context = dataclasses.replace(context, method=self._new_method())
        self.steps_taken = 0
        self.replay()


def require_schedules_above_rounding(rounding: float, plan: MechanismPlan, config: RunConfig) -> None:
    """Refuse settings whose differences rounding would rival at some step; ValueError with a radius that would do."""
    if not plan.is_private:
        return
    share, (smoothing, clip_norm) = rounding_share(config), smallest_resolution(config.method)
    if rounding and config.privacy.rounding_share is None and is_batch_invariant(config):
        raise ValueError(
            f"privacy.rounding_share: this evaluator should round a loss alike beside any neighbours, and it moved by "
            f"{rounding:.1e} nats on this device. Give a share to be charged, such as {ROUNDING_SHARE:g}."
        )
    radius = smoothing if config.method.difference == "two-sided" else smoothing / 2  # of λ, not of 2λ
    require_above_rounding(rounding, dataclasses.replace(plan, clip_norm=clip_norm), radius, share)
