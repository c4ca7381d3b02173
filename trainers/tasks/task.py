"""What a task of the catalogue says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CAUSAL, MASKED, CLASSES = "causal-lm", "masked-lm", "sequence-classification"


@dataclass(frozen=True)
class Prompt:
    """A template and what is predicted after it or at its mask: a word for each label, a row's options, or a text."""

    template: str
    words: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    target: str | None = None


@dataclass(frozen=True)
class Task:
    """One task of the catalogue.

    Args:
        title: its name in tables.
        data: data set on the hub, with its configuration.
        prompts: head → prompt; a classification head's has a template alone.
        labels: values of the label column in the order of the prompts' words; empty where a row has its own options.
        splits: of training and of validation, on the hub.
        label_column: where the label, or the right options, stand; None for a text to be generated.
        metric: the score on public examples.
        skip_labels: labels that say that there is none.
    """

    title: str
    data: str
    prompts: Mapping[str, Prompt]
    labels: tuple[str, ...] = ()
    splits: tuple[str, str] = ("train", "validation")
    label_column: str | None = "label"
    metric: str = "accuracy"
    skip_labels: tuple[str, ...] = ()

    def settings(self, head: str) -> dict[str, Any]:
        """Return the task's section of a configuration for a model's head; the head must have a prompt."""
        prompt = self.prompts[head]
        found: dict[str, Any] = {"template": prompt.template, "metric": self.metric}
        if self.label_column is not None:
            found["label_column"] = self.label_column
        if self.skip_labels:
            found["skip_labels"] = list(self.skip_labels)
        if prompt.target is not None:
            found["target"] = prompt.target
        elif prompt.options:
            found["options"] = list(prompt.options)
        elif prompt.words:
            found["label_words"] = dict(zip(self.labels, prompt.words, strict=True))
        else:
            found["labels"] = list(self.labels)
        return found

    def sources(self) -> dict[str, str]:
        """Return where the task's data lie on the hub, as `data.train` and `data.validation` name it."""
        train, validation = self.splits
        return {"train": f"hub:{self.data}:{train}", "validation": f"hub:{self.data}:{validation}"}
