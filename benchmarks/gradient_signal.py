"""Why many directions help some methods and not others: gradients, curvature and noise, measured on public rows.

    python benchmarks/gradient_signal.py --work runs/utility [--trainable full lora head] [--num-steps 210]

A step along K directions z moves θ by −η Σ_k g_k z_k. With an example's gradient g_x of mean energy G² and the mean
gradient ∇L, the clip C = G/√K and Gaussian noise σC on every coordinate, to first order in λ:

    E Σ g_k z_k = ∇L,    E (Σ g_k z_k)ᵀ H (Σ g_k z_k) ≈ ∇Lᵀ H ∇L + tr(H) · (A / K + N)

A = ‖∇L‖² + (G² − ‖∇L‖²) / B is the energy of a batch's gradient. N = (σ G / B)² is the privacy noise, which does not
depend on K. The best learning rate lowers the loss by ‖∇L‖⁴ over twice the second expression. So a step of K directions
lowers it by this factor more than a step of one direction:

    (h + tr(H) (A + N)) / (h + tr(H) (A / K + N)),    h = ∇Lᵀ H ∇L

The factor is about K while A / K is larger than N, and 1 where N is larger than A. The quantities are measured at the
start, and after a private run of K = 16 on the tuning rows, which are public in this benchmark.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from frozen_head import FrozenHead
from rich.console import Console
from rich.table import Table
from utility import Runner, trained
from utility_cells import Cell, config_of

from orchestrator.planning.plan import make_plan
from trainers.directions import Direction
from trainers.evaluators.base import Example, Probe
from trainers.run.context import Workspace

NUM_DIRECTIONS, NUM_EXAMPLES, NUM_PROBES = 16, 512, 24
RADIUS = 1e-2


def gradients(workspace: Workspace, examples: Sequence[Example]) -> torch.Tensor:
    """Return every example's gradient, float32 [examples, d]."""
    evaluator: Any = workspace.evaluator
    if isinstance(evaluator, FrozenHead):
        return evaluator.gradients(examples)
    rows = []
    with evaluator.differentiable() as (_, parameters):
        for example in examples:
            _, losses_B = evaluator.row_losses([example])
            found = torch.autograd.grad(losses_B[0], list(parameters.values()), allow_unused=True)
            rows.append(torch.cat([tensor.flatten() for tensor in _zeros_for_none(found, parameters)]))
    return torch.stack(rows)


def _zeros_for_none(found: Sequence[Any], parameters: dict[str, torch.nn.Parameter]) -> list[torch.Tensor]:
    pairs = zip(found, parameters.values(), strict=True)
    return [torch.zeros_like(parameter) if one is None else one for one, parameter in pairs]


def curvatures(workspace: Workspace, examples: Sequence[Example], mean_D: torch.Tensor) -> tuple[float, float]:
    """Return tr(H) of the mean loss, over random directions, and the curvature along the mean gradient."""
    evaluator: Any = workspace.evaluator
    base = float(evaluator.losses(examples).mean())
    directions = [Direction(99, 0, index, "gaussian") for index in range(NUM_PROBES)]
    losses_PB = evaluator.probe(examples, [Probe(z, sign * RADIUS) for z in directions for sign in (1.0, -1.0)])
    pairs_K2 = losses_PB.mean(axis=1).reshape(-1, 2)
    trace = float(((pairs_K2.sum(axis=1) - 2.0 * base) / RADIUS**2).mean())
    return trace, _curvature_along(evaluator, examples, mean_D / mean_D.norm(), base)


def _curvature_along(evaluator: Any, examples: Sequence[Example], unit_D: torch.Tensor, base: float) -> float:
    theta = {name: tensor.clone() for name, tensor in evaluator.parameters.theta().items()}
    sums = -2.0 * base
    for sign in (1.0, -1.0):
        place, start = {}, 0
        for name, tensor in theta.items():
            step = unit_D[start : start + tensor.numel()].view_as(tensor)
            place[name], start = tensor + sign * 10.0 * RADIUS * step, start + tensor.numel()
        evaluator.parameters.assign(place)
        sums += float(evaluator.losses(examples).mean())
    evaluator.parameters.assign(theta)
    return sums / (10.0 * RADIUS) ** 2


def signal(workspace: Workspace, batch_size: float, sigma: float) -> dict[str, float]:
    """Return the quantities of the module's docstring at the current θ."""
    examples = workspace.examples[:NUM_EXAMPLES]
    rows_ND = gradients(workspace, examples).double()
    mean_D, count = rows_ND.mean(dim=0), len(rows_ND)
    energy = float((rows_ND**2).sum(dim=1).mean())
    of_mean = max(0.0, (float((mean_D**2).sum()) - energy / count) * count / (count - 1))  # unbiased
    trace, along = curvatures(workspace, examples, mean_D.float())
    batch, noise, one = of_mean + (energy - of_mean) / batch_size, (sigma / batch_size) ** 2 * energy, of_mean * along
    return {
        "d": rows_ND.shape[1],
        "G": energy**0.5,
        "norm of ∇L": of_mean**0.5,
        "tr(H)": trace,
        "curvature along ∇L": along,
        "A": batch,
        "N": noise,
        "N / A": noise / batch,
        "gain": (one + trace * (batch + noise)) / (one + trace * (batch / NUM_DIRECTIONS + noise)),
        "steps of K = 1": (one + trace * (batch + noise)) / (of_mean * along) if along > 0 else float("nan"),
    }


def measure(task: str, trainable: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the signal at the start, and after a run unless --start-only is given."""
    cell = Cell(task, trainable, "dp-aggzo", arguments.epsilon, seed=0, factor=arguments.factor)
    config = config_of(cell, arguments.num_steps, arguments.work, arguments.factor)
    workspace, sigma = Runner(arguments.work).workspace(cell, config), make_plan(config).noise_multiplier
    assert sigma is not None
    workspace.evaluator.reset()
    named = {"task": task, "trainable": trainable, "σ": sigma}
    found = [named | {"at": "start", **signal(workspace, config.privacy.expected_batch_size, sigma)}]
    if arguments.start_only:
        return found
    score = trained(workspace, config, sigma)
    after = signal(workspace, config.privacy.expected_batch_size, sigma)
    return [*found, named | {"at": f"{score:.1%}", **after}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sst2", help="task of utility.py")
    parser.add_argument("--trainable", nargs="+", default=["full", "lora", "head"], help="what trains")
    parser.add_argument("--epsilon", type=float, default=2.0, help="ε of the run")
    parser.add_argument("--num-steps", type=int, default=210, help="T of the run")
    parser.add_argument("--start-only", action="store_true", help="measure at the start only, and run nothing")
    parser.add_argument("--factor", type=float, default=1.0, help="factor on the learning rate of the run")
    parser.add_argument("--work", type=Path, default=Path("runs/utility"), help="folder of utility.py")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for one in arguments.trainable for row in measure(arguments.task, one, arguments)]
    (arguments.work / f"signal-{arguments.task}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
