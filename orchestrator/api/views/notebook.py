"""A table of trials that updates itself in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from html import escape
from typing import Any

from orchestrator.api.views.frames import trials_frame
from orchestrator.api.views.tables import score_text, short
from orchestrator.config.models import SweepConfig
from orchestrator.planning.facts import facts_html
from orchestrator.privacy.display import epsilon_text
from orchestrator.privacy.errors import LedgerUnreachable
from orchestrator.storage.results import StoredRun, StoredSweep
from orchestrator.storage.trials import TrialRow, best_of
from orchestrator.sweep.monitor import WorkFacts


class NotebookTable:
    """A monitor that shows a table in the cell that runs; it changes when a trial starts, is scored or ends."""

    def on_start(self, facts: WorkFacts) -> None:
        """Show the table."""
        from IPython.display import HTML, display

        self._facts, self._rows = facts, {row.number: row for row in facts.ended}
        self._html, self._shown = HTML, display(HTML(self._table()), display_id=True)

    def on_trial_start(self, trial: TrialRow) -> None:
        """Show the trial as it is now."""
        self._rows[trial.number] = trial
        self._update()

    on_score = on_trial_end = on_trial_start

    def on_end(self, result: StoredRun | StoredSweep | None) -> None:
        """Show the last state."""
        self._update()

    def _update(self) -> None:
        if self._shown is not None:
            self._shown.update(self._html(self._table()))

    def _table(self) -> str:
        facts, rows = self._facts, [self._rows[number] for number in sorted(self._rows)]
        if facts.count_steps is None or facts.plan is None:
            return "Searching. What the trials do stays secret under release: best; only the winner is shown."
        lines, best = [("steps", self._steps(rows))], best_of(rows)
        if best is not None and best.score is not None:
            lines.append(("best", f"trial {best.number}: {score_text(best.score, facts.metric)}"))
        config = facts.plan.config
        if facts.kind == "run" or not isinstance(config, SweepConfig):
            return facts_html([("run", facts.name), *lines])
        texts: dict[str | int, Callable[[Any], str]] = {
            "score": lambda score: score_text(score, facts.metric),
            "epsilon": lambda epsilon: epsilon_text(epsilon, digits=3),
            **dict.fromkeys(config.search.parameters, lambda value: escape(short(value))),
        }
        return facts_html(lines) + trials_frame(rows, config).to_html(formatters=texts, na_rep="", border=0)

    def _steps(self, rows: list[TrialRow]) -> str:
        total = self._facts.steps_to_come(rows) or 0
        assert self._facts.count_steps is not None
        with suppress(LedgerUnreachable):  # the trials wait for it and say so
            return f"{self._facts.count_steps():,} of {total:,}"
        return f"of {total:,}"
