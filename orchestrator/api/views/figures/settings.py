"""The searched settings: how much each one matters, and which ones gave which score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.api.views.figures.style import BEST, OTHER, empty, new_figure
from orchestrator.api.views.figures.trials import Trials
from orchestrator.api.views.tables import score_text, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST_COMPLETE = 4
"""Complete trials below which no importance is drawn."""
MOST_MARKS = 5  # on an axis


def importance(trials: Trials) -> Figure:
    """Draw the share of each setting in what separates good trials from others.

    PED-ANOVA as Optuna computes it (Watanabe et al., IJCAI 2023, arXiv:2304.10255), from complete trials. With the few
    trials of a private search it is a hint and no more.
    """
    figure, (panel,) = new_figure(height=0.9 + 0.45 * max(2, len(trials.searched)))
    complete = [row for row in trials.scored if row.state == "complete"]
    if len(complete) < FEWEST_COMPLETE:
        empty(panel, f"{len(complete)} complete trials are too few to tell which setting matters.")
        return figure
    shares = sorted(_importances(trials).items(), key=lambda item: item[1])
    panel.barh([_label(name) for name, _ in shares], [share for _, share in shares], color=OTHER)
    panel.set_xlim(0, 1)
    panel.set_xlabel(f"importance for the score ({len(complete)} complete trials)")
    panel.set_title("Which settings matter")
    return figure


def _importances(trials: Trials) -> dict[str, float]:
    import warnings

    from optuna.exceptions import ExperimentalWarning
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)  # scores are equal, or low ones are looked for: of −score
        study, evaluator = trials.load_study(), PedAnovaImportanceEvaluator()
        if len(study.directions) == 1:
            return dict(get_param_importances(study, evaluator=evaluator))
        return dict(get_param_importances(study, evaluator=evaluator, target=lambda trial: -trial.values[0]))


def parallel(trials: Trials) -> Figure:
    """Draw each trial as a line across one axis a setting and an axis of scores, coloured by score.

    An axis is logarithmic where the search is. A trial without a value at an axis leaves a gap there.
    """
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    names = trials.searched
    figure, (panel,) = new_figure(height=3.8)
    rows = sorted(trials.scored, key=lambda row: row.scores[-1])
    if not rows:
        empty(panel, "No trial has a score yet.")
        return figure
    columns = [[row.values.get(name) for row in rows] for name in names] + [[row.scores[-1] for row in rows]]
    scales = [_Scale(column, _is_log(trials, name)) for name, column in zip([*names, ""], columns, strict=True)]
    low, high = rows[0].scores[-1], rows[-1].scores[-1]
    norm = Normalize(low, high if high > low else low + 1e-12)
    for index, row in enumerate(rows):
        heights = [scale.height(column[index]) for scale, column in zip(scales, columns, strict=True)]
        best = trials.is_best(row)
        color = BEST if best else colormaps["viridis"](0.25 + 0.55 * norm(row.scores[-1]))
        panel.plot(range(len(heights)), heights, color=color, linewidth=2.6 if best else 1.2, zorder=5 if best else 2)
    panel.grid(visible=False)
    for place, (scale, name) in enumerate(zip(scales, [*names, ""], strict=True)):
        _draw_axis(panel, place, scale, trials if not name else None)
    panel.set_xticks(range(len(columns)), [*map(_label, names), trials.metric])
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.set_ylim(-0.05, 1.05)
    panel.set_title("Settings and scores; the best trial stands out")
    return figure


def _is_log(trials: Trials, name: str) -> bool:
    return bool(getattr(trials.config.search.parameters.get(name), "log", False))


def _label(name: str) -> str:
    return name.removeprefix("method.").replace("_", " ")


def _draw_axis(panel: Axes, place: int, scale: _Scale, scores_of: Trials | None) -> None:
    panel.axvline(place, color="0.5", linewidth=0.8, zorder=1)
    for value in scale.marks:
        text = short(value) if scores_of is None else score_text(value, scores_of.metric)
        panel.annotate(text, (place, scale.height(value)), xytext=(4, 0), textcoords="offset points",
                       fontsize="small", verticalalignment="center", zorder=6)  # fmt: skip


class _Scale:
    """Heights in [0, 1] of the values of one axis: numbers by size (or logarithm), anything else by order."""

    def __init__(self, values: Sequence[Any], log: bool) -> None:
        known = [value for value in values if value is not None]
        self._is_number = bool(known) and all(type(value) in (int, float) for value in known)
        self._log = log and self._is_number and min(known) > 0
        texts = sorted({short(value) for value in known})
        self._order = {text: index / max(1, len(texts) - 1) for index, text in enumerate(texts)}
        self.marks: Sequence[Any] = texts[:: math.ceil(len(texts) / MOST_MARKS)] if texts else ()
        if self._is_number:
            self._low, self._high = self._place(min(known)), self._place(max(known))
            self.marks = sorted({min(known), max(known)})

    def height(self, value: Any) -> float:
        if value is None:
            return math.nan
        if not self._is_number:
            return self._order[short(value)]
        width = self._high - self._low
        return (self._place(value) - self._low) / width if width else 0.5

    def _place(self, value: float) -> float:
        return math.log(value) if self._log else float(value)
