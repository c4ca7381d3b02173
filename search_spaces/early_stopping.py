"""The `early_stopping` of a search: which trials are stopped at a score, because others did better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from trainers.config.sections import Count, Section

StoppingKind = Literal["none", "asha", "hyperband", "median"]
_TITLES = {"asha": "ASHA", "hyperband": "Hyperband", "median": "the median rule"}


class EarlyStopping(Section):
    """A rule and its settings. Settings count scores (`score.times` of a trial), not steps."""

    kind: StoppingKind = Field(
        description="'asha' keeps the best share at each rung; 'hyperband' does with several grace periods at once; "
        "'median' stops a trial whose best score is below the median of the others' means."
    )
    grace: Count = Field(default=1, description="Scores that every trial may reach.")
    factor: Annotated[int, Field(ge=2)] = Field(
        default=4,
        description="Of 'asha' and 'hyperband': one of so many trials goes on at a rung, to so many times the scores.",
    )
    brackets: Count | None = Field(
        default=None, description="Of 'hyperband': grace periods, each `factor` times the one before. Default 3."
    )
    min_trials: Count | None = Field(
        default=None, description="Of 'median': trials with a score before it stops any. Default 3."
    )

    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=1.0,
        description="Standard errors of the noise of a private score by which a trial must be worse to be stopped. "
        "Scores on public rows have no noise.",
    )

    @model_validator(mode="after")
    def _settings_of_the_kind(self) -> EarlyStopping:
        owners = {"factor": ("asha", "hyperband"), "brackets": ("hyperband",), "min_trials": ("median",)}
        for name, kinds in owners.items():
            if name in self.model_fields_set and self.kind not in kinds:
                raise ValueError(f"{name} is a setting of {' and '.join(kinds)}, not of {self.kind!r}: leave it out")
        return self

    @property
    def stops(self) -> bool:
        """Whether trials are stopped at all."""
        return self.kind != "none"

    @property
    def title(self) -> str:
        """The rule's name for people."""
        return _TITLES[self.kind]


def _as_section(given: Any) -> Any:
    return {"kind": given} if isinstance(given, str) else given


def _as_written(stopping: EarlyStopping) -> Any:
    """Return the kind alone where nothing else is set, as earlier versions store it."""
    given = stopping.model_dump(exclude_unset=True) if isinstance(stopping, EarlyStopping) else stopping
    return given["kind"] if isinstance(given, Mapping) and given.keys() == {"kind"} else given


EarlyStoppingForm = Annotated[
    EarlyStopping,
    BeforeValidator(_as_section, json_schema_input_type=StoppingKind | EarlyStopping),
    PlainSerializer(_as_written),
]
"""A kind alone, or {kind: …} with its settings."""
