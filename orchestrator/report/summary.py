"""What a person reads before and after: the plan in a few lines, the trials in a table, the statement in full."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.config import SweepConfig
from orchestrator.planning import Plan
from orchestrator.records import RunResult, SweepResult
from orchestrator.report.tables import duration, epsilon_text, facts_table, short, trials_table
from trainers.config import RunConfig
from trainers.methods.catalogue import METHODS

STATEMENT_WIDTH = 88


def plan_summary(plan: Plan) -> RenderableType:
    """Return epsilon, caps, rates and work of a plan."""
    config, work = plan.config, plan.estimate
    method = METHODS[config.method.name]
    trials = f"{plan.num_trials} trials × " if isinstance(config, SweepConfig) else ""
    facts = [
        (
            "total ε",
            f"{epsilon_text(plan.epsilon)} at δ = {config.privacy.delta:g}" if plan.rule else "∞ (not private)",
        ),
        ("method", method.title if method.order == "first" else _zeroth_order(config)),
        ("steps", f"{trials}{config.method.num_steps}"),
    ]
    if plan.caps is not None:
        if isinstance(config, SweepConfig):
            facts.append(("one trial's ε", f"{epsilon_text(plan.trial_epsilon)} by itself"))
        facts += [
            ("noise multiplier σ", f"{plan.caps.noise_multiplier:.4g}"),
            ("sampling", f"Poisson, q = {plan.caps.sampling_prob:.4g} (B = {config.privacy.expected_batch_size:g})"),
        ]
        evaluations = plan.caps.caps().evaluation
        if evaluations is not None:
            facts.append(("private scores", f"{evaluations.count} at σ = {evaluations.noise_multiplier:g}"))
    facts.append(
        ("forward passes", f"{work.forward_passes:,} of the batch, {work.examples_forwarded:,.0f} examples in all")
    )
    seconds = (
        "unknown before the model is loaded" if work.seconds is None else f"about {duration(work.seconds)} on this CPU"
    )
    facts.append(("time", seconds))
    unit, delta = config.data.unit, config.privacy.delta
    if plan.rule is not None and delta * config.data.num_units >= 1:
        facts.append(("warning", f"δ ≥ 1 / num_{unit}s: publishing one {unit} at random would satisfy it; lower δ"))
    return facts_table(facts)


def _zeroth_order(config: RunConfig) -> str:
    method = config.method
    return f"{METHODS[method.name].title}, K = {method.num_directions}, {method.direction} directions"


def sweep_summary(result: SweepResult, config: SweepConfig, width: int) -> RenderableType:
    """Return the table of trials, what the best one reached, and the privacy statement."""
    best = result.best
    table = trials_table(
        result.trials, sorted(config.search.parameters), None if best is None else best.number, config.method.num_steps
    )
    facts = [] if result.zero_shot is None else [("zero-shot", f"{result.zero_shot:.1%}")]
    if best is not None:
        chosen = ", ".join(f"{name.removeprefix('method.')} {short(value)}" for name, value in best.values.items())
        facts += [("best trial", f"{best.number}: {best.score:.1%} ({chosen})"), ("model", str(result.model_folder))]
    if result.private_score is not None:
        facts.append(("private run", f"{result.private_score:.1%} with these settings on the private data"))
    facts.append(("results", str(result.folder)))
    if result.seconds is not None:
        facts.append(("took", duration(result.seconds)))
    return Group(table, Text(), facts_table(facts), Text(), Text(result.statement.text(min(width, STATEMENT_WIDTH))))


def run_summary(result: RunResult, width: int) -> RenderableType:
    """Return what a run reached and its privacy statement."""
    interrupted = result.steps_charged - result.steps
    facts = [
        (
            "steps",
            f"{result.steps}" + (f" ({interrupted} more were interrupted and stay charged)" if interrupted else ""),
        )
    ]
    if result.zero_shot is not None:
        facts.append(("zero-shot", f"{result.zero_shot:.1%}"))
    if result.score is not None:
        facts.append(("score", f"{result.score:.1%}"))
    facts += [("model", str(result.model_folder)), ("took", duration(result.seconds))]
    return Group(facts_table(facts), Text(), Text(result.statement.text(min(width, STATEMENT_WIDTH))))
