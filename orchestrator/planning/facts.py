"""A plan in words: its ε, noise, sampling and work, as labels with values; its warnings; its values for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from orchestrator.config.models import SweepConfig
from orchestrator.privacy.display import epsilon_text
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from trainers.config import RunConfig
from trainers.config.auto import AutoClip, AutoRate
from trainers.config.mechanism import mechanism_plan
from trainers.methods.catalogue import METHODS

if TYPE_CHECKING:
    from orchestrator.planning.rules.base import Plan


def plan_facts(plan: Plan) -> list[tuple[str, str]]:
    """Return labels and texts: the ε, the noise, the sampling and the work of a plan, then its warnings."""
    config, work = plan.config, plan.estimate
    method = METHODS[config.method.name]
    facts = [
        ("total ε", _total(plan)),
        ("method", method.title if method.order == "first" else _zeroth_order(config)),
        ("steps", plan.steps_text),
    ]
    if isinstance(config, SweepConfig) and math.isfinite(plan.trial_epsilon):
        facts.append(("one trial's ε", f"{epsilon_text(plan.trial_epsilon)} by itself{plan.trial_epsilon_note}"))
    if plan.caps is not None:
        facts += _noise_facts(plan, plan.caps)
    passes = f"{work.forward_passes:,} of the batch, {work.examples_forwarded:,.0f} examples in all"
    facts += [("forward passes", passes), ("time", _time(plan))]
    return [*facts, *(("warning", warning) for warning in warnings_of(plan))]


def plan_lines(plan: Plan) -> str:
    """Return two lines: the name and what is planned, and its ε."""
    config, kind = plan.config, "sweep" if isinstance(plan.config, SweepConfig) else "run"
    noise = "" if plan.noise_multiplier is None else f", σ = {plan.noise_multiplier:.4g}"
    return (
        f"Plan of the {kind} {config.name!r}: {METHODS[config.method.name].title}, {plan.steps_text} steps{noise}\n"
        f"ε = {_total(plan)}"
    )


def facts_text(facts: Sequence[tuple[str, str]]) -> str:
    """Return a line for each fact; the values stand below one another."""
    width = max(len(label) for label, _ in facts)
    return "\n".join(f"{label:<{width}}  {text}" for label, text in facts)


def facts_html(facts: Sequence[tuple[str, str]]) -> str:
    """Return a table in HTML with a row for each fact."""
    rows = "".join(f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in facts)
    return f'<table style="text-align: left">{rows}</table>'


def plan_values(plan: Plan) -> dict[str, Any]:
    """Return the values of a plan for programs; an infinite ε is None."""
    return {
        "name": plan.config.name,
        "private": plan.rule is not None,
        "epsilon": finite_or_none(plan.epsilon),
        "delta": plan.config.privacy.delta,
        "trial_epsilon": finite_or_none(plan.trial_epsilon),
        "num_trials": plan.num_trials,
        "rule": plan.rule.to_json() if plan.rule else None,
        "caps": plan.caps.model_dump() if plan.caps else None,
        "forward_passes": plan.estimate.forward_passes,
        "examples_forwarded": plan.estimate.examples_forwarded,
        "estimated_seconds": plan.estimate.seconds,
        "warnings": warnings_of(plan),
    }


def finite_or_none(epsilon: float) -> float | None:
    """Return an epsilon as JSON can hold it: an infinite one is null."""
    return epsilon if math.isfinite(epsilon) else None


def warnings_of(plan: Plan) -> list[str]:
    """Return warnings about settings that are allowed and rarely meant."""
    data = plan.config.data
    if plan.rule is None or plan.config.privacy.delta * data.num_units < 1:
        return []
    return [f"δ ≥ 1 / num_{data.unit}s: publishing one {data.unit} at random would satisfy it; lower privacy.delta"]


def _total(plan: Plan) -> str:
    return f"{epsilon_text(plan.epsilon)} at δ = {plan.config.privacy.delta:g}" if plan.rule else "∞ (not private)"


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
    clip = plan.config.method.clip_norm
    if isinstance(clip, AutoClip):
        share = mechanism_plan(plan.config, caps.noise_multiplier).value_noise / caps.noise_multiplier - 1.0
        low, high = clip.range
        measured = (
            f"follows the norms from {clip.start:g}, {low:g} to {high:g}; their measure takes {share:.1%} more noise"
        )
        facts.append(("clip norm C", measured))
    rate = plan.config.method.learning_rate
    if isinstance(rate, AutoRate):
        facts.append(("learning rate η", f"so that noise moves θ by {rate.distance:g} ‖θ_0‖ in all; costs no ε"))
    evaluations = caps.caps().evaluation
    if evaluations is not None:
        facts.append(("private scores", f"{evaluations.count} at σ = {evaluations.noise_multiplier:g}"))
    return facts


def _zeroth_order(config: RunConfig) -> str:
    method = config.method
    return f"{METHODS[method.name].title}, K = {method.num_directions}, {method.direction} directions"


def duration(seconds: float) -> str:
    """Return a duration for people: 48 s, 4 min 10 s, 3 h 5 min."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"
