"""The claims that an audit tests: a method, its noise law, and a number of steps that can be taken thousands of times.

The methods of the catalogue are audited at a large q and a small σ, where a mistake shows most. A configuration is
audited with its own method, K, q and σ, over as many of its steps as the runs allow. C and λ are only units, on which
no claim depends; their values here make the sums of the stub exact. A clip that follows norms stays at 1 here too: the
claim is of each step at the C in force, which is public.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.checks.audit.step_law import StepLaw
from orchestrator.checks.audit.stub import HUGE, SMOOTHING
from orchestrator.checks.audit.trade_off import TradeOff, claimed_trade_off
from orchestrator.planning.plan import Plan
from orchestrator.planning.planned_sweep import planned_sweep
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.rules.caps import SweepCaps
from trainers.config import MethodConfig, RunConfig
from trainers.config.auto import AutoClip
from trainers.config.mechanism import mechanism_plan
from trainers.directions import Direction, WeightedDirections
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, NORM_UNITS, MechanismPlan, NoiseLaw
from trainers.mechanism.tokens import LocalTokens, StepTokens
from trainers.methods.catalogue import METHODS
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.estimator import Estimator
from trainers.run.zeroth_order import ZerothOrderRun

SAMPLING_PROB, NOISE_MULTIPLIER, NUM_STEPS, DELTA = 0.5, 1.0, 10, 1e-5
REPLACE_NOISE_MULTIPLIER = 2.0  # replacing an example moves the sum by up to 2C
MOST_DRAWS = 2_000_000  # noise values in the runs of one case: about two minutes of one core
DIRECTION = "gaussian"
_NUM_DIRECTIONS = 2  # for a method with several directions
_NUM_EXAMPLES = 1000
_FIXED_AUTO = {"kind": "auto", "start": 1.0, "low": 1.0, "high": 1.0}
_SEED = 20_000  # public, and the same in all runs, so that noise that depends on it shows

GradientClaim = tuple[str, float, float]
"""Name, q and σ of a first-order method."""


@dataclass(frozen=True)
class AuditCase:
    """One claim to test.

    Args:
        config: the run to audit; its C is 1.
        planned_steps: steps of the user's run; `config.method.num_steps` of them are audited.
    """

    config: RunConfig
    noise_multiplier: float
    planned_steps: int

    @property
    def label(self) -> str:
        """The method's name, with K, noise, adjacency and clip where they are not the usual ones."""
        parts = [METHODS[self.config.method.name].title]
        parts += [f"K={self.plan.num_directions}"] if self.plan.num_directions > 1 else []
        parts += [self.noise] if self.noise != "gaussian" else []
        parts += [self.adjacency] if self.adjacency != "add-or-remove-one" else []
        parts += ["auto clip"] if self.plan.has_norm else []
        return ", ".join(parts)

    @property
    def plan(self) -> MechanismPlan:
        return mechanism_plan(self.config, self.noise_multiplier)

    @property
    def noise(self) -> NoiseLaw:
        return self.plan.noise

    @property
    def adjacency(self) -> Adjacency:
        return self.plan.adjacency

    @property
    def law(self) -> StepLaw:
        """The law of what one step releases, as claimed."""
        plan = self.plan
        assert plan.noise_multiplier is not None
        return StepLaw(self.noise, plan.sampling_prob, plan.noise_multiplier, self.adjacency)

    @property
    def rule(self) -> SweepCaps:
        """The rule that counts the audited steps, as a run's statement counts them."""
        return planned_sweep(self.config, self.noise_multiplier, num_trials=1).trial_caps()

    @property
    def delta(self) -> float:
        """δ at which ε is stated."""
        return self.config.privacy.delta

    @cached_property
    def epsilon(self) -> float:
        return self.rule.epsilon(self.delta, self.adjacency)

    @cached_property
    def claim(self) -> TradeOff:
        return claimed_trade_off(self.rule.event(), self.adjacency)

    def canary(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the slopes [K] of the most visible example, and its row after the clip, in multiples of C.

        Under Gaussian noise the example exceeds the clip in every direction, under Laplace noise in one direction.
        Where norms are measured, the row ends with the least measure, of a norm far above C.
        """
        along_K = np.zeros(self.plan.num_directions)
        if self.noise == "laplace":
            along_K[0] = 1.0
        else:
            along_K[:] = len(along_K) ** -0.5
        if not self.plan.has_norm:
            return HUGE * along_K, along_K
        return HUGE * along_K, np.append(along_K * self.plan.vector_units, -NORM_UNITS) / GRID_UNITS_PER_CLIP

    def estimator(self) -> Estimator:
        method = self.config.method

        def directions(step: int) -> WeightedDirections:
            return [(Direction(method.seed, step, k, DIRECTION), 1.0) for k in range(method.num_directions)]

        return Estimator(method.num_directions, method.difference, lambda step: SMOOTHING, directions)

    def releases(
        self, workspace: Workspace, folder: Path, tokens: StepTokens | None = None, **stubs: Any
    ) -> np.ndarray:
        """Start or resume a real run, take it to its end, and return its releases, int64 [T, K] in grid units.

        `stubs` replace the run's own sampler and noise; without `tokens` the run gets one for each step.
        """
        tokens = tokens or LocalTokens(self.plan.num_steps)
        run = ZerothOrderRun(RunContext(workspace, self.config, self.plan, Tokens(tokens, tokens), folder), **stubs)
        with run.log:
            list(run.segments())
        return np.stack(run.log.releases["step"])

    def with_method(self, **changes: Any) -> AuditCase:
        return self.with_settings(method=changes)

    def with_settings(self, **changes: dict[str, Any]) -> AuditCase:
        """Return the case with other settings, by section."""
        values = self.config.model_dump()
        for section, settings in changes.items():
            values[section].update(settings)
        return replace(self, config=RunConfig.model_validate(values))


def catalogue_cases() -> list[AuditCase]:
    """Return a case for every private zeroth-order method, and for each noise law and adjacency that they may use."""
    private = [name for name, spec in METHODS.items() if spec.private and spec.order == "zeroth"]
    return [_catalogue_case(name, {}) for name in private] + [
        _catalogue_case("dp-zo", {"noise": "laplace"}),
        _catalogue_case("dp-zo", {"adjacency": "replace-one", "noise_multiplier": REPLACE_NOISE_MULTIPLIER}),
        _catalogue_case("dp-zo", {}, clip_norm="auto"),
    ]


def catalogue_gradients() -> list[GradientClaim]:
    """Return a claim for every private first-order method; none where the libraries for gradients are missing."""
    private = [name for name, spec in METHODS.items() if spec.private and spec.order == "first"]
    return [(name, SAMPLING_PROB, NOISE_MULTIPLIER) for name in private if find_spec("opacus")]


def claims_of(plan: Plan, runs: int) -> tuple[list[AuditCase], list[GradientClaim]]:
    """Return the one claim of a configuration: a case of as many of its steps as `runs` runs allow, or of gradients.

    ValueError if the method has no privacy, or the trials do not share one σ.
    """
    method = plan.config.method
    if not METHODS[method.name].private:
        raise ValueError(f"{METHODS[method.name].title} has no privacy (ε = ∞), so that there is no claim to audit.")
    if plan.noise_multiplier is None:
        raise ValueError("The trials of this sweep do not share one σ. Audit one run, with privacy.noise_multiplier.")
    if METHODS[method.name].order == "first":
        return [], [(method.name, plan.config.sampling_prob, plan.noise_multiplier)]
    steps = min(method.num_steps, max(1, MOST_DRAWS // (2 * runs * method.num_directions)))
    kept = plan.config.privacy.model_dump(include={"delta", "noise", "adjacency"})
    batch_size = plan.config.sampling_prob * _NUM_EXAMPLES  # keeps q
    privacy = {**kept, "expected_batch_size": batch_size, "noise_multiplier": plan.noise_multiplier}
    config = _run_config({**method.model_dump(), "preset": None}, privacy)
    return [AuditCase(config, plan.noise_multiplier, method.num_steps).with_method(num_steps=steps)], []


def _catalogue_case(name: str, privacy: dict[str, Any], **settings: Any) -> AuditCase:
    num_directions = METHODS[name].defaults.get("num_directions", _NUM_DIRECTIONS)
    method = {"name": name, "num_steps": NUM_STEPS, "num_directions": num_directions, **settings}
    values = {
        "noise_multiplier": NOISE_MULTIPLIER,
        "expected_batch_size": SAMPLING_PROB * _NUM_EXAMPLES,
        "delta": DELTA,
        **privacy,
    }
    return AuditCase(_run_config(method, values), values["noise_multiplier"], NUM_STEPS)


def _run_config(method: dict[str, Any], privacy: dict[str, Any]) -> RunConfig:
    """Return the configuration of a run on the stub; its paths are never read.

    The claim depends on neither the directions nor the mask: the mask keeps all four parameters of the stub.
    """
    is_auto = isinstance(MethodConfig.model_validate(method).clip_norm, AutoClip)
    mask = {"mask": {"keep": 1.0, "scores": "magnitude"}} if METHODS[method["name"]].takes("mask") else {}
    return RunConfig.model_validate(
        {
            "name": "audit",
            "data": {"train": "stub", "num_examples": _NUM_EXAMPLES},
            "task": {"template": "{text}", "label_column": "label", "labels": ["a", "b"]},
            "model": {"path": "stub", "head": "sequence-classification"},
            "method": {
                **method,
                **mask,
                "clip_norm": _FIXED_AUTO if is_auto else 1.0,
                "smoothing": SMOOTHING,
                "seed": _SEED,
                "direction": DIRECTION,
            },
            "privacy": privacy,
        }
    )
