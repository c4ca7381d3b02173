"""The figure of README.md and of the first page: what a search really costs, from the product's own accountant.

    PYTHONPATH=. python docs/generate/search_cost.py          # writes docs/search-cost.svg

Trials of the quickstart: T = 150 steps, B = 32 of N = 4,000 examples, noise multiplier 0.80663 of which 1 % pays for
rounding, δ = 1e-5. A line for each way to count them.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.laws import StepCap
from orchestrator.privacy.rules.repetitions import Repetitions

FIGURE = Path(__file__).parents[1] / "search-cost.svg"
NUM_TRIALS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30)
STEPS, SAMPLING_PROB, NOISE_MULTIPLIER, ROUNDING_SHARE, DELTA = 150, 32 / 4000, 0.80663, 0.01, 1e-5
ALL, BEST, ONE = "#0072b2", "#009e73", "#d55e00"  # colour-blind safe


def caps_of(num_trials: int) -> SweepCaps:
    """Return what so many trials of the quickstart may release."""
    step = StepCap(
        sampling_prob=SAMPLING_PROB,
        noise_multiplier=NOISE_MULTIPLIER,
        num_steps=STEPS * num_trials,
        rounding_share=ROUNDING_SHARE,
    )
    return SweepCaps(train_step=step)


def best_of(num_trials: int) -> BestOf:
    """Return a search that shows its winner alone, of a secret number of trials with this mean."""
    return BestOf(trial=caps_of(1), number=Repetitions(law="geometric", mean=float(num_trials)))


def draw() -> Figure:
    """Return the figure."""
    shown = [caps_of(number).epsilon(DELTA) for number in NUM_TRIALS]
    best = [best_of(number).epsilon(DELTA) for number in NUM_TRIALS[1:]]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    panel = figure.subplots()
    panel.plot(NUM_TRIALS, shown, color=ALL, linewidth=2.4, marker="o", markersize=4)
    panel.plot(NUM_TRIALS[1:], best, color=BEST, linewidth=1.6, linestyle="--")
    panel.plot(NUM_TRIALS, [shown[0]] * len(NUM_TRIALS), color=ONE, linewidth=1.6, linestyle=":")
    for text, value, color, side in (
        ("every trial is shown (the default)", shown[-1], ALL, "bottom"),
        ("the winner alone leaves, the number of trials is secret", best[3], BEST, "top"),
        ("only the winner is counted: wrong", shown[0], ONE, "bottom"),
    ):
        panel.text(NUM_TRIALS[-1], value, f"{text}\n" if side == "bottom" else text, ha="right", va=side, color=color)
    ten = shown[NUM_TRIALS.index(10)]
    panel.annotate(f"the quickstart: ε = {ten:.1f}", (10, ten), xytext=(-8, 10), textcoords="offset points", ha="right")
    panel.set_xlim(0, NUM_TRIALS[-1] + 1)
    panel.set_ylim(0, 1.15 * max(*shown, *best))
    panel.set_xlabel("number of trials (of which the mean is declared, where it is secret)")
    panel.set_ylabel(f"total ε at δ = {DELTA:g}")
    panel.grid(visible=True, color="0.9")
    panel.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "dpzo", "font.size": 11})
    draw().savefig(FIGURE, metadata={"Date": None})
