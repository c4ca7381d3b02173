"""What one method chooses of the kernel that all share; each paper's file holds one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class MethodSpec:
    """What distinguishes a method from the others of the same kernel.

    Args:
        title: name in tables and statements.
        private: whether it clips and adds noise.
        num_directions: allowed K, smallest and largest.
        source: the paper.
        staged: whether it runs in stages, with a pull towards each stage's first iterate.
        masked: whether its directions live on a mask.
        order: whether it sees differences of losses, or gradients.
        rule: optimizer of a first-order method.
        defaults: settings of the `method` section that are its own where the configuration gives none.
    """

    title: str
    private: bool
    num_directions: tuple[int, int]
    source: str
    staged: bool = False
    masked: bool = False
    order: Literal["zeroth", "first"] = "zeroth"
    rule: Literal["sgd", "adamw"] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
