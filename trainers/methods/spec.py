"""What one paper chooses of the kernel that all methods share. A paper's file makes one `MethodSpec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from trainers.methods.transforms.base import Transform
from trainers.methods.transforms.momentum import momentum
from trainers.methods.transforms.shrinkage import shrinkage

if TYPE_CHECKING:
    from trainers.config import MethodConfig

EVERY_METHOD = frozenset({"name", "preset", "seed", "num_steps", "clip_norm", "learning_rate"})
ZEROTH_ORDER = frozenset(
    {"num_directions", "smoothing", "direction", "direction_rank", "support", "block_shares", "difference"}
    | {"shrinkage", "momentum"}
)
MOST_DIRECTIONS = 4096

ENCODER, CAUSAL = ("masked-lm", "sequence-classification"), ("causal-lm",)
ROBERTA_LARGE, OPT_1B, OPT_3B, ANY_OPT = (2e8, 6e8), (8e8, 2e9), (2e9, 4e9), (1e8, 1e11)


@dataclass(frozen=True)
class Preset:
    """Settings that a paper published for one model.

    Args:
        heads: values of model.head that they were published for.
        sizes: number of parameters of the whole model, from and to.
        with_batch: B, data and δ that they were published with; `privacy` is not filled in.
        settings: values of the `method` section.
        trainable: value of model.trainable that they were published for.
    """

    heads: tuple[str, ...]
    sizes: tuple[float, float]
    with_batch: str
    settings: Mapping[str, Any]
    trainable: str = "full"


def configured(method: MethodConfig) -> list[Transform]:
    """Return the transforms that every zeroth-order method offers, those that are switched on."""
    shrunk = [] if method.shrinkage is None else [shrinkage(method.shrinkage)]
    return [*shrunk, *([momentum(method.momentum)] if method.momentum else [])]


@dataclass(frozen=True)
class MethodSpec:
    """What distinguishes a method from the others of the same kernel.

    Args:
        title: name in tables and statements.
        num_directions: allowed K, smallest and largest.
        settings: settings of the `method` section that it takes, beside those of every method.
        defaults: its own values where the configuration gives none.
        complete: given settings over the defaults → settings, for a default that depends on another setting.
        check: raises ValueError for settings that the paper does not allow.
        transforms: settings → its chain of transforms of a release.
        optimizer: of a first-order method, which sees gradients; None for one that sees differences of losses.
        presets: published settings, by model.
        grids: published search spaces, by model, as `search.space` takes them.
    """

    title: str
    source: str
    private: bool = True
    num_directions: tuple[int, int] = (1, MOST_DIRECTIONS)
    settings: frozenset[str] = ZEROTH_ORDER
    defaults: Mapping[str, Any] = field(default_factory=dict)
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda settings: settings
    check: Callable[[MethodConfig], None] = lambda method: None
    transforms: Callable[[MethodConfig], Sequence[Transform]] = configured
    optimizer: Literal["sgd", "adamw"] | None = None
    presets: Mapping[str, Preset] = field(default_factory=dict)
    grids: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def order(self) -> Literal["zeroth", "first"]:
        return "zeroth" if self.optimizer is None else "first"

    def takes(self, setting: str) -> bool:
        return setting in EVERY_METHOD or setting in self.settings
