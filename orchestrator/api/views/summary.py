"""The plan before a run, and the result after it: the table of trials, the best trial, the privacy statement."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from orchestrator.api.views.tables import TrialsTable, facts_table, path_text, score_text, short
from orchestrator.budget.expected_trials import expected_trials
from orchestrator.config.models import SweepConfig
from orchestrator.planning.facts import duration, plan_facts
from orchestrator.planning.plan import Plan
from orchestrator.planning.rules.caps import CapsPlan
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.privacy.statement.statement import PrivacyStatement
from orchestrator.storage.results import StoredRun, StoredSweep
from trainers.config import Metric

STATEMENT_WIDTH = 88


def plan_summary(plan: Plan) -> RenderableType:
    """Return the ε, the noise, the sampling and the work of a plan."""
    facts, expected = plan_facts(plan), expected_trials(plan)
    return facts_table([*facts, *([("trials", str(expected))] if expected else [])])


def sweep_summary(result: StoredSweep, config: SweepConfig) -> RenderableType:
    """Return the table of trials, the facts of the best one, and the privacy statement."""
    best = result.best
    table = TrialsTable(
        result.trials,
        sorted(config.search.parameters),
        None if best is None else best.number,
        config.method.num_steps,
        config.metric,
    )
    facts = [] if result.zero_shot is None else [("zero-shot", score_text(result.zero_shot, config.metric))]
    if best is not None and best.score is not None and result.model_folder is not None:
        chosen = ", ".join(f"{name.removeprefix('method.')} {short(value)}" for name, value in best.values.items())
        facts += [
            ("best trial", f"{best.number}: {score_text(best.score, config.metric)} ({chosen})"),
            ("model", path_text(result.model_folder)),
        ]
    if result.front is not None:
        facts.append(("front", f"trials {', '.join(map(str, result.front))}: none beats another in {_both(config)}"))
    failed = [row for row in result.trials if row.state == "failed"]
    facts += [(f"trial {row.number}", f"failed: {row.why or 'see operator-only/'}") for row in failed]
    if result.private_score is not None:
        private = score_text(result.private_score, config.metric)
        facts.append(("private run", f"{private} with these settings on the private data"))
    facts.append(("results", path_text(result.folder)))
    if result.seconds is not None:
        facts.append(("took", duration(result.seconds)))
    facts += _left_over(result, config)
    return Group(table, Text(), facts_table(facts), Text(), _Statement(result.statement))


def _both(config: SweepConfig) -> str:
    return " and ".join(name.replace("_", " ") for name in config.search.objectives)


def _left_over(result: StoredSweep, config: SweepConfig) -> list[tuple[str, str]]:
    """Return the steps that were charged and not drawn, where another sweep may draw them, and how."""
    statement = result.statement
    left = statement.caps.get(TRAIN_STEP, 0) - (statement.tokens_drawn or {}).get(TRAIN_STEP, 0)
    shares = CapsPlan.counts(config) and statement.private and config.data.validation_share is None
    if not shares or statement.tokens_drawn is None or left < config.score.points(config.method.num_steps)[0]:
        return []
    return [("left over", f"{left:,} steps, charged already: dpzo sweep FILE --set search.reuse={result.name}")]


def run_summary(result: StoredRun, metric: Metric) -> RenderableType:
    """Return the facts of a finished run and its privacy statement."""
    interrupted = result.steps_charged - result.steps
    charged = f" ({interrupted} more were interrupted and stay charged)" if interrupted else ""
    facts = [("steps", f"{result.steps}{charged}")]
    if result.zero_shot is not None:
        facts.append(("zero-shot", score_text(result.zero_shot, metric)))
    if result.score is not None:
        facts.append(("score", score_text(result.score, metric)))
    facts += [("model", path_text(result.model_folder)), ("took", duration(result.seconds))]
    return Group(facts_table(facts), Text(), _Statement(result.statement))


@dataclass(frozen=True)
class _Statement:
    """A privacy statement that is wrapped to the width of the terminal."""

    statement: PrivacyStatement

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield Text(self.statement.text(min(options.max_width, STATEMENT_WIDTH)))
