"""The accuracy of every method at equal ε: zero-shot, MeZO, the papers' private methods, and first-order baselines.

    python benchmarks/utility.py --task demo
    python benchmarks/sst2_setting.py --data path/to/sst2 --teacher path/to/encoder --out runs/utility/sst2
    python benchmarks/utility.py --task sst2 --trainable full lora head

Each number is a run of the product: the accountant calibrates the noise multiplier, the plan certifies it, and
`trainers.workspace` takes the steps. Before the table, a search on public rows chooses each method's learning rate at
the first ε: it begins with three and goes on past an end of them that is best. As in the published tables, that search
is not part of the table's ε.

Finished cells are appended to `cells.jsonl` in the work folder, and the same command continues after them.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from frozen_head import head_workspace
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from utility_cells import METHODS, TASKS, Cell, beyond, config_of, searched, tabulated
from utility_report import write_report

from orchestrator.planning.plan import make_plan
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.tokens import LocalTokens
from trainers.methods.catalogue import METHODS as CATALOGUE
from trainers.run.base_run import public_score
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.workspace import open_run, open_workspace

Done = dict[str, dict[str, Any]]


class Runner:
    """Trains and scores cells; it loads data and model and calibrates σ once for all cells that share them."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._loaded: tuple[tuple[Any, ...], Workspace] | None = None
        self._noise: dict[tuple[Any, ...], tuple[float | None, float | None]] = {}

    def __call__(self, cell: Cell, config: RunConfig) -> dict[str, Any]:
        """Run a cell and return its line of the file: the cell, its settings, σ, ε and the score."""
        started = time.monotonic()
        workspace = self.workspace(cell, config)
        workspace.evaluator.reset()
        line = {**asdict(cell), "delta": config.privacy.delta, "settings": settings_of(config)}
        if cell.trains:
            sigma, certified = self._noise_of(config)
            line |= {"noise_multiplier": sigma, "certified_epsilon": certified}
            score = trained(workspace, config, sigma)
        else:
            score = public_score(config, workspace)
        return {**line, "score": score, "seconds": time.monotonic() - started}

    def workspace(self, cell: Cell, config: RunConfig) -> Workspace:
        """Return the data and the model of a cell."""
        first_order = CATALOGUE[config.method.name].order == "first"
        key = (cell.task, cell.trainable, cell.seed, cell.factor is None, first_order and config.method.name)
        if self._loaded is None or self._loaded[0] != key:
            pooled = cell.task == "sst2"
            head = cell.trainable == "head"
            self._loaded = key, head_workspace(config, self._work, pooled=pooled) if head else open_workspace(config)
        return self._loaded[1]

    def _noise_of(self, config: RunConfig) -> tuple[float | None, float | None]:
        """Return σ and its certified ε, None without privacy; they depend on K under Laplace noise only."""
        privacy, method = config.privacy, config.method
        directions = method.num_directions if privacy.noise == "laplace" else None
        key = (config.sampling_prob, method.num_steps, privacy.epsilon, privacy.noise, directions)
        if key not in self._noise:
            plan = make_plan(config)
            self._noise[key] = plan.noise_multiplier, None if plan.total is None else plan.epsilon
        return self._noise[key]


def trained(workspace: Workspace, config: RunConfig, sigma: float | None) -> float:
    """Take all steps of a run and return its score."""
    privacy = config.privacy.model_copy(update={"noise_multiplier": sigma})
    config, num_steps = config.model_copy(update={"privacy": privacy}), config.method.num_steps
    tokens = Tokens(LocalTokens(num_steps), LocalTokens(0))
    with TemporaryDirectory() as folder:
        run = open_run(RunContext(workspace, config, mechanism_plan(config, sigma), tokens, Path(folder)))
        with run.log:
            (*_, (steps, score)) = run.segments()
    assert steps == num_steps
    assert score is not None
    return score


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Return the settings with which the cell can be repeated."""
    method = config.method.model_dump(mode="json")
    spec = CATALOGUE[config.method.name]
    privacy = {"sampling_prob": config.sampling_prob, "noise": config.privacy.noise}
    return {"order": spec.order, "expected_batch_size": config.privacy.expected_batch_size, **privacy, "method": method}


class Cells:
    """The finished cells, which a file holds one a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.done: Done = {line["key"]: line for line in map(json.loads, lines)}

    def add(self, key: str, line: dict[str, Any]) -> None:
        """Append a finished cell to the file."""
        self.done[key] = {"key": key, **line}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.done[key]) + "\n")

    def tries(self, family: tuple[str, str, str], num_steps: int) -> dict[float, float]:
        """Return factor → score of the search for the cells of a family."""
        return {
            line["factor"]: line["score"]
            for line in self.done.values()
            if line["factor"] is not None
            and (line["task"], line["trainable"], line["method"]) == family
            and line["settings"]["method"]["num_steps"] == num_steps
        }

    def best_factor(self, cell: Cell, num_steps: int) -> float:
        """Return the best factor of the search: the method's own, else that of DP-ZO on the same model, else 1."""
        for method in (cell.method, "dp-zo"):
            tries = self.tries((cell.task, cell.trainable, method), num_steps)
            if tries:
                return max(tries, key=tries.__getitem__)
        return 1.0


