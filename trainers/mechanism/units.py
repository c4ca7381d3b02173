"""The unit of privacy: one example, or all examples of a user.

Where users are the unit, users are sampled. Of a drawn user at most m examples are chosen afresh, and the user
contributes the MEAN of their vectors, which is then clipped: the sum moves by at most C, however many examples a user
has. It is a mean and not a sum, so that a good clip does not depend on how many examples users have.
"""

import random
import secrets
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Example = TypeVar("Example")
Unit = tuple[Example, ...]

_ENTROPY = secrets.SystemRandom()


def units_of(examples: Sequence[Example], users: Sequence[str] | None) -> list[Unit[Example]]:
    """Return one unit for each example, or one for each user: its examples in their order, users as they first appear.

    `users` has the owner of each example, in the same order; None where examples are the unit of privacy.
    """
    if users is None:
        return [(example,) for example in examples]
    owned: dict[str, list[Example]] = {}
    for example, user in zip(examples, users, strict=True):
        owned.setdefault(user, []).append(example)
    return [tuple(of_user) for of_user in owned.values()]


def choose(unit: Unit[Example], most: int | None, entropy: random.Random = _ENTROPY) -> Unit[Example]:
    """Return at most `most` examples of a unit, drawn without replacement from the system's (or shared) entropy.

    Formal guarantees:
        Every subset of that size is equally likely, independently of every other choice.
    """
    if most is None or len(unit) <= most:
        return unit
    return tuple(entropy.sample(unit, most))


def unit_means(values_BK: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return the mean row of each unit, float64 [U, K], from the rows of all units one after the other.

    Args:
        values_BK: float64 [B, K], an example's vector in each row.
        sizes: number of examples of each unit, at least 1; they add up to B.

    Formal guarantees:
        A unit's row depends on its own examples alone. A coordinate of an example that is not finite counts as 0.
    """
    assert sum(sizes) == len(values_BK), "a row for each example of each unit"
    sizes_U = np.array(sizes, dtype=np.int64)
    if (sizes_U == 1).all():  # examples are the unit, or the batch is empty: there is nothing to average
        return values_BK
    finite_BK = np.where(np.isfinite(values_BK), values_BK, 0.0)
    shares_BK = finite_BK / np.repeat(sizes_U, sizes_U)[:, None]  # divided first: a sum of huge values would overflow
    with np.errstate(over="ignore"):  # the largest floats may still round up to inf, which the clip counts as 0
        return np.add.reduceat(shares_BK, np.cumsum(sizes_U) - sizes_U, axis=0)
