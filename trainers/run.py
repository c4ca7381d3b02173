"""One run from its first step to its last, over a workspace that may serve many runs.

A `Workspace` is what is slow to make: the tokenizer, the encoded examples, the loaded model. A `Run` is one private
training on it: it opens (or reopens) a release log, sets θ to the base weights, replays what was released, goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.config import RunConfig
from trainers.evaluators.base import Example, LossEvaluator
from trainers.evaluators.proof import require_resolved
from trainers.groups import groups_of
from trainers.mechanism import MechanismPlan
from trainers.methods.catalogue import METHODS
from trainers.methods.method import Method, smallest_resolution
from trainers.noise import ExactNoise, Noise
from trainers.ranks import Ranks
from trainers.release_log import Transcript
from trainers.replay_state import ReplayState, read_state, write_state
from trainers.sampling import PoissonSampler, Sampler
from trainers.schedules import bound, stage_starts
from trainers.scoring import PrivateScore, public_metrics
from trainers.shared_log import open_log
from trainers.step import StepContext, apply_release, take_step
from trainers.stops import require_finite
from trainers.tokens import StepTokens, TokensExhausted

if TYPE_CHECKING:
    from trainers.first_order.gradients import UnitGradients

LOGGER = logging.getLogger(__name__)
LOG_NAME = "release_log.jsonl"
SNAPSHOT_STEPS = 1000  # between snapshots, where the configuration says nothing
_IDENTIFYING = ("data", "task", "model", "method", "score")


def mechanism_plan(config: RunConfig, noise_multiplier: float | None) -> MechanismPlan:
    """Return the run's mechanism; `noise_multiplier` is σ, given or calibrated, None for a method without privacy."""
    method = config.method
    private = METHODS[method.name].private
    clip_norm = bound(method.clip_norm, method.num_steps, stage_starts(method.num_steps, method.stage_steps))
    return MechanismPlan(
        sampling_prob=config.sampling_prob,
        expected_batch_size=config.privacy.expected_batch_size,
        num_directions=config.method.num_directions,
        num_steps=config.method.num_steps,
        clip_norm=clip_norm(0) if private else None,
        noise_multiplier=noise_multiplier,
        noise=config.privacy.noise,
        adjacency=config.privacy.adjacency,
    )


@dataclass(frozen=True)
class Workspace:
    """What runs share: encoded private examples, encoded examples to score on, an evaluator and its rounding (nats).

    `users` and `validation_users` say whose each example is, where users are the unit of privacy; they are private.
    `gradients` is what first-order runs need besides.
    """

    examples: list[Example]
    validation: list[Example]
    evaluator: LossEvaluator
    rounding: float = 0.0
    users: list[str] | None = None
    validation_users: list[str] | None = None
    gradients: UnitGradients | None = None

    @cached_property
    def content(self) -> bytes:
        """A digest of the training examples, whose they are, and their order; private."""
        digest = hashlib.blake2b(repr(self.users).encode())
        for example in self.examples:
            digest.update(repr(example).encode())
        return digest.digest()

    @cached_property
    def base_digest(self) -> str:
        """A digest of the base weights, to which θ is set; of a large model it takes a while, so once for all runs."""
        self.evaluator.reset()
        return self.evaluator.state_digest()

    def close(self) -> None:
        """Give back what the evaluator holds: with an engine, devices, memory and processes."""
        self.evaluator.close()


@dataclass(frozen=True)
class Tokens:
    """Where a run draws the right to a step, and the right to a score on private examples."""

    steps: StepTokens
    scores: StepTokens


