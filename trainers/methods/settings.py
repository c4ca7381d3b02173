"""What the `method` section of a configuration may say: a method's own defaults, and which settings go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from trainers.methods.catalogue import METHODS
from trainers.methods.presets import preset_of
from trainers.methods.spec import MethodSpec
from trainers.schedules import Schedule, bound, stage_starts, uses_stages
from trainers.sections import Count, Positive, Section

if TYPE_CHECKING:
    from trainers.config import MethodConfig

DEFAULT_METHOD = "dp-aggzo"
SCHEDULED = ("smoothing", "clip_norm", "learning_rate")
"""Settings of the method that may change from step to step."""
ZEROTH_ORDER = ("smoothing", "direction", "direction_rank", "difference", "proximal", "mask", "shrinkage", "rms_decay")
"""Settings that mean nothing to a first-order method."""


class MaskConfig(Section):
    """A mask made without data: which parameters the directions move."""

    keep: Schedule = Field(default=0.01, description="Share of the parameters that train; stagewise for incremental.")
    scores: Literal["synflow", "grasp", "magnitude"] = Field(
        default="synflow",
        description="What ranks a parameter: weight times slope of the answer to a constant input (synflow), weight "
        "times Hessian times gradient of it (grasp), or the size of the weight (magnitude).",
    )
    rank: Literal["global", "tensor"] = Field(
        default="global", description="Rank all parameters together, or those of each tensor by themselves."
    )
    strategy: Literal["static", "dynamic", "incremental"] = Field(
        default="static",
        description="Made once (static), anew at each stage (dynamic), or grown or shrunk at each stage (incremental).",
    )
    num_directions: Count = Field(default=32, description="Public directions that the slopes are measured along.")
    smoothing: Positive = Field(default=1e-3, description="Radius at which they are measured, parameter units.")

    @model_validator(mode="after")
    def _strategy_and_keep_agree(self) -> MaskConfig:
        varies = isinstance(self.keep, Section)
        if self.strategy == "static" and varies:
            raise ValueError("a static mask keeps one share: give keep a number, or choose strategy incremental")
        if self.strategy == "incremental" and not varies:
            raise ValueError(
                "an incremental mask needs a keep for each stage: keep: {kind: stagewise, start: 0.01, factor: 2}"
            )
        return self


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given settings with those of the preset and of the method below them.

    For a staged method a plain learning_rate is η_0, halved at each stage; {kind: constant, …} keeps it.

    Raises:
        ValueError: an unknown preset, or one of another method.
    """
    found = dict(values)
    if found.get("preset") is not None:
        preset = preset_of(found["preset"])
        if found.setdefault("name", preset.method) != preset.method:
            raise ValueError(f"preset {found['preset']!r} is one of {preset.method}, and name says {found['name']!r}")
        found = {**preset.settings, **found}
    spec = METHODS.get(found.get("name", DEFAULT_METHOD))
    if spec is None:
        return found  # the field's own check says so
    found = {**spec.defaults, **found}
    rate = found.get("learning_rate", 1e-5)
    if spec.staged and isinstance(rate, int | float):
        found["learning_rate"] = {"kind": "stagewise", "start": rate, "factor": 0.5}
    return found


def check(method: MethodConfig) -> None:
    """Refuse settings that do not go together.

    Raises:
        ValueError: the first that does not fit, and what would.
    """
    spec = METHODS[method.name]
    _check_order(method, spec)
    smallest, largest = spec.num_directions
    if not smallest <= method.num_directions <= largest:
        wanted = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
        raise ValueError(f"{spec.title} takes num_directions {wanted}, not {method.num_directions}")
    if method.difference == "centred" and method.num_directions < 2:
        raise ValueError("difference: centred takes a mean over directions: num_directions of at least 2 is needed")
    if method.shrinkage is not None and not spec.private:
        raise ValueError(f"shrinkage corrects for noise, and {spec.title} adds none: remove it")
    _check_stages(method, spec.staged, spec.title)
    if (method.mask is not None) != spec.masked:
        raise ValueError(
            f"{spec.title} needs mask: {{keep: 0.01}}" if spec.masked else f"{spec.title} has no mask: choose dp-zopo"
        )
    if method.mask is not None:
        _check_keep(method)


def require_kept(method: MethodConfig, parameter_count: int) -> None:
    """Refuse a mask that would keep none of the parameters at some stage.

    Raises:
        ValueError: with the smallest share that keeps one.
    """
    if method.mask is None:
        return
    starts = stage_starts(method.num_steps, method.stage_steps)
    keep = bound(method.mask.keep, method.num_steps, starts)
    smallest = min(keep(start) for start in starts)
    if int(smallest * parameter_count) < 1:
        raise ValueError(
            f"method.mask: keep {smallest:g} keeps none of {parameter_count:,} parameters; use at least "
            f"{1 / parameter_count:.1e}"
        )


def _check_order(method: MethodConfig, spec: MethodSpec) -> None:
    """Refuse what only the other order of methods has, where it was set to something."""
    fields = type(method).model_fields
    without = ["weight_decay"] if spec.order == "zeroth" else list(ZEROTH_ORDER)
    without += ["momentum"] if spec.rule == "adamw" else []
    given = [name for name in without if getattr(method, name) != fields[name].default]
    if spec.order == "first" and method.num_directions != 1:
        given.append("num_directions")
    if given:
        raise ValueError(f"{spec.title} has no {given[0]}: remove method.{given[0]}")
    if spec.order == "first" and isinstance(method.clip_norm, Section):
        raise ValueError(f"{spec.title} has one clip_norm: give a number, not a schedule")


def _check_stages(method: MethodConfig, staged: bool, title: str) -> None:
    if staged and method.stage_steps is None:
        raise ValueError(f"{title} runs in stages: give stage_steps, the steps of the first one")
    if not staged and (method.stage_steps is not None or method.proximal):
        raise ValueError(f"{title} has no stages and no pull: remove stage_steps and proximal, or choose dp-zoso")
    if staged:
        return
    stagewise = [name for name in SCHEDULED if uses_stages(getattr(method, name))]
    if stagewise:
        raise ValueError(
            f"{stagewise[0]} is stagewise and {title} has no stages: choose dp-zoso, or kind step, cosine, geometric "
            "or joined"
        )


def _check_keep(method: MethodConfig) -> None:
    assert method.mask is not None
    starts = stage_starts(method.num_steps, method.stage_steps)
    keep = bound(method.mask.keep, method.num_steps, starts)
    largest = max(keep(start) for start in starts)
    if largest > 1:
        raise ValueError(f"mask.keep is a share, at most 1, and reaches {largest:g}")
