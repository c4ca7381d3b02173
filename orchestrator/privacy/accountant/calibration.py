"""The smallest noise multiplier that keeps a composition within a budget.

A privacy loss distribution (PLD) takes a fraction of a second a try, a Rényi bound milliseconds. So the bound is solved
first; the ratio of PLD to bound, measured once there, hardly changes nearby and corrects the bound; and the corrected
answer is so near that some four tries by PLD finish: about 2 s in all where bisecting by PLD alone takes ten or more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import dp_accounting as dp

from orchestrator.privacy.accountant import accountant
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.bounds import pure_epsilon, quick_epsilon
from orchestrator.privacy.accountant.events import read
from orchestrator.privacy.errors import BudgetExceeded

SMALLEST_NOISE_MULTIPLIER = 0.01
LARGEST_NOISE_MULTIPLIER = 1e6
RELATIVE_TOLERANCE = 1e-3
CostFunction = Callable[[float], float]
_RENYI_EXCESS = 1.1  # Rényi ε over PLD ε, typically


def calibrate_noise_multiplier(
    make_event: Callable[[float], dp.DpEvent | Sequence[dp.DpEvent]],
    epsilon: float,
    delta: float,
    adjacency: Adjacency = "add-or-remove-one",
) -> float:
    """Return the smallest noise multiplier in [0.01, 1e6] whose event costs at most (`epsilon`, `delta`), to 0.1 %.

    Args:
        make_event: from a noise multiplier to what will be released; its ε must fall as the noise grows. Several
            events (`SweepCaps.sides`): what disjoint records see, each of which must fit.
        epsilon: the budget, finite and above 0.
        delta: the budget's δ; 0 asks for pure ε (Laplace noise only).
        adjacency: which pairs of data sets must be indistinguishable.

    Raises:
        BudgetExceeded: if no noise multiplier up to 1e6 fits, as when a fixed part of the event is too dear by itself.
        ValueError: for a budget out of range or an event that is not understood.

    Formal guarantees:
        `accountant.epsilon(make_event(result), delta, adjacency) <= epsilon` for every event: the result itself was
        certified. Where the accountant leaves the PLD grid (see there), the result may be larger than the smallest,
        never smaller.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"The budget epsilon must be finite and above 0; got {epsilon!r}.")

    def sides(noise_multiplier: float) -> Sequence[dp.DpEvent]:
        made = make_event(noise_multiplier)
        return (made,) if isinstance(made, dp.DpEvent) else made

    def cost(noise_multiplier: float) -> float:
        return max(accountant.epsilon(side, delta, adjacency) for side in sides(noise_multiplier))

    def bound(noise_multiplier: float) -> float:
        felt = noise_multiplier / 2 if adjacency == "replace-one" else noise_multiplier  # a swap moves the sum by 2C
        releases = [read(side) for side in sides(felt)]
        return max(pure_epsilon(side) if delta == 0 else quick_epsilon(side, delta) for side in releases)

    return smallest_that_fits(cost, bound, epsilon, delta)


def smallest_that_fits(cost: CostFunction, bound: CostFunction, epsilon: float, delta: float) -> float:
    """Return the smallest noise multiplier in [0.01, 1e6] of cost at most `epsilon`, to 0.1 %.

    Args:
        cost: from a noise multiplier to its certified ε; falls as the noise grows.
        bound: an upper bound on the same that takes milliseconds, to look from.
        epsilon: the budget, finite and above 0.
        delta: the δ at which both are said.

    Raises:
        BudgetExceeded: if no noise multiplier up to 1e6 fits.
    """
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
    if guess is None:  # the bound is too loose to say: look by PLD from here
        return 10.0, 3.0
    certified, bounded = cost(guess), bound(guess)
    if not (0 < certified < math.inf and 0 < bounded < math.inf):
        return guess, 1.1
    corrected = _smallest(bound, budget * bounded / certified, guess, 1.01, 1e-4) or guess
    near = abs(math.log(corrected / guess)) < 0.1
    return corrected, 1 + 0.4 * RELATIVE_TOLERANCE if near else 1.1


def _smallest(cost: CostFunction, budget: float, guess: float, stride: float, tolerance: float) -> float | None:
    """Return the smallest x in [0.01, 1e6] with cost(x) <= budget, to the relative tolerance; None if there is none.

    Walks from the guess by `stride`, then its third power and so on, until the answer is caught between two points.
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
    """Shrink (too little, enough) by secants in ln x and ln cost, by halves where those stall; return `enough`."""
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
    """Return where the line through two points meets the budget, shifted a little so that the far end closes in too."""
    middle, shift = math.sqrt(low * high), 1 + 0.4 * tolerance
    if not 0 < high_cost < low_cost < math.inf:
        return middle
    share = math.log(low_cost / budget) / math.log(low_cost / high_cost)
    x = low * (high / low) ** share
    x = x * shift if x < middle else x / shift
    return min(max(x, low * shift), high / shift)
