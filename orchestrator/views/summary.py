"""The plan before a run, and the result after it: the table of trials, the best trial, the privacy statement."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from orchestrator.config.models import SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.privacy.display import epsilon_text
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.statement.statement import PrivacyStatement
from orchestrator.storage.results import RunResult, SweepResult
from orchestrator.views.tables import TrialsTable, duration, facts_table, path_text, score_text, short
from trainers.config import Metric, RunConfig
from trainers.methods.catalogue import METHODS

STATEMENT_WIDTH = 88


def plan_summary(plan: Plan) -> RenderableType:
    """Return the ε, the noise, the sampling and the work of a plan."""
    config, work = plan.config, plan.estimate
    method = METHODS[config.method.name]
    total = f"{epsilon_text(plan.epsilon)} at δ = {config.privacy.delta:g}" if plan.rule else "∞ (not private)"
    facts = [
        ("total ε", total),
        ("method", method.title if method.order == "first" else _zeroth_order(config)),
        ("steps", plan.steps_text),
    ]
    if isinstance(config, SweepConfig) and math.isfinite(plan.trial_epsilon):
        facts.append(("one trial's ε", f"{epsilon_text(plan.trial_epsilon)} by itself{plan.trial_epsilon_note}"))
    if plan.caps is not None:
        facts += _noise_facts(plan, plan.caps)
    passes = f"{work.forward_passes:,} of the batch, {work.examples_forwarded:,.0f} examples in all"
    facts += [("forward passes", passes), ("time", _time(plan))]
    return facts_table([*facts, *(("warning", warning) for warning in warnings_of(plan))])


def warnings_of(plan: Plan) -> list[str]:
    """Return warnings about settings that are allowed and rarely meant."""
    data = plan.config.data
    if plan.rule is None or plan.config.privacy.delta * data.num_units < 1:
        return []
    return [f"δ ≥ 1 / num_{data.unit}s: publishing one {data.unit} at random would satisfy it; lower privacy.delta"]


def _time(plan: Plan) -> str:
    seconds, resources = plan.estimate.seconds, plan.config.resources
    if seconds is None:
        return "unknown before the model is loaded"
    about = "at most about" if plan.estimate.is_upper_bound else "about"
    if not resources.is_distributed:
        return f"{about} {duration(seconds)} on this CPU"
    at_once = f"{plan.concurrent} trials at once × " if plan.concurrent > 1 else ""
    workers = f"{resources.workers} workers" if resources.workers > 1 else "1 worker"
    cpus = plan.estimate.cpus_per_worker
    return (
        f"{about} {duration(seconds)} with {at_once}{workers} × {cpus:g} CPU{'s' if cpus != 1 else ''} like this one's"
    )


def _noise_facts(plan: Plan, caps: PlannedSweep) -> list[tuple[str, str]]:
    facts = [
        ("noise multiplier σ", f"{caps.noise_multiplier:.4g}"),
        ("sampling", f"Poisson, q = {caps.sampling_prob:.4g} (B = {plan.config.privacy.expected_batch_size:g})"),
    ]
    evaluations = caps.caps().evaluation
    if evaluations is not None:
        facts.append(("private scores", f"{evaluations.count} at σ = {evaluations.noise_multiplier:g}"))
    return facts


def _zeroth_order(config: RunConfig) -> str:
    method = config.method
    return f"{METHODS[method.name].title}, K = {method.num_directions}, {method.direction} directions"


def sweep_summary(result: SweepResult, config: SweepConfig) -> RenderableType:
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
    failed = [row for row in result.trials if row.state == "failed"]
    facts += [(f"trial {row.number}", f"failed: {row.why or 'see operator-only/'}") for row in failed]
    if result.private_score is not None:
        private = score_text(result.private_score, config.metric)
        facts.append(("private run", f"{private} with these settings on the private data"))
    facts.append(("results", path_text(result.folder)))
    if result.seconds is not None:
        facts.append(("took", duration(result.seconds)))
    return Group(table, Text(), facts_table(facts), Text(), _Statement(result.statement))


def run_summary(result: RunResult, metric: Metric) -> RenderableType:
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
