"""What a transform is: a pure pair (init, update), as in Optax, and how several are chained.

A release gives an `Update`, whose values are the noisy mean g. Each transform of a method's chain changes it, and the
last one is applied to θ. Transforms see released values and public constants alone: they are post-processing, which
costs no privacy, and a replay of the release log passes through the same states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from trainers.mechanism.plan import MechanismPlan

State = Sequence[float]


@dataclass(frozen=True)
class Update:
    """How a step moves θ, in multiples of −η: by Σ_k g_k z_k + pull · (θ − anchor), through a velocity.

    Args:
        values_K: g, float64 [K], nats per parameter unit.
        pull: ρ, strength of the pull towards the anchor, the θ that the stage began with.
        momentum: β of the velocity v ← β v + (1 − β) Σ_k g_k z_k, which moves θ instead; 0 for none.
    """

    values_K: np.ndarray
    pull: float = 0.0
    momentum: float = 0.0


@dataclass(frozen=True)
class Transform:
    """A pure pair of functions.

    Args:
        key: names its state in a snapshot.
        init: () → its first state; empty if it remembers nothing.
        update: (update, state, plan in force) → (changed update, next state).
        needs_anchor: whether θ is kept where a stage begins, for `Update.pull`.
    """

    key: str
    init: Callable[[], State]
    update: Callable[[Update, State, MechanismPlan], tuple[Update, State]]
    needs_anchor: bool = False


def stateless(key: str, change: Callable[[Update], Update], *, needs_anchor: bool = False) -> Transform:
    return Transform(key, lambda: (), lambda update, _state, _plan: (change(update), ()), needs_anchor)


@dataclass(frozen=True)
class Chain:
    """Transforms one after the other; their states by key."""

    transforms: Sequence[Transform]

    @property
    def needs_anchor(self) -> bool:
        return any(transform.needs_anchor for transform in self.transforms)

    def init(self) -> dict[str, State]:
        """Return the first states, of the transforms that remember something."""
        states = {transform.key: transform.init() for transform in self.transforms}
        return {key: state for key, state in states.items() if state}

    def update(
        self, update: Update, states: Mapping[str, State], plan: MechanismPlan
    ) -> tuple[Update, dict[str, State]]:
        following = dict(states)
        for transform in self.transforms:
            update, state = transform.update(update, states.get(transform.key, ()), plan)
            if state:
                following[transform.key] = state
        return update, following
