"""The cells of the table of utility.py, and the configuration of the run that fills each of them.

A method's settings are those of its example (examples/*.yaml) with the benchmark's T. `SST2` below replaces those that
another model needs differently. The learning rate is multiplied by a factor of `LADDER`, which the search on public
rows chooses: it begins with `FACTORS`.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.loading import load_run
from trainers.config import RunConfig
from trainers.methods.catalogue import METHODS as CATALOGUE

EXAMPLES = Path(__file__).parents[1] / "examples"
TASKS = ("demo", "sst2", "sst2-encoder")
DELTA = 1e-5
LADDER = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FACTORS = LADDER[5:8]
METHODS: dict[str, dict[str, Any]] = {
    "zero-shot": {"name": "mezo"},
    "mezo": {"name": "mezo"},
    "dp-zo": {"name": "dp-zo"},
    "dp-zo-laplace": {"name": "dp-zo"},
    "dpzero": {"name": "dpzero"},
    "dp-zoso": {"name": "dp-zoso"},
    "dp-zopo": {"name": "dp-zopo"},
    "dp-aggzo": {"name": "dp-aggzo", "num_directions": 16},
    "dp-sgd": {"name": "dp-sgd"},
    "dp-adamw": {"name": "dp-adamw"},
    "adamw": {"name": "adamw"},
}
"""The method of each row of the table, and the settings that differ from its example."""

SST2_BATCH, SST2_SIZE = 64.0, 4096


@dataclass(frozen=True)
class Cell:
    """One number of the table, or one try of the search for a learning rate.

    Args:
        task: one of TASKS.
        trainable: "full", "lora", or "head": a linear head on frozen features.
        method: a row of the table.
        epsilon: the ε of the run; None without privacy.
        seed: public key of the directions, and of a new head or adapter; noise and batches have none.
        factor: factor on the learning rate in the search; None in the table, which uses the search's choice.
    """

    task: str
    trainable: str
    method: str
    epsilon: float | None
    seed: int
    factor: float | None = None

    @property
    def key(self) -> str:
        """Key in the file of finished cells."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def family(self) -> tuple[str, str, str]:
        """What the cells with the same learning rate have in common."""
        return self.task, self.trainable, self.method

    @property
    def trains(self) -> bool:
        """Whether the cell is a run, and not the score of the base model."""
        return self.method != "zero-shot"


def is_private(method: str) -> bool:
    """Return whether a row of the table has an ε."""
    return CATALOGUE[METHODS[method]["name"]].private


def searched(families: Sequence[tuple[str, str, str]], epsilon: float) -> list[Cell]:
    """Return the tries of the search, all at one ε and with a seed that the table does not use."""
    return [
        Cell(*family, epsilon if is_private(family[2]) else None, seed=100, factor=factor)
        for family in families
        if family[2] != "zero-shot"
        for factor in FACTORS
    ]


def beyond(scores: Mapping[float, float]) -> float | None:
    """Return the factor next to the best one that was not tried, so that no row loses by the ends of its grid.

    scores: factor of `LADDER` → score. None if both neighbours of the best factor were tried, or there is none.
    """
    place = LADDER.index(max(sorted(scores), key=scores.__getitem__))
    neighbours = [LADDER[near] for near in (place - 1, place + 1) if 0 <= near < len(LADDER)]
    return next((factor for factor in neighbours if factor not in scores), None)


def tabulated(families: Sequence[tuple[str, str, str]], epsilons: Sequence[float], seeds: int) -> Iterator[Cell]:
    """Yield the cells of the table, seed by seed, so that a half-finished table has every row."""
    for seed in range(seeds):
        for family in families:
            for epsilon in epsilons if is_private(family[2]) else (None,):
                yield Cell(*family, epsilon, seed)


