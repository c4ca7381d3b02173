"""Ways of searching at one total ε, as whole sweeps of the product on the demo made harder.

Harder: a third of the private labels is wrong, trials are short, and batches small. Of the demo's public rows, some
choose between trials, some are for tuning on public rows, and the rest score the model that came out.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import Sweep
from orchestrator.config.loading import load_run, override, read
from orchestrator.config.models import SweepConfig
from orchestrator.planning.plan import make_plan
from orchestrator.sweep.evaluation import evaluate

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "demo"
NUM_TRIALS, NUM_STEPS, WRONG_SHARE = 10, 45, 0.33
NUM_VALIDATION, NUM_TUNING = 150, 100  # of 500 public rows

WAYS: dict[str, list[str]] = {
    "one run": [
        "search.num_trials=1",
        "search.first=[{method.smoothing: 0.01, method.clip_norm: 5, method.learning_rate: 0.001}]",
    ],
    "TPE after 10": ["search.sampler=tpe", "search.startup=10"],
    "default": [],
    "default, 3 seeds": ["search.num_trials=3", "search.seeds=3"],
    "ASHA and fit": [
        "search.num_trials=fit",
        f"search.caps={{steps: {NUM_TRIALS * NUM_STEPS}}}",
        "search.early_stopping=asha",
    ],
    "best of random": ["search.release=best", "search.seed=null"],
    "public tuning": ["search.tune_on={tune_on}"],
    "published practice": ["search.sampler=random", "privacy.epsilon=null", "privacy.noise_multiplier={one_run}"],
}
"""Overrides of a sweep of so many trials. "Published practice" takes each trial's noise as if it were the only one."""


@dataclass(frozen=True)
class HarderDemo:
    """Its files, below a work folder."""

    work: Path

    def run(self, way: str, hundredths: int, seed: int) -> dict[str, Any]:
        """Run (or continue) one sweep, and return what it cost and found."""
        config = self._config(way, hundredths / 100, seed)
        result = Sweep(config).run(progress=False)
        caps, drawn = result.statement.caps["train_step"], (result.statement.tokens_drawn or {}).get("train_step")
        is_secret = config.search.release == "best"
        return {
            "epsilon": result.epsilon,
            "trials": None if is_secret else len(result.trials),
            "drawn": None if drawn is None or is_secret else drawn / caps,
            "best": result.best.score if result.best else None,
            "final": evaluate(result.folder, str(self.work / "test.jsonl"))["accuracy"] if result.best else None,
            "values": result.best.values if result.best else None,
            "seconds": result.seconds,
        }

    def _config(self, way: str, epsilon: float, seed: int) -> SweepConfig:
        base = read(str(ROOT / "examples" / "quickstart.yaml"))
        settings = {
            "name": f"{way.replace(' ', '-').replace(',', '')}-{epsilon:g}-{seed}",
            "storage_path": str(self.work / f"{way.replace(' ', '-')}-{epsilon:g}-{seed}"),
            "data.train": str(self.work / "train.jsonl"),
            "data.validation": str(self.work / "validation.jsonl"),
            "model.path": str(DEMO / "model"),
            "method.num_steps": NUM_STEPS,
            "method.seed": seed,
            "privacy.epsilon": epsilon,
            "privacy.expected_batch_size": 16,
            "score.times": 9,
            "search.num_trials": NUM_TRIALS,
            "search.concurrent_trials": 1,
            "search.sampler": "auto",
            "search.seed": seed,
        }
        base = override(base, settings, SweepConfig)
        known = {"{tune_on}": str(self.work / "tuning.jsonl")}
        if way == "published practice":
            known["{one_run}"] = repr(make_plan(load_run(base)).noise_multiplier)
        overrides = WAYS[way]
        for name, value in known.items():
            overrides = [each.replace(name, value) for each in overrides]
        return Sweep(base, overrides).config


def write_harder_demo(work: Path) -> HarderDemo:
    """Write the files that are not there yet, and return the demo."""
    work, generator = work.resolve(), random.Random(0)
    work.mkdir(parents=True, exist_ok=True)
    private = [json.loads(line) for line in (DEMO / "private.jsonl").read_text().splitlines()]
    labels = sorted({row["label"] for row in private})
    for row in private:
        if generator.random() < WRONG_SHARE:
            row["label"] = labels[1 - labels.index(row["label"])]
    public = (DEMO / "public_validation.jsonl").read_text().splitlines()
    last = NUM_VALIDATION + NUM_TUNING
    files = {
        "train": [json.dumps(row) for row in private],
        "validation": public[:NUM_VALIDATION],
        "tuning": public[NUM_VALIDATION:last],
        "test": public[last:],
    }
    for name, lines in files.items():
        (work / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return HarderDemo(work)