def work_of(cell: Cell) -> int:
    """Return about how many forward passes a step of the cell takes, for the progress bar."""
    return 2 * METHODS[cell.method].get("num_directions", 1) + 4


def fill(cells: list[Cell], finished: Cells, num_steps: int, work: Path, console: Console) -> None:
    """Run the cells that are not finished, and show a progress bar."""
    runner = Runner(work)
    missing = [cell for cell in cells if keyed(cell, num_steps) not in finished.done]
    if not missing:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(elapsed_when_finished=True), console=console) as progress:
        bar = progress.add_task("", total=sum(map(work_of, missing)))
        for number, cell in enumerate(missing, 1):
            epsilon = "" if cell.epsilon is None else f", ε = {cell.epsilon:g}"
            named = f"{cell.task} {cell.trainable} {cell.method}{epsilon}, seed {cell.seed}"
            progress.update(bar, description=f"{number}/{len(missing)} {named}")
            factor = cell.factor or finished.best_factor(cell, num_steps)
            line = runner(cell, config_of(cell, num_steps, work, factor))
            finished.add(keyed(cell, num_steps), {**line, "learning_rate_factor": factor})
            progress.advance(bar, work_of(cell))
            console.print(f"{named}, η × {factor:g}: {line['score']:.1%} in {line['seconds']:.0f} s")


def keyed(cell: Cell, num_steps: int) -> str:
    """Return the key of a cell that takes `num_steps` steps."""
    return f"T {num_steps} {cell.key}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, required=True, help="data and model")
    parser.add_argument(
        "--trainable", nargs="+", choices=["full", "lora", "head"], default=["full"], help="trained parts"
    )
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="rows")
    parser.add_argument("--epsilon", nargs="+", type=float, default=[2.0, 6.0], help="values of ε")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each cell, which differ in their directions")
    parser.add_argument("--num-steps", type=int, default=70, help="T, the same for every method")
    parser.add_argument("--no-search", action="store_true", help="use the learning rates of an earlier search")
    parser.add_argument("--report-only", action="store_true", help="run nothing and report the finished cells")
    parser.add_argument("--work", type=Path, default=Path("runs/utility"), help="folder of finished cells and reports")
    parser.add_argument("--docs", type=Path, help="folder of the report, in place of the work folder")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    finished = Cells(arguments.work / "cells.jsonl")
    families = [(arguments.task, one, method) for one in arguments.trainable for method in arguments.methods]
    tries = [] if arguments.no_search or arguments.report_only else searched(families, arguments.epsilon[0])
    while tries:
        fill(tries, finished, arguments.num_steps, arguments.work, console)
        found = [(of, beyond(finished.tries(of.family, arguments.num_steps))) for of in tries]
        tries = list(dict.fromkeys(replace(of, factor=factor) for of, factor in found if factor is not None))
    table = list(tabulated(families, arguments.epsilon, arguments.seeds))
    if not arguments.report_only:
        fill(table, finished, arguments.num_steps, arguments.work, console)
    keys = [keyed(cell, arguments.num_steps) for cell in table]
    lines = [finished.done[key] for key in keys if key in finished.done]
    print(write_report(lines, arguments.docs or arguments.work, arguments.task))


if __name__ == "__main__":
    main()
