"""The accuracy of private ZO on a real language model at equal ε, by the law of its directions.

    python benchmarks/utility_lm.py --model path/to/SmolLM2-135M-Instruct --data path/to/sst2 --work runs/utility-lm

SST-2 as a prompt with two label words, on any causal model. Every ZO row takes the same T and K = 16, but for public
gradients, whose three dimensions three directions see whole. A public key splits the training phrases into private rows
(4,096), public rows for the search of learning rates (4,096 and 1,000), and further public rows, from which directions
are learned. Scores are on SST-2's validation file.

A row's learning rate is the best of `--factors` in a run of its own at the first ε on public rows; one at an end of the
grid is marked with *. Finished cells are appended to `cells.jsonl`, and the same command continues after them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from utility import trained

from orchestrator.planning.plan import make_plan
from trainers.config import RunConfig
from trainers.methods.catalogue import METHODS
from trainers.run.base_run import public_score
from trainers.workspace import open_workspace

DELTA, BATCH, K = 1e-5, 16.0, 16
FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
PARTS = {"private": 4096, "tuning": 4096, "held_out": 1000, "public": 2000}
ALL_LINEAR, LORA = {"trainable": "all-linear"}, {"trainable": "lora"}
AGGZO = {"name": "dp-aggzo", "num_directions": K, "clip_norm": 1.0}


def _zo(smoothing: float, rate: float, **more: Any) -> dict[str, Any]:
    return {**AGGZO, "smoothing": smoothing, "learning_rate": rate, **more}


def _lora_b(rank: int) -> dict[str, Any]:
    return {**LORA, "lora": {"rank": rank, "alpha": rank, "init": "activation", "train": "b"}}


ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "isotropic, full": ({}, _zo(1e-3, 1e-2)),
    "isotropic, all-linear": (ALL_LINEAR, _zo(1e-3, 1e-2)),
    "isotropic, LoRA r = 8": (LORA, _zo(1e-2, 3e-2)),
    "isotropic, LoRA-B over random A": ({**LORA, "lora": {"train": "b"}}, _zo(1e-2, 3e-2)),
    **{
        f"activation r = {r}, all-linear": (ALL_LINEAR, _zo(1e-3, 1e-3, direction="activation", direction_rank=r))
        for r in (1, 4, 16)
    },
    **{f"activation r = {r}, LoRA-B": (_lora_b(r), _zo(1e-3, 1e-3)) for r in (1, 4, 16)},
    "3 public gradients, all-linear": (
        ALL_LINEAR,
        _zo(1e-3, 1e-2, num_directions=3, direction="public-gradient", direction_rank=3),
    ),
    "outlier layer, all-linear": ({**ALL_LINEAR, "layers": "outlier"}, _zo(1e-3, 1e-2)),
    "last quarter, all-linear": ({**ALL_LINEAR, "layers": "last-8"}, _zo(1e-3, 1e-2)),
    "DP-AdamW, LoRA r = 8": (LORA, {"name": "dp-adamw", "clip_norm": 1.0, "learning_rate": 1e-3}),
    "AdamW, LoRA r = 8": (LORA, {"name": "adamw", "clip_norm": 1.0, "learning_rate": 1e-3}),
}
"""Row → values of the `model` and of the `method` section."""


class Cell(NamedTuple):
    """One run; a factor is a try of the search, None a cell of the table, which takes the search's choice."""

    row: str
    epsilon: float | None
    seed: int
    factor: float | None


def split(data: Path, work: Path, seed: int = 0) -> None:
    """Write the parts of SST-2's training file, and its validation file, as TSV files."""
    header, *rows = (data / "train.tsv").read_text(encoding="utf-8").splitlines()
    seen = list(dict.fromkeys(rows[n] for n in np.random.default_rng(seed).permutation(len(rows))))
    for name, size in PARTS.items():
        part, seen = seen[:size], seen[size:]
        (work / f"{name}.tsv").write_text("\n".join([header, *part]) + "\n", encoding="utf-8")
    (work / "validation.tsv").write_bytes((data / "validation.tsv").read_bytes())


def config_of(cell: Cell, rate_factor: float, model: dict[str, str], work: Path, num_steps: int) -> RunConfig:
    """Return the configuration of a cell; a try of the search trains and scores on public rows."""
    of_model, method = ROWS[cell.row]
    train, validation = ("private", "validation") if cell.factor is None else ("tuning", "held_out")
    public = {"public": str(work / "public.tsv")} if _learns(of_model, method) else {}
    rate = {"kind": "cosine", "start": rate_factor * method["learning_rate"]}
    rate["end"] = 0.1 * rate["start"]
    private = {} if cell.epsilon is None else {"epsilon": cell.epsilon}
    return RunConfig.model_validate(
        {
            "name": "utility-lm",
            "storage_path": str(work),
            "data": {
                "train": str(work / f"{train}.tsv"),
                "num_examples": PARTS[train],
                "validation": str(work / f"{validation}.tsv"),
                **public,
            },
            "task": {
                "template": "{sentence} It was",
                "label_column": "label",
                "label_words": {"0": " terrible", "1": " great"},
                "max_tokens": 96,
            },
            "model": {**model, **of_model},
            "method": {**method, "num_steps": num_steps, "seed": cell.seed, "learning_rate": rate},
            "privacy": {"delta": DELTA, "expected_batch_size": BATCH, **private},
        }
    )


