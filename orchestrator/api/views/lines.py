"""The progress where output is no terminal, such as the log of a job: a line a score, and one a minute."""

import time
from contextlib import suppress
from threading import Event, Thread

from rich.console import Console

from orchestrator.api.views.tables import score_text
from orchestrator.planning.facts import duration
from orchestrator.privacy.display import epsilon_text
from orchestrator.privacy.errors import LedgerUnreachable
from orchestrator.storage.results import StoredRun, StoredSweep
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.monitor import WorkFacts

PERIOD_S = 60.0


class Lines:
    """A monitor that prints lines; of a search of one winner it prints nothing."""

    def __init__(self, console: Console, period_s: float = PERIOD_S) -> None:
        self._console, self._period_s = console, period_s

    def on_start(self, facts: WorkFacts) -> None:
        """Begin to print a line a minute."""
        self._facts, self._rows = facts, {row.number: row for row in facts.ended}
        if facts.ray_dashboard is not None:
            self._print(facts.ray_dashboard)
        self._ended, self._thread = Event(), Thread(target=self._tick, daemon=True)
        self._thread.start()

    def on_trial_start(self, trial: TrialRow) -> None:
        """Count it."""
        self._rows[trial.number] = trial

    def on_score(self, trial: TrialRow) -> None:
        """Print the score; that of the last step comes with the trial's end."""
        self._rows[trial.number] = trial
        self._print_trial(trial)

    def on_trial_end(self, trial: TrialRow) -> None:
        """Print how a trial ended without the score of its last step."""
        self._rows[trial.number] = trial
        if trial.state != "complete":
            self._print_trial(trial)

    def on_end(self, result: StoredRun | StoredSweep | None) -> None:
        """Print no more."""
        self._ended.set()
        self._thread.join()

    def _print_trial(self, trial: TrialRow) -> None:
        facts = self._facts
        said = [f"{trial.steps} of {trial.num_steps or facts.num_steps} steps"]
        if trial.score is not None:
            said.append(f"{facts.metric} {score_text(trial.score, facts.metric)}")
        if trial.epsilon is not None:
            said.append(f"ε {epsilon_text(trial.epsilon, digits=3)}")
        if facts.kind == "sweep":
            said.append(trial.state)
        self._print(f"{facts.name}: " if facts.kind == "run" else f"trial {trial.number}: ", ", ".join(said))

    def _tick(self) -> None:
        """Print steps, rate and time left once a minute; nothing where the steps are secret."""
        facts, before, then = self._facts, None, 0.0
        while facts.count_steps is not None and facts.num_trials is not None:
            with suppress(LedgerUnreachable):  # the trials wait for it and say so
                steps, now = facts.count_steps(), time.monotonic()
                total = facts.steps_to_come(list(self._rows.values())) or 0
                if before is not None:
                    rate = (steps - before) / (now - then)
                    left = f"{duration((total - steps) / rate)} left" if rate else "no step in the last minute"
                    self._print("", f"{steps} of {total} steps, {rate:.3g} steps/s, {left}")
                before, then = steps, now
            if self._ended.wait(self._period_s):
                return

    def _print(self, *words: str) -> None:
        self._console.print("".join(words), highlight=False, markup=False, soft_wrap=True)
