"""The `method` section: a method of the catalogue and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from trainers.config.auto import AutoClip, AutoRate
from trainers.config.mask import MaskConfig
from trainers.config.removed import REMOVED_DIRECTIONS, without_removed
from trainers.config.schedules import (
    ClipSchedule,
    RateSchedule,
    Schedule,
    SomeSchedule,
    as_function,
    stage_starts,
    uses_stages,
)
from trainers.config.sections import Count, Decay, Searchable, Section
from trainers.methods.catalogue import METHODS, require_known
from trainers.methods.presets import preset_of

DEFAULT_METHOD = "dp-aggzo"
SCHEDULED = ("smoothing", "clip_norm", "learning_rate")
"""Settings of the method that may change from step to step."""
KINDS_IN_A_BASIS = ("activation", "public-gradient")
"""Laws of directions that are learned from public rows; `directions.counter` has them too, and loads numpy."""
_FEW = 2
DirectionLaw = Annotated[
    Literal["gaussian", "rademacher", "sphere", "low-rank", "activation", "public-gradient"],
    REMOVED_DIRECTIONS,
    Searchable(),
]


class MethodConfig(Section):
    """The method and its settings; only num_steps enters epsilon."""

    name: Annotated[str, Searchable()] = Field(default=DEFAULT_METHOD, description="A method of the catalogue.")
    num_steps: Annotated[Count, Searchable(only_under_filter=True)] = Field(
        default=1000, description="Steps T of one run (one trial of a sweep)."
    )
    num_directions: Annotated[Count, Searchable()] = Field(
        default=16,
        description="Directions K a step; 2K forward passes of the batch (see difference). 1 when absent for a method "
        "whose paper takes one.",
    )
    smoothing: Annotated[Schedule, Searchable()] = Field(
        default=1e-3, description="Perturbation radius λ, in units of a parameter."
    )
    clip_norm: Annotated[ClipSchedule, Searchable()] = Field(
        default=5.0,
        description="L2 bound C on an example's K-vector (or gradient), nats per parameter unit; auto follows the "
        "norms, for 0.8 % more noise.",
    )
    learning_rate: Annotated[RateSchedule, Searchable()] = Field(
        default=1e-5,
        description="Learning rate η; η_0 of a staged method; auto takes it from the noise.",
    )
    direction: DirectionLaw = Field(
        default="gaussian",
        description="Law of the directions z: independent values, uniform on the sphere of radius √d, U Vᵀ for each "
        "matrix, U Vᵀ with V from a layer's inputs on public text, or a mix of gradients of labelled public rows.",
    )
    direction_rank: Annotated[Count, Searchable()] = Field(
        default=1, description="Columns of U and V (low-rank, activation), or number of public gradients."
    )
    support: Annotated[Literal["all", "layer"], Searchable()] = Field(
        default="all",
        description="What one direction moves: all parameters, or one block, which a public counter draws: a layer, "
        "what stands before the layers, or what stands behind them.",
    )
    block_shares: Annotated[Literal["size", "learned"], Searchable()] = Field(
        default="size",
        description="How often a block is drawn, with support: layer: by the root of its size, or by what releases "
        "showed of its gradient, too.",
    )
    difference: Annotated[Literal["two-sided", "one-sided", "centred"], Searchable()] = Field(
        default="two-sided",
        description="Two-sided takes 2K forward passes; one-sided K + 1, with one loss at θ for all directions; "
        "centred K, which are one-sided less their mean over directions.",
    )
    stage_steps: Annotated[Count | None, Searchable()] = Field(
        default=None, description="Steps T_0 of the first stage; each one after it takes twice as many."
    )
    proximal: Annotated[float, Field(ge=0, allow_inf_nan=False), Searchable()] = Field(
        default=0.0, description="Pull ρ = 1/γ towards the θ that a stage began with."
    )
    mask: MaskConfig | None = Field(default=None, description="Which parameters train, of DP-ZOPO.")
    shrinkage: Annotated[Decay | None, Searchable()] = Field(
        default=None, description="Shrink noisy values by their known noise, as estimated over steps with this decay."
    )
    momentum: Annotated[Decay, Searchable()] = Field(
        default=0.0, description="Decay of a running mean of released updates; needs memory of θ."
    )
    weight_decay: Annotated[Decay, Searchable()] = Field(
        default=0.0, description="Of a first-order method: a step takes this share of θ away, times η."
    )
    preset: Annotated[str | None, Searchable()] = Field(
        default=None, description="A paper's settings for one model, 'dpzero/roberta-large'; what is given goes first."
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="PUBLIC key of the directions and of rounding. Noise and batches never depend on it.",
    )

    @field_validator("name")
    @classmethod
    def _in_the_catalogue(cls, name: str) -> str:
        require_known("method", name, METHODS)
        return name

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, values: Any) -> Any:
        return completed(without_removed(values)) if isinstance(values, dict) else values

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

    @property
    def scheduled(self) -> tuple[str, ...]:
        """The settings that the method has and that change by the step, or not at all."""
        has = (name for name in SCHEDULED if METHODS[self.name].takes(name))
        return tuple(name for name in has if not isinstance(getattr(self, name), AutoClip | AutoRate))

    @property
    def stage_starts(self) -> tuple[int, ...]:
        """The first step of each stage; one stage where the method has none."""
        return stage_starts(self.num_steps, self.stage_steps)

    def as_function(self, schedule: SomeSchedule) -> Callable[[int], float]:
        """Return the function step → value of one of the method's schedules."""
        return as_function(schedule, self.num_steps, self.stage_starts)


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given settings over the preset's, over the method's own; ValueError if the method lacks the preset."""
    given = dict(values)
    if given.get("preset") is not None:
        preset, method = preset_of(given["preset"]), given["preset"].split("/")[0]
        if given.setdefault("name", method) != method:
            raise ValueError(f"preset {given['preset']!r} is one of {method}, and name says {given['name']!r}")
        given = {**preset.settings, **given}
    spec = METHODS.get(given.get("name", DEFAULT_METHOD))
    return given if spec is None else spec.complete({**spec.defaults, **given})


def as_method(method: MethodConfig, name: str | None = None, preset: str | None = None) -> MethodConfig:
    """Return the settings for another method, or with a preset: what was given over what that method does by itself.

    Kept are num_steps and seed, and what the other method takes and the given one did not do by itself. A preset goes
    first, but for num_steps, which enters ε. ValueError if the other method is of another order, or only one of the two
    is private.
    """
    settings = {} if preset is None else dict(preset_of(preset).settings)
    name = name or (method.name if preset is None else preset.split("/")[0])
    require_known("method", name, METHODS)
    of, spec = METHODS[method.name], METHODS[name]
    if (of.order, of.private) != (spec.order, spec.private):
        raise ValueError(f"{spec.title} is counted in another way than {of.title}: give it a sweep of its own")
    own = MethodConfig(name=method.name).model_dump(mode="json")
    given = {key: value for key, value in method.model_dump(mode="json").items() if value != own[key]}
    smallest, largest = spec.num_directions
    if not smallest <= method.num_directions <= largest:
        given.pop("num_directions", None)
    kept = {key: value for key, value in given.items() if spec.takes(key) and key != "preset"}
    fixed = {"name": name, "preset": preset, "num_steps": method.num_steps, "seed": method.seed}
    return MethodConfig.model_validate(kept | settings | fixed)


def check(method: MethodConfig) -> None:
    """Refuse settings that do not go together; the ValueError names the first that does not fit, and what would."""
    spec = METHODS[method.name]
    _require_meaning(method)
    smallest, largest = spec.num_directions
    if not smallest <= method.num_directions <= largest:
        wanted = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
        raise ValueError(f"{spec.title} takes num_directions {wanted}, not {method.num_directions}")
    if method.difference == "centred" and method.num_directions < 2:
        raise ValueError("difference: centred takes a mean over directions: num_directions of at least 2 is needed")
    _require_auto_fits(method)
    _require_blocks_fit(method)
    stagewise = [name for name in SCHEDULED if uses_stages(getattr(method, name))]
    if stagewise and not spec.takes("stage_steps"):
        raise ValueError(
            f"{stagewise[0]} is stagewise and {spec.title} has no stages: choose dp-zoso, or kind step, cosine, "
            "geometric or joined"
        )
    spec.check(method)


def _require_auto_fits(method: MethodConfig) -> None:
    """Refuse `auto` where no K-vector is released under noise, and such a rate beside a mask or stages."""
    spec, staged = METHODS[method.name], method.stage_steps is not None or method.mask is not None
    autos = {"clip_norm": AutoClip, "learning_rate": AutoRate}
    for name in (name for name, kind in autos.items() if isinstance(getattr(method, name), kind)):
        if not spec.private or spec.order == "first":
            raise ValueError(f"{name}: auto needs noise on K-vectors, and {spec.title} has none: give a number")
        if name == "learning_rate" and staged:
            raise ValueError(f"learning_rate: auto knows no stages and no mask, as {spec.title} has: give a number")


def _require_blocks_fit(method: MethodConfig) -> None:
    if method.support == "all":
        if method.block_shares != "size":
            raise ValueError(f"block_shares: {method.block_shares} needs support: layer, whose directions move blocks")
        return
    if method.direction == "public-gradient":
        raise ValueError("support: layer cuts a direction down to a layer, and a public gradient is one of all layers")
    if method.mask is not None:
        raise ValueError("support: layer and mask both say which parameters a direction moves: leave one out")


def _require_meaning(method: MethodConfig) -> None:
    """Refuse a setting that means nothing to the method, where it was set to something."""
    spec = METHODS[method.name]
    for name, field in type(method).model_fields.items():
        if spec.takes(name) or getattr(method, name) == spec.defaults.get(name, field.default):
            continue
        others = [other for other, of in METHODS.items() if of.takes(name)]
        choice = f", or choose {' or '.join(others)}" if len(others) <= _FEW else ""
        raise ValueError(f"{spec.title} has no {name}: remove method.{name}{choice}")