def _learns(model: dict[str, Any], method: dict[str, Any]) -> bool:
    return "direction" in method or model.get("lora", {}).get("init") == "activation"


def cells_of(rows: list[str], epsilons: list[float], seeds: int, factors: list[float]) -> Iterator[Cell]:
    """Yield the tries of the search, then the table, key by key, so that a half-finished table has every row."""
    private = {row: METHODS[ROWS[row][1]["name"]].private for row in rows}
    for row in rows:
        yield from (Cell(row, epsilons[0] if private[row] else None, 100, factor) for factor in factors)
    for seed in range(seeds):
        for row in rows:
            yield from (Cell(row, epsilon, seed, None) for epsilon in (epsilons if private[row] else [None]))


def run(config: RunConfig) -> dict[str, float | None]:
    """Return the zero-shot score, the score after training, and the seconds that it took."""
    started, workspace = time.monotonic(), open_workspace(config)
    zero_shot = public_score(config, workspace)
    score = trained(workspace, config, make_plan(config).noise_multiplier)
    workspace.close()
    return {"zero_shot": zero_shot, "score": score, "seconds": time.monotonic() - started}


def best_factor(lines: list[dict[str, Any]], row: str) -> float:
    tries = [line for line in lines if line["row"] == row and line["factor"] is not None]
    return max(tries, key=lambda line: line["score"])["factor"]


def table(lines: list[dict[str, Any]], epsilons: list[float]) -> str:
    """Return the finished cells as Markdown: accuracy in per cent, mean ± standard deviation, and η's factor."""
    text = ["| row | " + " | ".join(f"ε = {epsilon:g}" for epsilon in epsilons) + " | no privacy | η × |"]
    text.append("|---" * (len(epsilons) + 3) + "|")
    for row in dict.fromkeys(line["row"] for line in lines):
        values = []
        for epsilon in [*epsilons, None]:
            scores = [
                100 * of["score"]
                for of in lines
                if of["row"] == row and of["factor"] is None and of["epsilon"] == epsilon
            ]
            sd = statistics.stdev(scores) if len(scores) > 1 else 0.0
            values.append(f"{statistics.mean(scores):.1f} ± {sd:.1f} ({len(scores)})" if scores else "")
        tried = sorted(line["factor"] for line in lines if line["row"] == row and line["factor"] is not None)
        factor = best_factor(lines, row)
        values.append(f"{factor:g}{'*' if factor in (tried[0], tried[-1]) else ''}")
        text.append(f"| {row} | " + " | ".join(values) + " |")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a causal model with its tokenizer")
    parser.add_argument("--data", type=Path, required=True, help="folder with SST-2's train.tsv and validation.tsv")
    parser.add_argument("--work", type=Path, default=Path("runs/utility-lm"), help="folder of files and finished cells")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--epsilon", nargs="+", type=float, default=[2.0], help="values of ε")
    parser.add_argument("--seeds", type=int, default=3, help="public keys of the directions")
    parser.add_argument("--factors", nargs="+", type=float, default=list(FACTORS), help="learning rates of the search")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the computations")
    parser.add_argument("--num-steps", type=int, default=60, help="T")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if not (arguments.work / "private.tsv").is_file():
        split(arguments.data, arguments.work)
    path = arguments.work / "cells.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    model = {"path": str(arguments.model), "dtype": arguments.dtype}
    named = {"model": arguments.model.name, "dtype": arguments.dtype}
    for cell in cells_of(arguments.rows, arguments.epsilon, arguments.seeds, arguments.factors):
        key = {**cell._asdict(), "num_steps": arguments.num_steps, **named}
        if any(key.items() <= line.items() for line in lines):
            continue
        factor = cell.factor or best_factor(lines, cell.row)
        line = {
            **key,
            "factor_used": factor,
            **run(config_of(cell, factor, model, arguments.work, arguments.num_steps)),
        }
        lines.append(line)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(
            f"{cell.row}, η × {factor:g}, key {cell.seed}: {line['score']:.1%} in {line['seconds']:.0f} s", flush=True
        )
    print(table(lines, arguments.epsilon))


if __name__ == "__main__":
    main()