def config_of(cell: Cell, num_steps: int, work: Path, factor: float) -> RunConfig:
    """Return the configuration of a cell's run; a try of the search trains and scores on public rows."""
    example = load_run(EXAMPLES / f"{METHODS[cell.method]['name'].replace('-', '_')}.yaml")
    given = example.method.model_dump(mode="json", exclude_unset=True) | METHODS[cell.method]
    method = given | ({} if cell.task == "demo" else _on_sst2(cell))
    method |= {"num_steps": num_steps, "seed": cell.seed, "learning_rate": scaled(method["learning_rate"], factor)}
    if CATALOGUE[method["name"]].takes("stage_steps"):
        method["stage_steps"] = max(1, num_steps // 7)  # three stages, of T/7, 2T/7 and 4T/7 steps
    privacy: dict[str, Any] = {"delta": DELTA, "expected_batch_size": 32.0}
    if cell.epsilon is not None:
        privacy["epsilon"] = cell.epsilon
    if cell.method == "dp-zo-laplace":
        privacy["noise"] = "laplace"
    values = {
        "name": "utility",
        "storage_path": str(work),
        "model": {"path": str(EXAMPLES / "demo" / "model"), "trainable": cell.trainable},
        "method": method,
        "privacy": privacy,
        "performance": {"num_threads": 1},
    }
    return RunConfig.model_validate(values | (_demo(cell, work) if cell.task == "demo" else _sst2(cell, values, work)))


def scaled(rate: float | Mapping[str, Any], factor: float) -> Any:
    """Return a learning rate, a number or a schedule, multiplied by a factor."""
    if isinstance(rate, Mapping):
        return {name: value * factor if name in ("start", "end", "value") else value for name, value in rate.items()}
    return rate * factor


def _demo(cell: Cell, work: Path) -> dict[str, Any]:
    example = load_run(EXAMPLES / "quickstart.yaml")
    if cell.factor is None:
        train, validation = EXAMPLES / "demo" / "private.jsonl", EXAMPLES / "demo" / "public_validation.jsonl"
    else:
        train, validation = _public_reviews(work)
    data = {"train": str(train), "num_examples": example.data.num_examples, "validation": str(validation)}
    return {"data": data, "task": example.task.model_dump(exclude_unset=True)}


def _public_reviews(work: Path) -> tuple[Path, Path]:
    """Write more reviews of the demo's generator, and return the files that the search trains and scores on."""
    files = work / "demo" / "tuning.jsonl", work / "demo" / "held_out.jsonl"
    if not files[1].is_file():
        files[0].parent.mkdir(parents=True, exist_ok=True)
        sys.path.insert(0, str(EXAMPLES / "demo"))
        build, reviews = importlib.import_module("build"), importlib.import_module("reviews")
        seen = {text for text, _ in reviews.reviews(build.PRIVATE_SEED, build.NUM_PRIVATE)}
        for path, seed, size in zip(files, (101, 102), (4000, 500), strict=True):
            rows = reviews.reviews(seed, size, avoid=seen)
            seen |= {text for text, _ in rows}
            build.write_reviews(path, rows)
    return files


def _sst2(cell: Cell, values: dict[str, Any], work: Path) -> dict[str, Any]:
    """Return the sections that SST-2 changes; `sst2_setting.py` makes their files and their student."""
    folder = work / "sst2"
    train, validation = ("private", "validation") if cell.factor is None else ("tuning", "held_out")
    path = folder / ("student" if cell.task == "sst2" else "encoder")
    model: dict[str, Any] = {"path": str(path), "head": "sequence-classification"}
    if cell.trainable == "lora":
        model |= {"trainable": "lora", "lora": {"rank": 4, "alpha": 8, "target_modules": ["query", "value"]}}
    return {
        "data": {
            "train": str(folder / f"{train}.tsv"),
            "num_examples": SST2_SIZE,
            "validation": str(folder / f"{validation}.tsv"),
        },
        "task": {"template": "{sentence}", "label_column": "label", "labels": [0, 1], "max_tokens": 96},
        "model": model,
        "privacy": {**values["privacy"], "expected_batch_size": SST2_BATCH},
    }


def _on_sst2(cell: Cell) -> dict[str, Any]:
    """Return the settings that replace those of the example configuration.

    An example's difference along a direction is about as large as its gradient's norm. So the clip is that norm,
    divided by √K where K directions share one clip.
    """
    norm, smoothing, rate = SST2[cell.task, cell.trainable]
    num_directions = METHODS[cell.method].get("num_directions", 1)
    changes = {"smoothing": smoothing, "clip_norm": norm / num_directions**0.5, "learning_rate": rate}
    changes["learning_rate"] *= SST2_RATES.get(cell.method, 1.0)
    if CATALOGUE[METHODS[cell.method]["name"]].order == "first":
        del changes["smoothing"]
        changes["learning_rate"] = SST2_RATES[cell.method]
    return changes


SST2: dict[tuple[str, str], tuple[float, float, float]] = {
    ("sst2", "full"): (3.0, 1e-3, 5e-3),
    ("sst2", "lora"): (3.0, 1e-2, 2e-2),
    ("sst2", "head"): (2.7, 1e-2, 1e-2),
    ("sst2-encoder", "head"): (14.0, 1e-2, 6e-4),
}
"""By task and what trains: norm of an example's gradient on public rows, λ, and η of one direction before FACTORS."""
SST2_RATES = {"dp-zoso": 2.0, "dp-zopo": 6.0, "dp-aggzo": 5.0, "dp-sgd": 0.3, "dp-adamw": 2e-3, "adamw": 1e-3}
"""By method: its η divided by that of one direction; for a first-order method, its η."""
