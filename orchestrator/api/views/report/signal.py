"""How much of what a run released is signal, and how much is noise: read from its release log."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.mechanism.plan import GRID_UNITS_PER_CLIP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 60


def released_sizes(log: Path) -> tuple[np.ndarray, float | None]:
    """Return the root mean square of each step's released values [T], and of the noise; in multiples of the clip C.

    The array is empty for a method that releases gradients, whose log holds digests. The noise is None without privacy.
    """
    lines = [line for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    entries = [json.loads(line) for line in lines]
    run = entries[0]["run"] if entries else {}
    last = -1 if run.get("mechanism.has_norm") else None  # the measure of norms is no value of the estimate
    steps = [entry["units"][:last] for entry in entries if entry.get("kind") == "step" and "units" in entry]
    sizes = [math.sqrt(sum((value / GRID_UNITS_PER_CLIP) ** 2 for value in units) / len(units)) for units in steps]
    multiplier = run.get("mechanism.noise_multiplier")
    is_laplace = run.get("mechanism.noise") == "laplace"
    return np.array(sizes), multiplier and multiplier * (math.sqrt(2) if is_laplace else 1.0)


def signal_share(sizes_T: np.ndarray, noise: float) -> float:
    """Return the share of the released values' power that is not noise, over all steps; in [0, 1]."""
    return float(np.clip(1.0 - noise**2 / np.mean(sizes_T**2), 0.0, 1.0))


def signal(sizes_T: np.ndarray, noise: float) -> "Figure":
    """Draw the size of the released values over the steps, beside that of the noise alone."""
    from orchestrator.api.views.figures.style import BEST, OTHER, new_figure

    width = max(1, math.ceil(len(sizes_T) / MOST_POINTS))
    groups = [sizes_T[start : start + width] for start in range(0, len(sizes_T), width)]
    figure, (panel,) = new_figure()
    steps = [min((place + 1) * width, len(sizes_T)) for place in range(len(groups))]
    sizes = [math.sqrt(float(np.mean(group**2))) for group in groups]
    panel.plot(steps, sizes, color=OTHER, marker="o", markersize=3, label="released: signal and noise")
    panel.axhline(noise, color=BEST, linestyle="--", label="noise alone")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("step")
    panel.set_ylabel("size of a released value, in clips C")
    panel.set_title("Signal against noise in what was released")
    panel.legend(frameon=False)
    return figure
