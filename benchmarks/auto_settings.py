"""What `clip_norm: auto` reaches on the demo, beside a grid of fixed clips at the same ε.

    python benchmarks/auto_settings.py --work runs/auto --epsilon 3 --runs 3

Each number is the score of whole runs on public rows: the same plan, learning rate and number of steps, with noise and
batches of their own. `auto` begins ten times below and ten times above the middle of the grid. Finished runs are
appended to `runs.jsonl` in the work folder, and the same command continues after them.
"""

from __future__ import annotations

import argparse
import json
import statistics
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.config.loading import load_run
from orchestrator.planning.plan import make_plan
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.workspace import open_run, open_workspace

DEMO = Path(__file__).parents[1] / "examples" / "quickstart.yaml"


def settings(middle: float) -> dict[str, Any]:
    """Return clips by name: seven fixed ones about the middle, and two that follow the norms."""
    fixed = {f"{middle * factor:g}": middle * factor for factor in (0.1, 0.2, 0.5, 1, 2, 5, 10)}
    auto = {f"auto from {middle * factor:g}": {"kind": "auto", "start": middle * factor} for factor in (0.1, 10)}
    return fixed | auto


def config_of(clip: Any, epsilon: float, steps: int, rate: float, seed: int) -> RunConfig:
    """Return one run of the quickstart's model and data."""
    values = {"method.num_steps": steps, "method.learning_rate": rate, "method.seed": seed, "privacy.epsilon": epsilon}
    values |= {"performance.num_threads": 1, "score.times": 1}
    config = load_run(DEMO, [f"{key}={value}" for key, value in values.items()])
    method = config.method.model_dump() | {"clip_norm": clip}
    sections = config.model_dump(exclude={"budget"}) | {"method": method}
    return RunConfig.model_validate(sections)


def run_once(workspace: Workspace, config: RunConfig, sigma: float) -> dict[str, float]:
    """Take all steps; return the last score and loss on public rows, and the last C of a clip that follows norms."""
    privacy, steps = config.privacy.model_copy(update={"noise_multiplier": sigma}), config.method.num_steps
    config = config.model_copy(update={"privacy": privacy})
    tokens = Tokens(LocalTokens(steps), LocalTokens(0))
    with TemporaryDirectory() as folder:
        run = open_run(RunContext(workspace, config, mechanism_plan(config, sigma), tokens, Path(folder)))
        with run.log:
            list(run.segments())
        (last,) = run._context.method.state().get("clip_norm", (None,))  # where the clip has come to
    return run.metrics | ({} if last is None else {"clip_norm": last})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/auto"))
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--middle", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    file = given.work / "runs.jsonl"
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    base = config_of(given.middle, given.epsilon, given.steps, given.rate, 0)
    sigma = make_plan(base).noise_multiplier
    assert sigma is not None
    with closing(open_workspace(base)) as workspace, file.open("a") as out:
        for seed in range(given.runs):
            for name, clip in settings(given.middle).items():
                key = [name, given.epsilon, given.steps, given.rate, seed]
                if any(line["key"] == key for line in done):
                    continue
                config = config_of(clip, given.epsilon, given.steps, given.rate, seed)
                done.append({"key": key, **run_once(workspace, config, sigma)})
                out.write(json.dumps(done[-1]) + "\n")
                out.flush()
                print(done[-1], flush=True)
    report(done, sigma)


def report(lines: list[dict[str, Any]], sigma: float) -> None:
    """Print a row for each clip, ε and learning rate: mean and standard deviation of the score, and the last C."""
    print(f"| clip | ε | η | score | last C | σ {sigma:.3g}\n|---|---|---|---|---|")
    for group in sorted({(line["key"][0], line["key"][1], line["key"][3]) for line in lines}, key=str):
        rows = [line for line in lines if (line["key"][0], line["key"][1], line["key"][3]) == group]
        scores = [line["accuracy"] for line in rows]
        last = [line["clip_norm"] for line in rows if "clip_norm" in line]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        ends = f"{min(last):.2g} to {max(last):.2g}" if last else ""
        print(f"| {group[0]} | {group[1]:g} | {group[2]:g} | {statistics.mean(scores):.3f} ± {spread:.3f} | {ends} |")


if __name__ == "__main__":
    main()
