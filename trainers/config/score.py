"""The `score` section: how a run is judged."""

from typing import Literal

from pydantic import Field

from trainers.config.sections import Count, Positive, Section
from trainers.config.task import Metric


class ScoreConfig(Section):
    """How a run is judged: on public examples without cost, or on private ones with tokens of their own."""

    on: Literal["public", "private"] = Field(
        default="public", description="Whether data.validation is public or private."
    )
    metric: Metric | None = Field(
        default=None,
        description="Metric of a score; larger is better. f1, precision and recall are of the second of two labels, or "
        "the plain mean over more; loss is minus the mean loss; likelihood, on public examples, is a target token's "
        "mean probability. When absent, accuracy, or likelihood for a target text.",
    )
    loss_bound: Positive | None = Field(
        default=None, description="With metric loss: each example's loss is cut to [0, loss_bound] nats."
    )
    times: Count = Field(default=1, description="Scores of one run, evenly spaced; the last one at its end.")
    noise_multiplier: Positive = Field(
        default=20.0,
        description="On private examples: standard deviation (or Laplace scale) of the noise, in multiples of what one "
        "example can change: one right answer, one cell of the confusion matrix, or loss_bound.",
    )
    num_examples: Count | None = Field(
        default=None,
        description="On private examples: their declared number, public (of users, if they are the unit).",
    )

    def points(self, num_steps: int) -> list[int]:
        """Return the step counts after which a run of `num_steps` steps is scored, evenly spaced; the last is T."""
        times = min(self.times, num_steps)
        return [-(-num_steps * (index + 1) // times) for index in range(times)]
