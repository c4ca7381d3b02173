"""The smallest noise multiplier that keeps a composition within a budget.

A try by privacy loss distribution (PLD) takes a fraction of a second, a try by a Rényi bound takes milliseconds. So the
bound is solved first. The ratio of PLD to bound is measured once there; it hardly changes nearby, so it corrects the
bound. About four tries by PLD finish the search: 2 s in all, where bisecting by PLD alone takes ten or more.
"""

import math
from collections.abc import Callable

from orchestrator.privacy.errors import BudgetExceeded

SMALLEST_NOISE_MULTIPLIER = 0.01
LARGEST_NOISE_MULTIPLIER = 1e6
RELATIVE_TOLERANCE = 1e-3
CostFunction = Callable[[float], float]
_RENYI_EXCESS = 1.1  # Rényi ε over PLD ε, typically


def smallest_that_fits(cost: CostFunction, bound: CostFunction, epsilon: float, delta: float) -> float:
    """Return the smallest noise multiplier in [0.01, 1e6] of cost at most `epsilon`, to 0.1 %.

    Args:
        cost: from a noise multiplier to its certified ε; falls as the noise grows.
        bound: from a noise multiplier to an upper bound on that ε, in milliseconds; the search starts from it.
        epsilon: the budget, finite and above 0.
        delta: the δ of both, for messages.

    Raises:
        BudgetExceeded: no noise multiplier up to 1e6 fits, as when a fixed part costs too much by itself.
        ValueError: a budget out of range.

    Formal guarantees:
        `cost(result) <= epsilon` was computed: nothing rests on `bound`.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"The budget epsilon must be finite and above 0; got {epsilon!r}.")
    guess, stride = _guess(cost, bound, epsilon)
    result = _smallest(cost, epsilon, guess, stride, RELATIVE_TOLERANCE)
    if result is None:
        raise BudgetExceeded(
            f"No noise multiplier up to {LARGEST_NOISE_MULTIPLIER:g} brings ε down to {epsilon:g} at δ = {delta:g}. "
            "Another part of the plan (noisy evaluations, the kind of noise) costs too much by itself.",
            spent=0.0,
            asked=cost(LARGEST_NOISE_MULTIPLIER),
            left=epsilon,
        )
    assert cost(result) <= epsilon
    return result


def _guess(cost: CostFunction, bound: CostFunction, budget: float) -> tuple[float, float]:
    """Return a noise multiplier near the answer and how far (as a factor) the answer may be from it."""
    guess = _smallest(bound, _RENYI_EXCESS * budget, 1.0, 4.0, 0.01)
    if guess is None:  # the bound is too loose: search by PLD from here
        return 10.0, 3.0
    certified, bounded = cost(guess), bound(guess)
    if not (0 < certified < math.inf and 0 < bounded < math.inf):
        return guess, 1.1
    corrected = _smallest(bound, budget * bounded / certified, guess, 1.01, 1e-4) or guess
    near = abs(math.log(corrected / guess)) < 0.1
    return corrected, 1 + 0.4 * RELATIVE_TOLERANCE if near else 1.1


def _smallest(cost: CostFunction, budget: float, guess: float, stride: float, tolerance: float) -> float | None:
    """Return the smallest x in [0.01, 1e6] with cost(x) <= budget, to the relative tolerance; None if there is none.

    Steps away from the guess by the factor `stride`, then by its third power and so on, until the answer lies between
    two points.
    """
    low = high = guess
    if cost(guess) <= budget:
        while cost(low) <= budget:
            if low <= SMALLEST_NOISE_MULTIPLIER:
                return low
            low, high, stride = max(low / stride, SMALLEST_NOISE_MULTIPLIER), low, stride**3
    else:
        while cost(high) > budget:
            if high >= LARGEST_NOISE_MULTIPLIER:
                return None
            low, high, stride = high, min(high * stride, LARGEST_NOISE_MULTIPLIER), stride**3
    return _close_in(cost, budget, low, high, tolerance)


def _close_in(cost: CostFunction, budget: float, low: float, high: float, tolerance: float) -> float:
    """Shrink (too little, enough) by secants in ln x and ln cost, by halves where secants stall; return `enough`."""
    low_cost, high_cost, halve = cost(low), cost(high), False
    while high > low * (1 + tolerance):
        width = high / low
        x = math.sqrt(low * high) if halve else _secant(low, low_cost, high, high_cost, budget, tolerance)
        x_cost = cost(x)
        if x_cost <= budget:
            high, high_cost = x, x_cost
        else:
            low, low_cost = x, x_cost
        halve = high / low > max(math.sqrt(width), 1 + 4 * tolerance)
    return high


def _secant(low: float, low_cost: float, high: float, high_cost: float, budget: float, tolerance: float) -> float:
    """Return where the line through two points meets the budget, shifted a little so that the far end moves too."""
    middle, shift = math.sqrt(low * high), 1 + 0.4 * tolerance
    if not 0 < high_cost < low_cost < math.inf:
        return middle
    share = math.log(low_cost / budget) / math.log(low_cost / high_cost)
    x = low * (high / low) ** share
    x = x * shift if x < middle else x / shift
    return min(max(x, low * shift), high / shift)
