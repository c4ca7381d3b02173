"""The `task` section: how a row becomes a prompt, what is to be predicted, and how answers are judged."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from trainers.config.model import Head
from trainers.config.sections import Count, Section
from trainers.tasks.labels import label_text
from trainers.tasks.templates import MASK, Template

Metric = Literal["accuracy", "f1", "precision", "recall", "loss", "likelihood", "exact-match", "token-f1"]


class TaskConfig(Section):
    """How a row becomes a prompt and what is to be predicted."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # labels 0 and 1 are written without quotes

    name: str | None = Field(
        default=None, description="A task of the catalogue, such as sst2; it fills in what is not given here."
    )
    template: str = Field(
        description="The prompt, with columns in braces: '{sentence} It was', with [MASK] for a masked model."
    )
    label_column: str | None = Field(default=None, description="Column of the label.")
    label_words: dict[str, str] | None = Field(
        default=None,
        description="Label → continuation that a causal model chooses between, with its leading space, or word that a "
        "masked model puts at [MASK].",
    )
    labels: list[str] | None = Field(default=None, description="Labels in class order, for a classification head.")
    options: list[str] | None = Field(
        default=None,
        description="Templates of a row's own options, for a causal model: [' {choice1}', ' {choice2}'], or one that "
        "goes through a list: [' {choices|each}']. The label is an option's number from 0, or the list's right items.",
    )
    target: str | None = Field(default=None, description="Template of the text to be generated: '{summary}'.")
    skip_labels: list[str] = Field(
        default=[], description="Rows with these labels are left out, such as -1 for no label; not for options."
    )
    metric: Metric | None = Field(
        default=None,
        description="Score on public examples: accuracy (the default for choices) or f1 (of the last of two labels, or "
        "the mean over more); exact-match or token-f1 of a generated text (a target's default is the mean probability "
        "of its tokens).",
    )
    max_tokens: Count = Field(default=256, description="Longest prompt in tokens; longer ones lose their beginning.")
    max_new_tokens: Count = Field(default=32, description="Longest generated text in tokens, where a metric needs one.")

    @field_validator("label_words", "labels", "skip_labels", mode="before")
    @classmethod
    def _with_labels_as_text(cls, given: Any) -> Any:
        if isinstance(given, dict):
            texts = {label_text(label): word for label, word in given.items()}
            if len(texts) < len(given):
                raise ValueError("a label is there twice: a truth value is also the text 'true' or 'false'")
            return texts
        return [label_text(label) for label in given] if isinstance(given, list) else given

    @model_validator(mode="after")
    def _one_kind_of_target(self) -> TaskConfig:
        _ = self.columns  # refuses a template that cannot be read
        given = [name for name in ("label_words", "labels", "options", "target") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of label_words (a model chooses between words), labels (a classification head), "
                f"options (a row's own choices) and target (a text to generate); got {', '.join(given) or 'none'}"
            )
        if self.target is None and self.label_column is None:
            raise ValueError(f"{given[0]} needs label_column: the column that holds the label")
        names = self.label_names
        if given[0] in ("label_words", "labels") and len(set(names)) < max(2, len(names)):
            raise ValueError(f"{given[0]} needs at least two labels, each once; got {', '.join(names)}")
        if self.template.count(MASK) > 1:
            raise ValueError(f"template has {self.template.count(MASK)} {MASK}; a masked model predicts at one place")
        if (self.metric in ("exact-match", "token-f1")) != (self.target is not None) and self.metric is not None:
            wanted = "exact-match or token-f1" if self.target is not None else "accuracy or f1"
            raise ValueError(f"metric {self.metric} does not fit {given[0]}: use {wanted}")
        if self.metric == "f1" and self.options is not None:
            raise ValueError("metric f1 is over labels, and options differ from row to row: use accuracy")
        return self

    @property
    def columns(self) -> list[str]:
        columns = list(Template.parse(self.template, "task.template").columns)
        for field, text in [("target", self.target), *(("options", option) for option in self.options or [])]:
            if text is not None:
                columns += Template.parse(text, f"task.{field}").columns
        return list(dict.fromkeys([*columns, *([self.label_column] if self.label_column else [])]))

    @property
    def text_columns(self) -> list[str]:
        """The columns but that of the label: what a row says."""
        return [column for column in self.columns if column != self.label_column] or self.columns

    @property
    def label_names(self) -> list[str]:
        """Labels in the order of options or classes; empty for a target text and for a row's own options."""
        return list(self.label_words or self.labels or [])

    def refuse_head(self, head: Head) -> None:
        """Refuse, with a ValueError, a model's head that the task is not for."""
        if (self.labels is not None) != (head == "sequence-classification"):
            needed = (
                "task.labels"
                if self.labels is None
                else "task.label_words or task.target, or head 'sequence-classification'"
            )
            raise ValueError(f"task and model.head disagree: head {head!r} needs {needed}")
        if head == "masked-lm" and self.label_words is None:
            raise ValueError(
                "task and model.head disagree: head 'masked-lm' chooses between task.label_words at its mask; a row's "
                "own options and target texts need head 'causal-lm'"
            )
        if head == "masked-lm" and MASK not in self.template:
            raise ValueError(f"task.template has no {MASK}: write it where the masked model is to predict")
        if head != "masked-lm" and MASK in self.template:
            raise ValueError(f"task.template holds {MASK}, which head {head!r} does not fill: use head 'masked-lm'")
