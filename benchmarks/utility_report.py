"""The table and the plot that utility.py writes from its finished cells."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

TITLES = {
    "zero-shot": "zero-shot",
    "mezo": "MeZO",
    "dp-zo": "DP-ZO, Gaussian",
    "dp-zo-laplace": "DP-ZO, Laplace",
    "dpzero": "DPZero",
    "dp-zoso": "DP-ZOSO",
    "dp-zopo": "DP-ZOPO",
    "dp-aggzo": "DP-AggZO, K = 16",
    "dp-sgd": "DP-SGD",
    "dp-adamw": "DP-AdamW",
    "adamw": "AdamW",
}
COLORS = ("#1b6ca8", "#e08e2b", "#3a7d44", "#8e4585")


class Score(NamedTuple):
    """Accuracy over seeds, in per cent."""

    mean: float
    deviation: float
    num_seeds: int

    def __str__(self) -> str:
        spread = f" ± {self.deviation:.1f}" if self.num_seeds > 1 else ""
        return f"{self.mean:.1f}{spread}" + ("" if self.num_seeds == 3 else f" ({self.num_seeds})")


def score_of(lines: Iterable[dict[str, Any]]) -> Score | None:
    """Return mean and sample standard deviation (0 for one seed) of finished cells; None if there are none."""
    values = [100.0 * line["score"] for line in lines]
    if not values:
        return None
    return Score(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values))


def write_report(lines: Sequence[dict[str, Any]], folder: Path, task: str) -> str:
    """Write `utility-TASK.json`, `.md` and `.svg` into a folder, and return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    trainables = list(dict.fromkeys(line["trainable"] for line in lines))
    text = "\n\n".join(_table([line for line in lines if line["trainable"] == one], one) for one in trainables)
    (folder / f"utility-{task}.md").write_text(text + "\n", encoding="utf-8")
    (folder / f"utility-{task}.json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    _plot(lines, trainables, folder / f"utility-{task}.svg", task)
    return text


def _table(lines: Sequence[dict[str, Any]], trainable: str) -> str:
    epsilons = sorted({line["epsilon"] for line in lines if line["epsilon"] is not None})
    head = [
        f"trainable: {trainable}",
        *(f"ε = {epsilon:g}" for epsilon in epsilons),
        "without privacy",
        "σ",
        "C",
        "λ",
        "η",
    ]
    rows = [head, ["---"] * len(head)]
    for method in dict.fromkeys(line["method"] for line in lines):
        own = [line for line in lines if line["method"] == method]
        private = [score_of(line for line in own if line["epsilon"] == epsilon) for epsilon in epsilons]
        scores = [*private, score_of(line for line in own if line["epsilon"] is None)]
        rows.append([TITLES[method], *("" if score is None else str(score) for score in scores), *_settings(own)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _settings(own: Sequence[dict[str, Any]]) -> list[str]:
    """Return the cells σ (one for each ε), C, λ and η of a row."""
    if own[0]["method"] == "zero-shot":
        return ["", "", "", ""]
    sigmas = {line["epsilon"]: line["noise_multiplier"] for line in own if line.get("noise_multiplier")}
    method, first = own[0]["settings"]["method"], own[0]["settings"]["order"] == "first"
    noise = " / ".join(f"{sigmas[epsilon]:.3g}" for epsilon in sorted(sigmas))
    clip = _shown(method["clip_norm"]) if sigmas else ""
    return [noise, clip, "" if first else _shown(method["smoothing"]), _shown(method["learning_rate"])]


def _shown(setting: Any) -> str:
    if not isinstance(setting, dict):
        return f"{setting:.2g}"
    if setting["kind"] == "stagewise":
        return f"{setting['start']:.2g} × {setting['factor']:g}^stage"
    return f"{setting['kind']} {setting['start']:.2g} → {setting['end']:.2g}"


def _plot(lines: Sequence[dict[str, Any]], trainables: Sequence[str], path: Path, task: str) -> None:
    methods = list(dict.fromkeys(line["method"] for line in lines))[::-1]
    groups = sorted({line["epsilon"] for line in lines if line["epsilon"] is not None})
    figure = Figure(figsize=(4.2 * len(trainables) + 1.6, 0.36 * len(methods) + 1.1), layout="constrained")
    panels = figure.subplots(1, len(trainables), sharey=True, squeeze=False)[0]
    for panel, trainable in zip(panels, trainables, strict=True):
        for number, epsilon in enumerate([*groups, None]):
            places, means, bars = [], [], []
            for row, method in enumerate(methods):
                own = (trainable, method, epsilon)
                score = score_of(line for line in lines if (line["trainable"], line["method"], line["epsilon"]) == own)
                if score is not None:
                    places.append(row + (0.0 if epsilon is None else 0.16 * (0.5 - number)))
                    means.append(score.mean)
                    bars.append(score.deviation)
            name = "no privacy (ε = ∞, or nothing trained)" if epsilon is None else f"ε = {epsilon:g}"
            color = "0.45" if epsilon is None else COLORS[number % len(COLORS)]
            panel.errorbar(means, places, xerr=bars, fmt="o", ms=4.5, lw=1.2, capsize=2, color=color, label=name)
        panel.set_yticks(range(len(methods)), [TITLES[method] for method in methods])
        panel.set_xlabel("accuracy, %")
        panel.set_title(f"{task}, {trainable}")
        panel.grid(visible=True, axis="x", color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=7, loc="lower left")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": task}):  # text as letters; the same bytes each time
        FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})
