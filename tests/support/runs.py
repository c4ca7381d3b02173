"""Small runs on the quadratic model, put together from real parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.quadratic import Quadratic, example
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.noise import Noise
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.sampling import Sampler
from trainers.mechanism.tokens import LocalTokens, StepTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun
from trainers.workers.ranks import Ranks


def run_config(**changes: object) -> RunConfig:
    """Return a valid configuration; `changes` are dotted settings with `__` for the dot."""
    values: dict[str, dict[str, object]] = {
        "data": {"train": "train.jsonl", "num_examples": 100},
        "task": {"template": "{text}", "label_column": "label", "labels": ["a", "b"]},
        "model": {"path": "model", "head": "sequence-classification"},
        "method": {
            "name": "dp-aggzo",
            "num_steps": 10,
            "num_directions": 3,
            "clip_norm": 1.5,
            "learning_rate": 0.05,
            "smoothing": 1e-2,
            "direction": "rademacher",
        },
        "privacy": {"rounding_share": 0, "noise_multiplier": 2.0, "expected_batch_size": 20},
    }
    for key, value in changes.items():
        section, name = key.split("__")
        values.setdefault(section, {})[name] = value
    return RunConfig.model_validate({"name": "test", **values})


def plan_of(config: RunConfig) -> MechanismPlan:
    return mechanism_plan(config, config.privacy.noise_multiplier)


def open_run(
    folder: Path,
    config: RunConfig | None = None,
    *,
    evaluator: Quadratic | None = None,
    sampler: Sampler | None = None,
    noise: Noise | None = None,
    tokens: StepTokens | None = None,
    num_examples: int = 100,
    users: list[str] | None = None,
    ranks: Ranks | None = None,
) -> ZerothOrderRun:
    """Open a run on the quadratic model with `num_examples` examples, which belong to `users` if they are given."""
    config = config or run_config()
    tokens = tokens or LocalTokens(config.method.num_steps)
    examples, public = [example(n) for n in range(num_examples)], [example(1000 + n) for n in range(96)]
    workspace = Workspace(examples, [], evaluator or Quadratic(), users=users, public_rows=public)
    context = RunContext(workspace, config, plan_of(config), Tokens(tokens, tokens), folder, ranks or Ranks())
    return ZerothOrderRun(context, sampler=sampler, noise=noise)


def step_sum(
    folder: Path, batch: list[int], evaluator: Quadratic, users: list[str] | None = None, **changes: object
) -> np.ndarray:
    """Return the exact sum of one step over the given units, int64 [K]."""
    run = open_run(
        folder,
        run_config(method__num_steps=1, **changes),
        evaluator=evaluator,
        sampler=FrozenSampler([batch]),
        noise=FrozenNoise(scale=0.0),
        num_examples=100 if users is None else len(users),
        users=users,
    )
    with run.log:
        list(run.segments())
    return run.log.releases["step"][0]
