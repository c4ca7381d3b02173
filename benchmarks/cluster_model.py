"""Estimate what a step costs on 8, 64 and 512 workers. It is a model, not a measurement; docs/cluster.md has its table.

    python benchmarks/cluster_model.py

A step of W data-parallel workers takes as long as its slowest worker, plus the work of rank 0:

    2K · perturbation + E[max over workers of (its tokens · time a token · its slowness)] + exchange + durable writes

* A worker's share of a Poisson batch is Poisson(B / W) distributed, and its slowness is log-normal. The expected
  maximum over W workers is the mean over many samples of W workers.
* Sums and broadcasts go along binomial trees: log₂ W hops of latency each, three times a step. A message has 8 K bytes,
  so that bandwidth does not matter.
* Before a step, rank 0 draws a token from the ledger and writes the reservation to disk; after the step it writes the
  release. All workers wait for these writes.

The time of a token and of a perturbation are estimates for a 7 B model on one H200. A 70 B model is taken as ten times
that, divided over the four GPUs that one copy needs (bf16 weights and a float32 master: 6 bytes a parameter).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

HOP_S = 50e-6  # one message between two machines, TCP in a data centre
DRAW_S, FSYNC_S = 8e-3, 2e-3  # a token of a PostgreSQL ledger over the network; a line of the release log
SLOWNESS = 0.05  # standard deviation of the logarithm of a worker's time
SAMPLES = 2000
SIZES = (8, 64, 512)


@dataclass(frozen=True)
class Model:
    """A model on the GPUs of one worker: seconds of a token's forward pass, and of one perturbation."""

    name: str
    gpus: int
    token_s: float
    perturbation_s: float


@dataclass(frozen=True)
class Work:
    """A step: K directions, two-sided, and B examples expected, of `num_tokens` tokens each."""

    num_directions: int
    batch_size: int
    num_tokens: int = 128


MODELS = (Model("7 B", 1, 0.39 / 16384, 12e-3), Model("70 B", 4, 10 * 0.39 / 16384 / (4 * 0.85), 10 * 12e-3 / 4))
WORKS = (Work(1, 4096), Work(16, 256))


@dataclass(frozen=True)
class Cost:
    """The seconds of a step by what they are spent on, and the bytes that a worker exchanges."""

    perturbation_s: float
    forward_s: float
    waiting_s: float
    exchange_s: float
    durable_s: float
    num_bytes: int

    @property
    def step_s(self) -> float:
        """The whole step."""
        return self.perturbation_s + self.forward_s + self.waiting_s + self.exchange_s + self.durable_s

    @property
    def efficiency(self) -> float:
        """The share of a worker's time that it spends on forward passes."""
        return self.forward_s / self.step_s


def cost_of(model: Model, work: Work, workers: int, *, divided: bool = False) -> Cost:
    """Return the cost of a step; `divided`: groups of up to 2K workers divide the probes (direction parallel)."""
    probes = 2 * work.num_directions
    group = min(workers, probes) if divided else 1
    shards, own_probes = workers // group, -(-probes // group)
    share, pass_s = work.batch_size / shards, own_probes * work.num_tokens * model.token_s
    rng = np.random.default_rng(0)
    batches = rng.poisson(share, (SAMPLES, shards)).repeat(group, axis=1)
    slowness = rng.lognormal(0.0, SLOWNESS, (SAMPLES, workers))
    mean_s = share * pass_s
    hops = 3 * np.log2(workers) + (group - 1)
    return Cost(
        perturbation_s=own_probes * model.perturbation_s,
        forward_s=mean_s,
        waiting_s=float((batches * slowness).max(axis=1).mean()) * pass_s - mean_s,
        exchange_s=float(hops) * HOP_S,
        durable_s=DRAW_S + 2 * FSYNC_S,
        num_bytes=24 * work.num_directions + 8 + (round(8 * own_probes * share) if group > 1 else 0),
    )


def rows() -> Iterator[str]:
    """Yield the lines of the table."""
    heads = ("model", "K", "B", "workers", "divide", "bytes a worker")
    heads += ("perturb", "forward", "waiting", "exchange", "step", "useful")
    yield f"| {' | '.join(heads)} |"
    yield "|" + len(heads) * "---|"
    for model in MODELS:
        for work in WORKS:
            for workers in SIZES:
                for divided in (False, True):
                    cost = cost_of(model, work, workers, divided=divided)
                    times = (cost.perturbation_s, cost.forward_s, cost.waiting_s, cost.exchange_s, cost.step_s)
                    cells = [
                        model.name,
                        str(work.num_directions),
                        str(work.batch_size),
                        str(workers),
                        "probes" if divided else "examples",
                        f"{cost.num_bytes:,}",
                        *(f"{1e3 * seconds:,.1f} ms" for seconds in times),
                        f"{cost.efficiency:.0%}",
                    ]
                    yield f"| {' | '.join(cells)} |"


def main() -> None:
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
