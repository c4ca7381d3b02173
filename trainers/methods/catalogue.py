"""The catalogue: one row a method, as its paper defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MethodSpec:
    """What distinguishes a method from the others of the same kernel.

    Args:
        title: name in tables and statements.
        private: whether it clips and adds noise.
        num_directions: allowed K, smallest and largest.
        source: the paper.
        order: whether it sees differences of losses, or gradients.
        rule: optimizer of a first-order method.
    """

    title: str
    private: bool
    num_directions: tuple[int, int]
    source: str
    order: Literal["zeroth", "first"] = "zeroth"
    rule: Literal["sgd", "adamw"] | None = None


METHODS: dict[str, MethodSpec] = {
    "mezo": MethodSpec("MeZO", False, (1, 1), "Malladi et al. (2023), arXiv:2305.17333"),
    "dp-zo": MethodSpec("DP-ZO", True, (1, 1), "Tang et al. (2024), arXiv:2401.04343"),
    "dp-aggzo": MethodSpec("DP-AggZO", True, (2, 4096), "Bao et al. (2025), USENIX Security"),
    "dp-sgd": MethodSpec("DP-SGD", True, (1, 1), "Abadi et al. (2016), arXiv:1607.00133", "first", "sgd"),
    "dp-adamw": MethodSpec("DP-AdamW", True, (1, 1), "Li et al. (2022), arXiv:2110.05679", "first", "adamw"),
    "adamw": MethodSpec("AdamW", False, (1, 1), "Loshchilov & Hutter (2019), arXiv:1711.05101", "first", "adamw"),
}
