"""What `clip_norm: auto` and `learning_rate: auto` reach on the demo, beside grids of fixed values at the same ε.

    python benchmarks/auto_settings.py --work runs/auto --epsilon 3 --runs 3

Each number is the score of whole runs on public rows: the same plan and number of steps, with noise and batches of
their own. A clip that follows norms begins ten times below and ten times above the middle of the grid. Finished runs
are appended to `runs.jsonl` in the work folder, and the same command continues after them.
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
from trainers.config.auto import AutoClip
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.tokens import LocalTokens
from trainers.run.auto_clip import FollowedClip
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.workspace import open_run, open_workspace

DEMO = Path(__file__).parents[1] / "examples" / "quickstart.yaml"


def settings(clip: float, rate: float) -> dict[str, tuple[Any, Any]]:
    """Return (clip, learning rate) by name: a grid of each about the middle of the other, and what finds its own."""
    clips = {f"C {clip * factor:g}": (clip * factor, rate) for factor in (0.1, 0.2, 0.5, 1, 2, 5, 10)}
    rates = {f"η {rate * factor:g}": (clip, rate * factor) for factor in (0.1, 0.3, 3, 10)}
    starts = {
        f"C auto from {clip * factor:g}": {"kind": "auto", "start": clip * factor, "low": clip / 10}
        for factor in (0.1, 10)
    }
    followed = {name: (start, rate) for name, start in starts.items()}
    return (
        clips | rates | followed | {"η auto": (clip, "auto")} | {f"{n}, η auto": (s, "auto") for n, s in starts.items()}
    )


def config_of(clip: Any, rate: Any, epsilon: float, steps: int, seed: int) -> RunConfig:
    """Return one run of the quickstart's model and data."""
    values = {"method.num_steps": steps, "method.seed": seed, "privacy.epsilon": epsilon}
    values |= {"performance.num_threads": 1, "score.times": 1}
    config = load_run(DEMO, [f"{key}={value}" for key, value in values.items()])
    method = config.method.model_dump() | {"clip_norm": clip, "learning_rate": rate}
    return RunConfig.model_validate(config.model_dump(exclude={"budget"}) | {"method": method})


def run_once(workspace: Workspace, config: RunConfig, sigma: float) -> dict[str, float]:
    """Take all steps; return the last score and loss on public rows, and the last C of a clip that follows norms."""
    privacy, steps = config.privacy.model_copy(update={"noise_multiplier": sigma}), config.method.num_steps
    config = config.model_copy(update={"privacy": privacy})
    tokens, plan = Tokens(LocalTokens(steps), LocalTokens(0)), mechanism_plan(config, sigma)
    with TemporaryDirectory() as folder:
        run = open_run(RunContext(workspace, config, plan, tokens, Path(folder)))
        with run.log:
            list(run.segments())
    if not isinstance(config.method.clip_norm, AutoClip):
        return run.metrics
    clip = FollowedClip(config.method.clip_norm)
    for released in run.log.releases["step"]:
        clip.follow(int(released[-1]), plan)
    return {**run.metrics, "clip_norm": clip.norm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/auto"))
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--clip", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    file = given.work / "runs.jsonl"
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    base = config_of(given.clip, given.rate, given.epsilon, given.steps, 0)
    sigma = make_plan(base).noise_multiplier
    assert sigma is not None
    with closing(open_workspace(base)) as workspace, file.open("a") as out:
        for seed in range(given.runs):
            for name, (clip, rate) in settings(given.clip, given.rate).items():
                key = [name, given.epsilon, given.steps, seed]
                if any(line["key"] == key for line in done):
                    continue
                config = config_of(clip, rate, given.epsilon, given.steps, seed)
                done.append({"key": key, **run_once(workspace, config, sigma)})
                out.write(json.dumps(done[-1]) + "\n")
                out.flush()
    report(done, sigma)


def report(lines: list[dict[str, Any]], sigma: float) -> None:
    """Print a row for each setting and ε: mean and standard deviation of the score, and the last C."""
    print(f"| setting | ε | score | last C | σ {sigma:.3g}\n|---|---|---|---|")
    for name, epsilon in dict.fromkeys((line["key"][0], line["key"][1]) for line in lines):
        rows = [line for line in lines if line["key"][:2] == [name, epsilon]]
        scores = [line["accuracy"] for line in rows]
        last = [line["clip_norm"] for line in rows if "clip_norm" in line]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        ends = f"{min(last):.2g} to {max(last):.2g}" if last else ""
        print(f"| {name} | {epsilon:g} | {statistics.mean(scores):.3f} ± {spread:.3f} | {ends} |")


if __name__ == "__main__":
    main()
