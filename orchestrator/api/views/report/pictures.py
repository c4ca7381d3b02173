"""Figures as SVG inside a page: they take the page's text colour, light or dark, and each says what it shows."""

import html
import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure

_INK = "#010203"  # no figure uses it otherwise; becomes the page's text colour
_TEXTS = ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color")
_STYLE: dict[Any, Any] = {
    **dict.fromkeys((*_TEXTS, "legend.labelcolor"), _INK),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "dpzo",
    "font.family": "sans-serif",
}
_ID = re.compile(r'(\bid="|url\(#|href="#)')
_HEAD = re.compile(r"^.*?<svg ", flags=re.DOTALL)


class Picture(NamedTuple):
    """A figure as SVG, its heading, and a sentence that says what it shows."""

    kind: str
    title: str
    svg: str
    text: str


def picture(kind: str, title: str, text: str, draw: "Callable[[], Figure]") -> Picture:
    """Return a figure for a page; the same figure gives the same text."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(_STYLE):
        figure = draw()
        if len(figure.axes) == 1:
            figure.axes[0].set_title("")  # the page has it as a heading
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = _HEAD.sub("<svg ", file.getvalue(), count=1).replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _ID.sub(lambda match: f"{match[1]}{kind}-", svg)  # a page has each id once
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg)  # as wide as the page lets it be
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(text)}" ', 1)
    return Picture(kind, title, svg, text)


def save_figure(figure: "Figure", stem: "Path") -> "list[Path]":
    """Write a figure beside a stem as SVG and PNG, on white, without a date; return the paths."""
    from matplotlib import rc_context

    written = []
    for ending, metadata in ((".svg", {"Date": None, "Creator": None}), (".png", {"Software": None})):
        written.append(stem.with_suffix(ending))
        with rc_context({"svg.hashsalt": "dpzo"}):
            figure.savefig(written[-1], metadata=metadata, dpi=150)
    return written
