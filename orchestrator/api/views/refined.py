"""What `dpzo refine` shows: the score of every average and scale, and how to export the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.api.views.tables import plain_table, right, score_text

if TYPE_CHECKING:
    from orchestrator.sweep.refinement import Refined


def refined_view(found: Refined) -> RenderableType:
    """Return a table of scores, a row an average and a column a scale, and two lines about the best."""
    scales = list(dict.fromkeys(one.change.scale for one in found.candidates))
    shares = list(dict.fromkeys(one.change.last_percent for one in found.candidates))
    scores = {(one.change.last_percent, one.change.scale): one.score for one in found.candidates}
    table = plain_table("mean over", *right(*(f"× {scale:g}" for scale in scales)))
    for share in shares:
        row = [scores.get((share, scale)) for scale in scales]
        name = "last step" if share is None else f"last {share} %"
        table.add_row(name, *("" if score is None else score_text(score, found.metric) for score in row))
    best, plain = found.best, found.candidates[0]
    now, before = score_text(best.score, found.metric), score_text(plain.score, found.metric)
    lines = [f"Best on {found.chosen_on}: {now}, and {before} without a change. The cost is 0 ε."]
    if best is not plain and found.folder is None:
        lines.append("--to DIR writes this model, with a card that names these rows.")
    return Group(table, Text(), *map(Text, lines))
