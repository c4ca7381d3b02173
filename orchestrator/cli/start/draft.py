"""The commented YAML that `dpzo init` writes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.cli.start.proposal import Method, batch_and_delta, space_around, trials_at_once
from orchestrator.config.json_schema import EDITOR_LINE


@dataclass(frozen=True)
class Draft:
    """What was found and chosen; `task` is the task section, and `validation` a public file or None."""

    name: str
    train: str
    num_examples: int
    validation: str | None
    task: Mapping[str, Any]
    model: str
    head: str
    method: Method
    epsilon: float

    def text(self) -> str:
        """Return the YAML, with a comment on each choice that is the user's."""
        return "\n".join([self._head(), self._data(), self._task(), self._model(), self._method(), self._rest()])

    def _head(self) -> str:
        return (
            f"{EDITOR_LINE}"
            "# Written by `dpzo init`. All of this file is public: it is part of what is released.\n"
            "#   dpzo plan FILE    epsilon, noise and time, before any private row is used\n"
            "#   dpzo sweep FILE   the search; its whole cost is in the one epsilon below\n"
            f"name: {_yaml(self.name)}\nstorage_path: runs\n"
        )

    def _data(self) -> str:
        if self.validation is None:
            held = "validation_share: 0.1   # of the private rows: not trained on, scored with noise; or a public file"
        else:
            held = f"validation: {_yaml(self.validation)}   # public rows: scores on them cost nothing"
        return (
            f"data:\n  train: {_yaml(self.train)}\n"
            f"  num_examples: {self.num_examples}   # declared, public: confirm it; it need not be exact\n  {held}\n"
        )

    def _task(self) -> str:
        lines = [f"  {key}: {_yaml(value)}" for key, value in self.task.items()]
        return "\n".join(["task:   # the prompt, and what the model predicts after it; labels are public", *lines, ""])

    def _model(self) -> str:
        return (
            f"model:\n  path: {_yaml(self.model)}\n  head: {self.head}\n  trainable: full   # or all-linear, or lora\n"
        )

    def _method(self) -> str:
        lines = [f"  {key}: {_yaml(value)}" for key, value in self.method.settings.items()]
        what = f"method:\n  name: dp-aggzo\n  # {self.method.origin}"
        return "\n".join([what, *lines, ""])

    def _rest(self) -> str:
        batch, delta = batch_and_delta(self.num_examples)
        ranges = [
            f"    method.{key}: {{low: {low:g}, high: {high:g}, log: true}}"
            for key, (low, high) in space_around(self.method.settings).items()
        ]
        return "\n".join(
            [
                f"privacy:\n  epsilon: {self.epsilon:g}   # of the whole sweep: all trials and all that they show",
                f"  delta: {delta:.1e}   # below 1 / num_examples\n  expected_batch_size: {batch}\n",
                *self._score(),
                f"search:\n  num_trials: 10\n  concurrent_trials: {trials_at_once()}\n  seed: 0\n  space:",
                *ranges,
                "",
            ]
        )

    def _score(self) -> list[str]:
        if self.validation is not None:
            return ["score:\n  on: public\n  times: 3   # of each trial\n"]
        bounded = (
            ["  metric: loss\n  loss_bound: 5   # nats: larger losses count as this"] if "target" in self.task else []
        )
        return ["score:\n  on: private", *bounded, "  times: 1   # of each trial\n"]


def _yaml(value: Any) -> str:
    """Return a value as YAML on one line: JSON is YAML, and quotes keep labels such as no and 1 texts."""
    return json.dumps(value, ensure_ascii=False)
