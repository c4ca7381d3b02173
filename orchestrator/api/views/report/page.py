"""Renders the report and writes it into the run's folder."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.api.views.figures.catalogue import FIGURES
from orchestrator.api.views.figures.settings import FEWEST_COMPLETE
from orchestrator.api.views.figures.trials import Trials, trials_of
from orchestrator.api.views.report.facts import (
    Facts,
    configuration_yaml,
    facts_of,
    outcome,
    searched,
    tokens,
    totals,
    trial_rows,
)
from orchestrator.api.views.report.pictures import Picture, picture, save_figure
from orchestrator.api.views.report.signal import released_sizes, signal, signal_share
from orchestrator.storage.bucket import publish
from orchestrator.storage.existing import Existing, find_existing
from orchestrator.storage.files import write_whole

REPORT_NAME = "report.html"
_SEARCH = {
    "parallel": ("What was searched", "Each line is a trial: its settings, and at the right its score."),
    "history": ("Scores of the trials", "Each point is the last score of a trial; the line is the best so far."),
    "scores": ("Scores over steps", "Each line is a trial, from its first score to its last."),
    "importance": ("Which settings matter", "A long bar: trials differ in score mostly by this setting."),
}
_COST = {
    "privacy": ("Score against privacy", "Each point is a trial, at the ε it would have had alone."),
    "epsilon": (
        "What each trial would cost alone",
        "The bars do not add up to the total; the dashed line is the total.",
    ),
}
_SCHEDULES = {"schedules": ("Schedules", "What each trial used at each step.")}


def write_report(run: str | Path) -> Path:
    """Write the report of a finished run or sweep into its folder, and return its path.

    The same results give the same bytes. ValueError if there is none, or it has not finished.
    """
    existing = find_existing(run)
    path = existing.storage.folder / REPORT_NAME
    write_whole(path, report_html(existing))
    publish(existing.storage.url, existing.storage.folder, REPORT_NAME)
    if not existing.storage.releases_trials:  # its own date would tell how long a secret search took
        dated = existing.storage.result_file.stat().st_mtime
        for place in (path, path.parent):
            os.utime(place, (dated, dated))
    return path


def write_figures(run: str | Path, to: Path) -> list[Path]:
    """Write every figure of a report into a folder, as SVG and as PNG, and return their paths; errors as before."""
    facts = facts_of(find_existing(run))
    trials = trials_of(facts.existing) if facts.trials else None
    kinds = {**_SEARCH, **(_COST if facts.statement.private else {}), **_SCHEDULES}
    drawn = {kind: partial(FIGURES[kind], trials) for kind in _shown(trials, kinds)} if trials is not None else {}
    if facts.log.is_file() and (sizes := released_sizes(facts.log)) and sizes[1] and len(sizes[0]):
        drawn["signal"] = partial(signal, *sizes)
    to.mkdir(parents=True, exist_ok=True)
    return [path for kind, draw in drawn.items() for path in save_figure(draw(), to / kind)]


def report_html(existing: Existing) -> str:
    """Return the report as one page of HTML without scripts; it loads nothing."""
    from jinja2 import Environment, PackageLoader

    facts = facts_of(existing)
    pages = Environment(loader=PackageLoader("orchestrator.api.views.report", "."), autoescape=True, trim_blocks=True)
    return pages.get_template("page.html.j2").render(_context(facts))


def _context(facts: Facts) -> dict[str, Any]:
    trials = trials_of(facts.existing) if facts.trials else None
    return {
        "name": facts.existing.storage.name,
        "kind": facts.existing.kind,
        "statement": facts.statement,
        "totals": totals(facts.statement),
        "num_trials": len(facts.trials),
        "secret": not facts.existing.storage.releases_trials,
        "outcome": list(outcome(facts)),
        "tokens": tokens(facts.statement),
        "searched": [name.removeprefix("method.").replace("_", " ") for name in searched(facts)],
        "trials": trial_rows(facts),
        "search_pictures": _pictures(trials, _SEARCH),
        "cost_pictures": _pictures(trials, _COST) if facts.statement.private else [],
        "schedules": _pictures(trials, _SCHEDULES),
        "signal": _signal(facts),
        "configuration": configuration_yaml(facts.existing),
    }


def _pictures(trials: Trials | None, wanted: dict[str, tuple[str, str]]) -> list[Picture]:
    if trials is None:
        return []
    return [picture(kind, *wanted[kind], partial(FIGURES[kind], trials)) for kind in _shown(trials, wanted)]


def _shown(trials: Trials, wanted: Iterable[str]) -> list[str]:
    """Return the figures that these trials have."""
    return [kind for kind in wanted if kind != "importance" or _shows_importance(trials)]


def _shows_importance(trials: Trials) -> bool:
    if sum(row.state == "complete" for row in trials.scored) < FEWEST_COMPLETE:
        return False
    try:
        trials.load_study()
    except ValueError:  # it stays with the operator, and the folder was copied without it
        return False
    return True


def _signal(facts: Facts) -> list[Picture]:
    return list(_signal_pictures(facts)) if facts.log.is_file() else []


def _signal_pictures(facts: Facts) -> Iterator[Picture]:
    sizes_T, noise = released_sizes(facts.log)
    if noise and len(sizes_T):
        share = signal_share(sizes_T, noise)
        text = (
            f"About {share:.0%} of the power of the released values is signal, over the whole run. A line near the "
            "dashed one means almost pure noise: a larger batch, or a smaller clip, may help."
        )
        yield picture("signal", "Signal and noise", text, partial(signal, sizes_T, noise))
