"""What is audited: a method, its law, and a number of steps that can be played thousands of times.

The catalogue is audited in a setting with a large q and a small σ, where a mistake shows most. A configuration is
audited at its own method, K, q and σ, over as many of its steps as are feasible. The size of the clip and of λ are
units, which no law depends on; they are set to values that make the stub's sums exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.checks.audit.step_law import Noise, StepLaw
from orchestrator.checks.audit.stub import HUGE, SMOOTHING
from orchestrator.checks.audit.trade_off import TradeOff, claimed_trade_off
from orchestrator.planning.cost_rules import planned_sweep
from orchestrator.planning.plan import Plan
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.rules.caps import SweepCaps
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.directions import Direction
from trainers.directions.frames import Terms
from trainers.mechanism.plan import MechanismPlan
from trainers.methods.catalogue import METHODS
from trainers.run.estimator import Estimator

SAMPLING_PROB, NOISE_MULTIPLIER, NUM_STEPS, DELTA = 0.5, 1.0, 10, 1e-5
REPLACE_NOISE_MULTIPLIER = 2.0  # a swap moves the sum by 2C
MOST_DRAWS = 2_000_000  # noise draws of one method's runs: about two minutes of one core
DIRECTION = "gaussian"
_NUM_DIRECTIONS = 2  # where the paper takes several: the smallest that is a vector
_NUM_EXAMPLES = 1000
_SEED = 20_000  # public, and the same for all runs: noise that depends on it would show


@dataclass(frozen=True)
class AuditCase:
    """One claim to be tested.

    Args:
        config: the run to be played; its C is 1.
        noise_multiplier: σ.
        planned_steps: steps of the run that the claim was made for, of which `config.method.num_steps` are played.
    """

    config: RunConfig
    noise_multiplier: float
    planned_steps: int

    @property
    def label(self) -> str:
        """The method's name, and what sets the case apart from others of it."""
        parts = [METHODS[self.config.method.name].title]
        parts += [f"K={self.plan.num_directions}"] if self.plan.num_directions > 1 else []
        parts += [self.noise] if self.noise != "gaussian" else []
        parts += [self.adjacency] if self.adjacency != "add-or-remove-one" else []
        return ", ".join(parts)

    @property
    def plan(self) -> MechanismPlan:
        """The mechanism that a run of the case uses."""
        return mechanism_plan(self.config, self.noise_multiplier)

    @property
    def noise(self) -> Noise:
        """Kind of the plan's noise."""
        return self.plan.noise

    @property
    def adjacency(self) -> Adjacency:
        """Which data sets the plan's claim tells from each other."""
        return self.plan.adjacency

    @property
    def law(self) -> StepLaw:
        """What one step claims."""
        plan = self.plan
        assert plan.noise_multiplier is not None
        return StepLaw(self.noise, plan.sampling_prob, plan.noise_multiplier, self.adjacency)

    @property
    def rule(self) -> SweepCaps:
        """What the steps that are played are charged, as a run's statement counts them."""
        return planned_sweep(self.config, self.noise_multiplier).trial_caps()

    @property
    def delta(self) -> float:
        """δ at which ε is stated."""
        return self.config.privacy.delta

    @cached_property
    def epsilon(self) -> float:
        """The claimed ε of the steps that are played."""
        return self.rule.epsilon(self.delta, self.adjacency)

    @cached_property
    def claim(self) -> TradeOff:
        """The claimed trade-off curve of the steps that are played."""
        return claimed_trade_off(self.rule.event(), self.adjacency)

    def canary(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the slopes of the loudest example, and what the claim lets it contribute, float64 [K] in C.

        Gaussian noise: beyond the clip in every direction. Laplace noise: all of the L1 ball in one direction.
        """
        along_K = np.zeros(self.plan.num_directions)
        if self.noise == "laplace":
            along_K[0] = 1.0
        else:
            along_K[:] = len(along_K) ** -0.5
        return HUGE * along_K, along_K

    def estimator(self) -> Estimator:
        """Return how a step finds each example's K-vector."""
        method = self.config.method

        def combinations(step: int) -> list[Terms]:
            return [((Direction(method.seed, step, k, DIRECTION), 1.0),) for k in range(method.num_directions)]

        return Estimator(method.num_directions, method.difference, lambda step: SMOOTHING, combinations)

    def with_method(self, **changes: Any) -> AuditCase:
        """Return the case with other settings of the method, checked as a configuration is."""
        return AuditCase(_changed(self.config, changes), self.noise_multiplier, self.planned_steps)


def catalogue_cases() -> list[AuditCase]:
    """Return a case for every private method of the catalogue, and for every other law it may use."""
    private = [name for name, spec in METHODS.items() if spec.private and spec.order == "zeroth"]
    return [_catalogue_case(name, {}) for name in private] + [
        _catalogue_case("dp-zo", {"noise": "laplace"}),
        _catalogue_case("dp-zo", {"adjacency": "replace-one", "noise_multiplier": REPLACE_NOISE_MULTIPLIER}),
    ]


def case_of(plan: Plan, runs: int) -> AuditCase:
    """Return the case of a configuration: its method, K, q and σ, and as many of its steps as `runs` runs allow.

    Raises:
        ValueError: the method has no privacy, or the sweep no one σ.
    """
    method = plan.config.method
    if not METHODS[method.name].private:
        raise ValueError(f"{METHODS[method.name].title} has no privacy (ε = ∞) and claims nothing to be audited.")
    if METHODS[method.name].order == "first":
        raise ValueError(f"{METHODS[method.name].title} releases whole gradients; the audit plays zeroth-order steps.")
    if plan.noise_multiplier is None:
        raise ValueError(
            "the trials of this sweep have noise of their own; audit one run with privacy.noise_multiplier."
        )
    steps = min(method.num_steps, max(1, MOST_DRAWS // (2 * runs * method.num_directions)))
    kept = plan.config.privacy.model_dump(include={"delta", "noise", "adjacency"})
    batch_size = plan.config.sampling_prob * _NUM_EXAMPLES  # q is what counts, of examples or users that train
    privacy = {**kept, "expected_batch_size": batch_size, "noise_multiplier": plan.noise_multiplier}
    config = _run_config({**method.model_dump(), "preset": None}, privacy)
    return AuditCase(_changed(config, {"num_steps": steps}), plan.noise_multiplier, method.num_steps)


def _catalogue_case(name: str, privacy: dict[str, Any]) -> AuditCase:
    num_directions = METHODS[name].defaults.get("num_directions", _NUM_DIRECTIONS)
    method = {"name": name, "num_steps": NUM_STEPS, "num_directions": num_directions}
    values = {
        "noise_multiplier": NOISE_MULTIPLIER,
        "expected_batch_size": SAMPLING_PROB * _NUM_EXAMPLES,
        "delta": DELTA,
        **privacy,
    }
    return AuditCase(_run_config(method, values), values["noise_multiplier"], NUM_STEPS)


def _run_config(method: dict[str, Any], privacy: dict[str, Any]) -> RunConfig:
    """Return a run's configuration with a stub's data and model, whose names nothing reads.

    Neither the law of the directions nor a mask enters the claim; the stub's θ has four parameters, and all are kept.
    """
    mask = {"mask": {"keep": 1.0, "scores": "magnitude"}} if METHODS[method["name"]].masked else {}
    return RunConfig.model_validate(
        {
            "name": "audit",
            "data": {"train": "stub", "num_examples": _NUM_EXAMPLES},
            "task": {"template": "{text}", "label_column": "label", "labels": ["a", "b"]},
            "model": {"path": "stub", "head": "sequence-classification"},
            "method": {
                **method,
                **mask,
                "clip_norm": 1.0,
                "smoothing": SMOOTHING,
                "seed": _SEED,
                "direction": DIRECTION,
            },
            "privacy": privacy,
        }
    )


def _changed(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    values = config.model_dump()
    values["method"].update(changes)
    return RunConfig.model_validate(values)
