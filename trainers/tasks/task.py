"""A task of the catalogue: its prompts, labels, data set and metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CAUSAL, MASKED, CLASSES = "causal-lm", "masked-lm", "sequence-classification"


@dataclass(frozen=True)
class Prompt:
    """A template, and what the model predicts after it or at its mask: label words, a row's own options, or a text."""

    template: str
    words: Sequence[str] = ()
    options: Sequence[str] = ()
    target: str | None = None


@dataclass(frozen=True)
class Task:
    """One task of the catalogue.

    Args:
        data: data set on the hub, with its configuration.
        prompts: head → prompt; the prompt of a classification head has a template only.
        labels: values of the label column, in the order of the prompts' words; empty if rows have their own options.
        splits: names of the training and the validation split on the hub.
        label_column: column of the label or of the right options; None if the model writes a text.
        metric: score on public examples.
        skip_labels: values of the label column that mean "no label"; such rows are left out.
    """

    title: str
    data: str
    prompts: Mapping[str, Prompt]
    labels: Sequence[str] = ()
    splits: Sequence[str] = ("train", "validation")
    label_column: str | None = "label"
    metric: str = "accuracy"
    skip_labels: Sequence[str] = ()

    def settings(self, head: str) -> dict[str, Any]:
        """Return the task section of a configuration for a head that has a prompt."""
        prompt = self.prompts[head]
        settings: dict[str, Any] = {"template": prompt.template, "metric": self.metric}
        if self.label_column is not None:
            settings["label_column"] = self.label_column
        if self.skip_labels:
            settings["skip_labels"] = list(self.skip_labels)
        if prompt.target is not None:
            settings["target"] = prompt.target
        elif prompt.options:
            settings["options"] = list(prompt.options)
        elif prompt.words:
            settings["label_words"] = dict(zip(self.labels, prompt.words, strict=True))
        else:
            settings["labels"] = list(self.labels)
        return settings

    def sources(self) -> dict[str, str]:
        """Return the task's splits on the hub, in the form of `data.train` and `data.validation`."""
        train, validation = self.splits
        return {"train": f"hub:{self.data}:{train}", "validation": f"hub:{self.data}:{validation}"}
