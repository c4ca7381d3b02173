"""How far the loss falls in ONE private step, by the law of its directions, on a real language model.

    python benchmarks/one_step.py --model path/to/SmolLM2-135M-Instruct

A step of the product: K directions, differences on both sides, clip, exact noise of σ = 0.8. Its batch and the rows
that the loss is then measured on are different reviews of the demo's generator, and directions from public rows learn
from general sentences or from further labelled reviews. The clip is the mean norm of the batch's own K-vectors, and the
best of a few learning rates counts: both would have to be tuned in a run, so the numbers compare laws and are no
results of a private training. A learning rate is named by the fall that it would bring if the loss were linear.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from measuring import result_table
from rich.console import Console

from orchestrator.config.loading import load_run
from trainers.config import RunConfig
from trainers.data.prompts import PromptEncoder
from trainers.data.public_rows import public_rows
from trainers.data.sources import read_rows
from trainers.data.tokenization import load_tokenizer
from trainers.evaluators.base import Example, Guided
from trainers.mechanism.clipping import clipped_sum
from trainers.mechanism.noise import ExactNoise
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.release_log import ReleaseLog
from trainers.run.method import Method
from trainers.run.public_basis import PublicBasis
from trainers.workspace import load_evaluator

EXAMPLES = Path(__file__).parents[1] / "examples"
BATCH, HELD_OUT, SIGMA = 24, 48, 0.8
LINEAR_FALLS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # nats
LAWS: dict[str, dict[str, Any]] = {
    "isotropic, all-linear, K = 6": {"model": {"trainable": "all-linear"}, "method": {"num_directions": 6}},
    "isotropic, outlier layer, K = 6": {
        "model": {"trainable": "all-linear", "layers": "outlier"},
        "method": {"num_directions": 6},
    },
    "activation r = 4, all-linear, K = 6": {
        "model": {"trainable": "all-linear"},
        "method": {"num_directions": 6, "direction": "activation", "direction_rank": 4},
    },
    "activation r = 4, LoRA-B, K = 6": {
        "model": {"trainable": "lora", "lora": {"rank": 4, "alpha": 4, "init": "activation", "train": "b"}},
        "method": {"num_directions": 6},
    },
    "3 public gradients, all-linear, K = 3": {
        "model": {"trainable": "all-linear"},
        "method": {"num_directions": 3, "direction": "public-gradient", "direction_rank": 3},
    },
}


def config_of(law: str, model: Path, seed: int, work: Path) -> RunConfig:
    """Return the configuration of one run of one step."""
    values = load_run(EXAMPLES / "quickstart.yaml").model_dump(mode="json", include={"task"})
    of_law = LAWS[law]
    learns_labels = of_law["method"].get("direction") == "public-gradient"
    public = {"public": str(work / "public.jsonl")} if learns_labels else {}
    data = {"train": str(EXAMPLES / "demo" / "private.jsonl"), "num_examples": 4000, **public}
    method = {
        "name": "dp-aggzo",
        "num_steps": 1,
        "smoothing": 1e-3,
        "clip_norm": 1.0,
        "learning_rate": 1.0,
        "seed": seed,
    }
    return RunConfig.model_validate(
        {
            "name": "one-step",
            **values,
            "data": data,
            "model": {"path": str(model), **of_law["model"]},
            "method": {**method, "seed": seed, **of_law["method"]},
            "privacy": {"noise_multiplier": SIGMA, "expected_batch_size": float(BATCH)},
        }
    )


def rows_of(work: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return reviews for the batch and for the loss after it; write further ones as labelled public rows."""
    columns = load_run(EXAMPLES / "quickstart.yaml").task.columns
    rows = read_rows(str(EXAMPLES / "demo" / "private.jsonl"), columns)
    further = read_rows(str(EXAMPLES / "demo" / "public_validation.jsonl"), columns)
    (work / "public.jsonl").write_text("".join(json.dumps(row) + "\n" for row in further), encoding="utf-8")
    return rows[:BATCH], rows[BATCH : BATCH + HELD_OUT]


def measured(law: str, model: Path, seed: int, work: Path) -> dict[str, float]:
    """Take the step, and return the best fall of the loss, the learning rate's linear fall, passes and seconds."""
    config = config_of(law, model, seed, work)
    tokenizer = load_tokenizer(str(model))
    encoder, evaluator = PromptEncoder(config.task, tokenizer), load_evaluator(config, tokenizer)
    batch, held_out = (encoder.encode(rows) for rows in rows_of(work))
    before = float(evaluator.losses(held_out).mean())
    with TemporaryDirectory(dir=work) as folder, ReleaseLog(Path(folder) / "log.jsonl", {}) as log:
        basis = None
        if config.uses_public_rows:
            public: list[Example] = public_rows(config, encoder)
            basis = PublicBasis(config, cast("Guided", evaluator), public, log, Path(folder))
        method = Method(config.method, _plan(config, 1.0), evaluator, log, basis=basis)
        method.enter(0)
        started = time.perf_counter()
        values_BK = method.values(0, evaluator.probe(batch, method.propose(0)))
        seconds = time.perf_counter() - started
        plan = _plan(config, float(np.linalg.norm(values_BK, axis=1).mean()))
        released_K = (clipped_sum(values_BK, plan) + ExactNoise().draw(plan)) * plan.grid_unit / BATCH
        falls = {}
        for linear in LINEAR_FALLS:
            evaluator.reset()
            method.enter(0)  # the reset forgot the basis
            rate = linear / (len(released_K) * float((released_K**2).sum()))
            directions = method.propose(0)[::2]
            evaluator.apply([(of.direction, -rate * g) for of, g in zip(directions, released_K, strict=True)])
            falls[linear] = before - float(evaluator.losses(held_out).mean())
    best = max(falls, key=lambda linear: falls[linear])
    count = evaluator.parameter_count
    evaluator.close()
    return {"fall": falls[best], "rate": best, "passes": config.method.num_probes, "seconds": seconds, "d": count}


def _plan(config: RunConfig, clip_norm: float) -> MechanismPlan:
    return MechanismPlan(config.sampling_prob, float(BATCH), config.method.num_directions, 1, clip_norm, SIGMA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a causal model with its tokenizer")
    parser.add_argument("--laws", nargs="+", choices=list(LAWS), default=list(LAWS), help="rows")
    parser.add_argument("--seeds", type=int, default=2, help="public keys of the directions")
    parser.add_argument("--threads", type=int, default=1, help="torch.set_num_threads")
    arguments = parser.parse_args()
    columns = ("", "loss falls by, nats", "best linear fall", "passes", "seconds of them", "parameters moved")
    table = result_table(f"{arguments.model.name}, B = {BATCH}, σ = {SIGMA}", *columns)
    torch.set_num_threads(arguments.threads)
    with TemporaryDirectory() as work:
        for law in arguments.laws:
            found = [measured(law, arguments.model, seed, Path(work)) for seed in range(arguments.seeds)]
            falls, rates = (" / ".join(f"{of[key]:.3f}" for of in found) for key in ("fall", "rate"))
            print(law, found, file=sys.stderr, flush=True)
            seconds = math.fsum(of["seconds"] for of in found) / len(found)
            table.add_row(law, falls, rates, f"{found[0]['passes']:g}", f"{seconds:.1f}", f"{found[0]['d']:,.0f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