class BaseRun(ABC):
    """What runs of every order share: the log, the place in it (`steps_taken`, which θ contains), tokens and scores.

    `metrics` holds all that the latest score says: the number that counts, and what came with it for the same token.

    Args:
        workspace: encoded data and an evaluator; θ is reset to the base weights.
        config: the run's configuration.
        plan: its mechanism.
        tokens: rights to steps and scores.
        folder: the run's own folder; an existing release log there is taken up.
        ranks: who else takes the steps. Rank 0 has the folder, the tokens and the scores; the others need none of them.

    Raises:
        ValueError: the folder holds the log of another run, or the ranks disagree on data, weights or settings.
    """

    def __init__(
        self,
        workspace: Workspace,
        config: RunConfig,
        plan: MechanismPlan,
        tokens: Tokens,
        folder: Path,
        ranks: Ranks | None = None,
    ) -> None:
        self.config = config
        self._workspace = workspace
        self._tokens = tokens
        self.ranks = ranks or Ranks()
        self._folder, self._header = folder, _header(config, plan, workspace.base_digest)
        workspace.evaluator.reset()
        self.log: Transcript = open_log(self.ranks, folder / LOG_NAME, self._header, _header_defaults())
        self.steps_taken = 0
        self._scores: list[float | None] = []
        self.metrics: dict[str, float] = {}

    @abstractmethod
    def replay(self) -> None:
        """Bring θ to the last place that is on disk, without touching private data."""

    @abstractmethod
    def _step(self) -> None:
        """Take one more step."""

    @property
    def steps_released(self) -> int:
        """Number of steps whose release is in the log."""
        return self.log.num_released("step")

    @property
    def steps_charged(self) -> int:
        """Number of tokens that the run has drawn and recorded, interrupted steps included."""
        return self.log.num_reserved["step"]

    @property
    def scores_charged(self) -> int:
        """Number of tokens that the run has drawn for scores on private examples, and recorded."""
        return self.log.num_reserved["score"]

    def score_points(self) -> list[int]:
        """Return the step counts after which the run is scored, evenly spaced; the last one is T."""
        times = min(self.config.score.times, self.config.method.num_steps)
        return [-(-self.config.method.num_steps * (index + 1) // times) for index in range(times)]

    def segments(self, on_step: Callable[[int], None] = lambda step: None) -> Iterator[tuple[int, float | None]]:
        """Train from score to score; yield the number of steps taken and the score (None where there is none).

        Steps that are in the log are replayed, so that a restarted run passes its earlier scores with the same θ. Ends
        early, with the steps it has, when the tokens are gone: steps that a kill interrupted stay charged. So do
        private scores: one whose token is gone is None.
        `on_step` is called with the number of released steps, which is public.
        """
        for index, point in enumerate(self.score_points()):
            taken = self._train_until(point, on_step)
            yield taken, self._score(index)
            if taken < point:
                return

    def _train_until(self, point: int, on_step: Callable[[int], None]) -> int:
        try:
            while self.steps_taken < point:
                self._step()
                on_step(self.steps_taken)
        except TokensExhausted as refusal:
            LOGGER.warning("%s: ends after %d steps. %s", self.config.name, self.steps_taken, refusal)
        return min(self.steps_taken, point)  # a snapshot may lie behind the point

    def close(self) -> None:
        """Close the log; θ stays in the evaluator."""
        self.log.close()

    def _score(self, index: int) -> float | None:
        """Return the score of a point; of one that a snapshot lies behind, the score that it had then."""
        if index == len(self._scores):
            self._scores.append(self._new_score(index))
        return self._scores[index]

    def _new_score(self, index: int) -> float | None:
        evaluator, validation = self._workspace.evaluator, self._workspace.validation
        if not self.config.data.has_validation or not self.ranks.leads:
            return None
        if self.config.score.on == "public":
            self.metrics = public_metrics(self.config, evaluator, validation)
            return self.metrics[self.config.metric]
        groups = groups_of(validation, self._workspace.validation_users)
        try:
            self.metrics = PrivateScore(self.config, groups, self._tokens.scores, self.log)(evaluator, index)
        except TokensExhausted as refusal:
            LOGGER.warning("%s: no score after %d steps. %s", self.config.name, self.steps_taken, refusal)
            return None
        return self.metrics[self.config.metric]


def public_score(config: RunConfig, workspace: Workspace) -> float | None:
    """Return how good θ is on public examples; None where there are none."""
    if config.score.on == "private" or config.data.validation is None:
        return None
    return public_metrics(config, workspace.evaluator, workspace.validation)[config.metric]


class Run(BaseRun):
    """One zeroth-order training: the log holds all that was released, and replaying it rebuilds θ.

    Args:
        workspace, config, plan, tokens, folder, ranks: as for every run.
        sampler, noise: replaced in tests only; no configuration can name another.

    Raises:
        ValueError: as for every run, or the smoothing is lost in rounding.
        PeerLost: another rank is gone; the run goes on when all are started again.
        RuntimeError: a rank's weights differ from the others' again, after they were rebuilt from the log.
    """

    def __init__(
        self,
        workspace: Workspace,
        config: RunConfig,
        plan: MechanismPlan,
        tokens: Tokens,
        folder: Path,
        ranks: Ranks | None = None,
        *,
        sampler: Sampler | None = None,
        noise: Noise | None = None,
    ) -> None:
        require_resolution(workspace.rounding, plan, config)
        groups, ranks = groups_of(workspace.examples, workspace.users), ranks or Ranks()
        ranks.begin_run()
        ranks.require_same("examples, in the same order", lambda: workspace.content)
        super().__init__(workspace, config, plan, tokens, folder, ranks)
        own = ranks.own(groups)
        self._rebuilt: set[int] = set()
        self._is_warned = False
        self._context = StepContext(
            plan=plan,
            method=Method(config.method, plan, workspace.evaluator, self.log, ranks),
            evaluator=workspace.evaluator,
            groups=own,
            sampler=sampler or PoissonSampler(plan, len(own), ranks.entropy),
            noise=noise or ExactNoise(),
            tokens=tokens.steps,
            log=self.log,
            ranks=ranks,
            max_examples=config.data.max_examples_per_user,
        )
        self._restore()

    def replay(self) -> None:
        """Bring θ to where the log ends, without touching private data."""
        while self.steps_taken < self.steps_released:
            self._step()

    def _step(self) -> None:
        """Apply the next release of the log, or where it ends take a fresh step."""
        self._context.method.enter(self.steps_taken)
        fresh = self.steps_taken == self.steps_released
        if fresh:
            take_step(self._context, self.steps_taken)
        else:
            apply_release(self._context, self.steps_taken, self.log.releases["step"][self.steps_taken])
        self.steps_taken += 1
        every, last = self.config.resources.check_steps, self.config.method.num_steps
        due = self.steps_taken % (self.config.performance.snapshot_steps or SNAPSHOT_STEPS) == 0
        checked = self.steps_taken % every == 0 or self.steps_taken == last or due
        if fresh and checked:
            self._require_same_weights()
            require_finite(self._workspace.evaluator, self.config.name, self.steps_taken, self.ranks)
        if fresh and due and self.ranks.leads:
            self._save()

    def _save(self) -> None:
        """Write where the run is; without it a replay takes longer, so that a full disk is no end."""
        state = ReplayState(self.steps_taken, self._context.method.state(), tuple(self._scores))
        try:
            write_state(self._folder, self._header, self.log, state, self._workspace.evaluator.parameters.save)
        except OSError as error:
            if not self._is_warned:
                LOGGER.warning("%s: no snapshot can be written (%s); a replay will take longer", self._folder, error)
            self._is_warned = True

    def _restore(self) -> None:
        """Go on from the last snapshot of the releases that are in the log, if there is one."""
        found = read_state(self._folder, self._header, self.log)
        if found is not None:
            state, file = found
            self._workspace.evaluator.parameters.load(file)
            self._context.method.restore(state.method)
            self.steps_taken, self._scores = state.steps, list(state.scores)

    def _require_same_weights(self) -> None:
        """Rebuild the weights of the ranks that differ from most: the log says what they are."""
        strays = self._strays()
        if not strays:
            return
        if not self._rebuilt.intersection(strays):
            LOGGER.warning(
                "%s: after %d steps the weights of rank %s differ, and are rebuilt from the release log",
                self.config.name,
                self.steps_taken,
                ", ".join(map(str, strays)),
            )
            self._rebuilt.update(strays)
            if self.ranks.rank in strays:
                self._rebuild()
            strays = self._strays(patiently=True)  # a replay takes its time
        if strays:
            raise RuntimeError(
                f"{self.config.name}: after {self.steps_taken} steps the weights of rank {', '.join(map(str, strays))} "
                "differ again: a device computes wrongly, or the workers' machines differ. All releases are in the log."
            )

    def _strays(self, *, patiently: bool = False) -> list[int]:
        return self.ranks.strays(lambda: self._workspace.evaluator.state_digest().encode(), patiently=patiently)

    def _rebuild(self) -> None:
        evaluator, context = self._workspace.evaluator, self._context
        evaluator.reset()
        method = Method(self.config.method, context.plan, evaluator, self.log, self.ranks)
        self._context = dataclasses.replace(context, method=method)
        self.steps_taken = 0
        self.replay()


def require_resolution(rounding: float, plan: MechanismPlan, config: RunConfig) -> None:
    """Refuse a configuration whose smallest radius, at some step of its schedules, rounding would rival.

    Raises:
        ValueError: with the smallest radius that would do.
    """
    smoothing, clip_norm = smallest_resolution(config.method)
    if plan.is_private:
        require_resolved(rounding, dataclasses.replace(plan, clip_norm=clip_norm), smoothing)


def _header(config: RunConfig, plan: MechanismPlan, base_digest: str) -> dict[str, Any]:
    """Return what identifies the run, flat: settings (not those of speed), mechanism and base weights."""
    sections = config.model_dump(mode="json", include={"name", *_IDENTIFYING})
    header = {"mechanism": dataclasses.asdict(plan), "base_digest": base_digest, **sections}
    return dict(flat(header))


def _header_defaults() -> dict[str, Any]:
    """Return the defaults of what a header holds: what a version did that did not have the setting yet."""
    sections: dict[str, Any] = {name: RunConfig.model_fields[name].annotation for name in _IDENTIFYING}
    settings = {name: section.model_construct().model_dump(mode="json") for name, section in sections.items()}
    mechanism = {field.name: field.default for field in dataclasses.fields(MechanismPlan)}
    given = {name: value for name, value in mechanism.items() if value is not dataclasses.MISSING}
    return dict(flat({"mechanism": given, **settings}))


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings under dotted keys."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
