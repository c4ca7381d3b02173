"""The unit of privacy as a group of examples: one example each, or all that a user owns.

Where users are the unit, users are sampled, of a drawn user at most m examples are chosen afresh, and what the user
contributes is the MEAN of its examples' vectors, which is then clipped: however many examples somebody has, the sum
moves by at most C. A mean and not a sum, so that the clip does not depend on how many examples people have.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence

import numpy as np

from trainers.evaluators.base import Example

Group = tuple[Example, ...]

_ENTROPY = secrets.SystemRandom()


def groups_of(examples: Sequence[Example], users: Sequence[str] | None) -> list[Group]:
    """Return one group an example, or one a user with its examples in their order, users in order of appearance.

    Args:
        examples: encoded examples.
        users: whose each of them is, in the same order; None where examples are the unit of privacy.
    """
    if users is None:
        return [(example,) for example in examples]
    owned: dict[str, list[Example]] = {}
    for example, user in zip(examples, users, strict=True):
        owned.setdefault(user, []).append(example)
    return [tuple(of_user) for of_user in owned.values()]


def choose(group: Group, most: int | None, entropy: random.Random = _ENTROPY) -> Group:
    """Return at most `most` examples of a group, drawn without replacement from the system's (or shared) entropy.

    Formal guarantees:
        Every subset of that size is equally likely, independently of every other choice.
    """
    if most is None or len(group) <= most:
        return group
    return tuple(entropy.sample(group, most))


def group_means(values_BK: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return the mean row of each group, float64 [groups, K], from the rows of all groups one after the other.

    Args:
        values_BK: float64 [B, K], an example's vector in each row.
        sizes: examples of each group, at least 1; they add up to B.

    Formal guarantees:
        A group's row depends on its own examples alone. Where a coordinate of an example is not finite
        it counts as 0.
    """
    assert sum(sizes) == len(values_BK), "a row for each example of each group"
    sizes_U = np.array(sizes, dtype=np.int64)
    if (sizes_U == 1).all():  # examples are the unit, or nobody was drawn: nothing to average
        return values_BK
    finite_BK = np.where(np.isfinite(values_BK), values_BK, 0.0)
    shares_BK = finite_BK / np.repeat(sizes_U, sizes_U)[:, None]  # divided first: a sum of huge values would overflow
    with np.errstate(over="ignore"):  # the largest floats may still round up to inf, which the clip counts as 0
        return np.add.reduceat(shares_BK, np.cumsum(sizes_U) - sizes_U, axis=0)
