"""What runs of every order share: the release log, the place in it, the tokens and the scores."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from trainers.config import RunConfig
from trainers.mechanism.release_log import LOG_NAME, Transcript
from trainers.mechanism.tokens import TokensExhausted
from trainers.mechanism.units import units_of
from trainers.run.context import RunContext, Workspace
from trainers.run.header import header_defaults, header_of
from trainers.run.scoring import PrivateScore, public_metrics
from trainers.workers.shared_log import open_log

LOGGER = logging.getLogger(__name__)


class BaseRun(ABC):
    """One training: it opens or reopens a release log, sets θ to the base weights, and goes from score to score.

    `steps_taken` is the number of steps that θ contains. `metrics` holds the latest score by name: the configured
    metric, and what the same token gives besides.

    Raises:
        ValueError: the folder holds the log of another run, or the ranks disagree on data, weights or settings.
    """

    def __init__(self, context: RunContext) -> None:
        self.config, self.ranks = context.config, context.ranks
        self._workspace, self._tokens, self._folder = context.workspace, context.tokens, context.folder
        self._header = header_of(context.config, context.plan, context.workspace.base_digest)
        self._workspace.evaluator.reset()
        self.log: Transcript = open_log(
            self.ranks, self._folder / LOG_NAME, self._header, header_defaults(), context.log_copy
        )
        self.steps_taken = 0
        self._scores: list[float | None] = []
        self.metrics: dict[str, float] = {}

    @abstractmethod
    def replay(self, on_step: Callable[[int], None] = lambda steps: None) -> None:
        """Bring θ to the last step that is on disk, without touching private data.

        `on_step` is called after each step that the log holds, with the number of steps that θ contains.
        """

    @abstractmethod
    def _step(self) -> None:
        """Take one more step."""

    @property
    def steps_released(self) -> int:
        return self.log.num_released("step")

    @property
    def steps_charged(self) -> int:
        """Number of tokens that the run has drawn for steps and recorded, interrupted steps included."""
        return self.log.num_reserved["step"]

    @property
    def scores_charged(self) -> int:
        """Number of tokens that the run has drawn for scores on private examples, and recorded."""
        return self.log.num_reserved["score"]

    def score_points(self) -> list[int]:
        """Return the step counts after which the run is scored, evenly spaced; the last one is T."""
        return self.config.score.points(self.config.method.num_steps)

    def segments(self, on_step: Callable[[int], None] = lambda step: None) -> Iterator[tuple[int, float | None]]:
        """Train from score to score; yield the number of steps taken and the score, or None.

        Steps in the log are replayed, so that a resumed run passes its earlier scores with the same θ. Steps that a
        kill interrupted stay charged: when no token is left, the run ends early with the steps it has, and a private
        score is None. `on_step` is called with the number of released steps, which is public.
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
        return min(self.steps_taken, point)  # a snapshot may be ahead of the point

    def close(self) -> None:
        """Close the log; θ stays in the evaluator."""
        self.log.close()

    def _score(self, index: int) -> float | None:
        """Return the score of a point; a point that a snapshot has passed keeps the score that it had."""
        if index == len(self._scores):
            self._scores.append(self._new_score(index))
        return self._scores[index]

    def _new_score(self, index: int) -> float | None:
        evaluator, validation = self._workspace.evaluator, self._workspace.validation
        if not self.config.data.has_validation or not self.ranks.is_rank_0:
            return None
        if self.config.score.on == "public":
            self.metrics = public_metrics(self.config, evaluator, validation)
            return self.metrics[self.config.metric]
        units = units_of(validation, self._workspace.validation_users)
        try:
            self.metrics = PrivateScore(self.config, units, self._tokens.scores, self.log)(evaluator, index)
        except TokensExhausted as refusal:
            LOGGER.warning("%s: no score after %d steps. %s", self.config.name, self.steps_taken, refusal)
            return None
        return self.metrics[self.config.metric]


def public_score(config: RunConfig, workspace: Workspace) -> float | None:
    """Return the score of θ on public examples; None if there are none."""
    if config.score.on == "private" or config.data.validation is None:
        return None
    return public_metrics(config, workspace.evaluator, workspace.validation)[config.metric]
