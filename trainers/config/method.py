"""The method and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from trainers.config.mask import MaskConfig
from trainers.config.removed import REMOVED_DIRECTIONS, without_removed
from trainers.config.schedules import Schedule, as_function, stage_starts, uses_stages
from trainers.config.sections import Count, Decay, Section
from trainers.methods.catalogue import METHODS
from trainers.methods.presets import preset_of
from trainers.methods.spec import MethodSpec

if TYPE_CHECKING:
    from trainers.config import MethodConfig


class MethodConfig(Section):
    """The method and its settings; none of them enters epsilon but num_steps."""

    name: Literal["mezo", "dp-zo", "dpzero", "dp-zoso", "dp-zopo", "dp-aggzo", "dp-sgd", "dp-adamw", "adamw"] = Field(
        default="dp-aggzo", description="A method of the catalogue."
    )
    num_steps: Count = Field(default=1000, description="Steps T of one run (one trial of a sweep).")
    num_directions: Count = Field(
        default=16,
        description="Directions K a step; 2K forward passes of the batch (see difference). 1 when absent for a method "
        "whose paper takes one.",
    )
    smoothing: Schedule = Field(default=1e-3, description="Perturbation radius λ, in units of a parameter.")
    clip_norm: Schedule = Field(
        default=5.0, description="L2 bound C on an example's K-vector (or gradient), nats per parameter unit."
    )
    learning_rate: Schedule = Field(default=1e-5, description="Learning rate η; η_0 of a staged method.")
    direction: Annotated[Literal["gaussian", "rademacher", "sphere", "low-rank"], REMOVED_DIRECTIONS] = Field(
        default="gaussian",
        description="Law of the directions z: independent values, uniform on the sphere of radius √d, or U Vᵀ for each "
        "matrix.",
    )
    direction_rank: Count = Field(default=1, description="Columns of U and V; used with direction: low-rank.")
    difference: Literal["two-sided", "one-sided", "centred"] = Field(
        default="two-sided",
        description="Two-sided takes 2K forward passes; one-sided K + 1, with one loss at θ for all directions; "
        "centred K, which are one-sided less their mean over directions.",
    )
    stage_steps: Count | None = Field(
        default=None, description="Steps T_0 of the first stage; each one after it takes twice as many."
    )
    proximal: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="Pull ρ = 1/γ towards the θ that a stage began with."
    )
    mask: MaskConfig | None = Field(default=None, description="Which parameters train, of DP-ZOPO.")
    shrinkage: Decay | None = Field(
        default=None, description="Shrink noisy values by their known noise, as estimated over steps with this decay."
    )
    momentum: Decay = Field(default=0.0, description="Decay of a running mean of released updates; needs memory of θ.")
    weight_decay: Decay = Field(
        default=0.0, description="Of a first-order method: a step takes this share of θ away, times η."
    )
    preset: str | None = Field(
        default=None, description="A paper's settings for one model, 'dpzero/roberta-large'; what is given goes first."
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="PUBLIC key of the directions and of rounding. Noise and batches never depend on it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, values: Any) -> Any:
        """Fill in what the preset and the method settle."""
        return filled(without_removed(values)) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _settings_agree(self) -> MethodConfig:
        check(self)
        return self

    @property
    def num_probes(self) -> int:
        """Forward passes of the batch in a step."""
        return {"two-sided": 2 * self.num_directions, "one-sided": self.num_directions + 1}.get(
            self.difference, self.num_directions
        )


DEFAULT_METHOD = "dp-aggzo"
SCHEDULED = ("smoothing", "clip_norm", "learning_rate")
"""Settings of the method that may change from step to step."""
ZEROTH_ORDER = ("smoothing", "direction", "direction_rank", "difference", "proximal", "mask", "shrinkage")
"""Settings that mean nothing to a first-order method."""


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
    keep = as_function(method.mask.keep, method.num_steps, starts)
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
    keep = as_function(method.mask.keep, method.num_steps, starts)
    largest = max(keep(start) for start in starts)
    if largest > 1:
        raise ValueError(f"mask.keep is a share, at most 1, and reaches {largest:g}")
