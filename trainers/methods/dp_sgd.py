"""DP-SGD: the gradient of each example, clipped and noised (`trainers/first_order`). Abadi et al. (2016), Alg. 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.methods.spec import MethodSpec

if TYPE_CHECKING:
    from trainers.config import MethodConfig


def require_one_clip(method: MethodConfig) -> None:
    """Refuse a schedule of the clip norm with a ValueError."""
    if not isinstance(method.clip_norm, float):
        raise ValueError(f"{method.name} has one clip_norm: give a number, not a schedule")


DP_SGD = MethodSpec(
    title="DP-SGD",
    source="Abadi et al. (2016), arXiv:1607.00133",
    num_directions=(1, 1),
    settings=frozenset({"momentum", "weight_decay"}),
    defaults={"num_directions": 1},
    check=require_one_clip,
    optimizer="sgd",
)
