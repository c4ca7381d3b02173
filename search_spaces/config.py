"""The `search` section of a sweep's configuration: how many trials, chosen how, out of which space."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from search_spaces.space import SearchSpace
from trainers.config import Count, Section

_LARGEST_SEED = 2**32 - 1  # what numpy's generators, and so Optuna's samplers, take


class SearchConfig(Section):
    """How trials are chosen. Nothing here enters epsilon but num_trials, through the caps of the sweep."""

    num_trials: Count = Field(description="Trials of the sweep; the caps allow this many full runs.")
    concurrent_trials: Count = Field(1, description="Trials that run at once.")
    sampler: Literal["tpe", "random"] = Field(
        "tpe", description="'tpe' learns from finished trials, 'random' draws them independently."
    )
    seed: Annotated[int, Field(ge=0, le=_LARGEST_SEED)] | None = Field(
        None, description="PUBLIC seed of the sampler; with several trials at once their order still matters."
    )
    early_stopping: Literal["none", "asha"] = Field(
        "none", description="'asha' stops trials whose early scores are low; needs score.times of at least 2."
    )
    space: SearchSpace = Field(
        description="What varies: dotted names → {low, high, log} or {choices}; or the name of a paper's grid."
    )
