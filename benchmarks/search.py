"""What a search is worth at a number of trials, and at a total ε.

    python benchmarks/search.py surfaces
    python benchmarks/search.py sweeps --sweeps 5

`surfaces` runs every sampler on synthetic surfaces, in minutes. `sweeps` runs whole sweeps on the demo made harder,
each way of searching at the same total ε: what its best trial scores on rows that chose nothing. Finished cells are
appended to a file in the work folder, and the same command continues after them; a sweep that was killed goes on too.
With `--stop-after SECONDS` no new cell begins after so long.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from search_surfaces import SAMPLERS, found_share, lacks_packages
from search_sweeps import WAYS, write_harder_demo

Cell = tuple[str, int, int]  # a row of the table, a number of trials or 100 ε, a seed


def finished_cells(path: Path, cells: Iterable[Cell], run: Callable[..., Any], stop_after_s: float) -> dict[Cell, Any]:
    """Run the cells that a file does not hold yet, and append each; return all that are there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    done = {tuple(cell): found for cell, found in map(json.loads, lines)}
    started = time.monotonic()
    for cell in cells:
        if cell in done:
            continue
        if time.monotonic() - started > stop_after_s:
            print(f"stopped after {stop_after_s:g} s; the same command continues")
            break
        done[cell] = run(*cell)
        with path.open("a") as file:
            file.write(json.dumps([cell, done[cell]]) + "\n")
    return done


def surfaces_table(done: Mapping[Cell, float], numbers: Iterable[int]) -> Iterator[str]:
    """Yield the lines of a table in Markdown: mean share in %, a row a sampler."""
    numbers = list(numbers)
    yield f"| sampler | {' | '.join(f'{number} trials' for number in numbers)} |"
    yield f"|---|{'---|' * len(numbers)}"
    for sampler in SAMPLERS:
        shares = [[share for (name, n, _), share in done.items() if (name, n) == (sampler, many)] for many in numbers]
        if any(shares):
            texts = (f"{100 * fmean(found):.1f} ± {_error(found):.1f}" if len(found) > 1 else "–" for found in shares)
            yield f"| {sampler} | {' | '.join(texts)} |"


def sweeps_table(done: Mapping[Cell, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown: a row a way of searching and total ε, means over sweeps."""
    yield "| ε | search | total ε | trials | tokens drawn | best score | score of the model on other rows | sweeps |"
    yield "|---|---|---|---|---|---|---|---|"
    rows = dict.fromkeys((hundredths, way) for way, hundredths, _ in done)
    for hundredths, way in sorted(rows, key=lambda row: (row[0], list(WAYS).index(row[1]))):
        found = [line for cell, line in done.items() if cell[:2] == (way, hundredths)]
        cells = (
            f"{hundredths / 100:g}",
            way,
            _mean(found, "epsilon", "{:.2f}"),
            _mean(found, "trials", "{:.1f}"),
            _mean(found, "drawn", "{:.0%}"),
            _spread(found, "best"),
            _spread(found, "final"),
            str(len(found)),
        )
        yield f"| {' | '.join(cells)} |"


def _mean(found: list[Mapping[str, Any]], key: str, form: str) -> str:
    values = [line[key] for line in found if line[key] is not None]
    return form.format(fmean(values)) if values else "secret"


def _spread(found: list[Mapping[str, Any]], key: str) -> str:
    values = [100 * line[key] for line in found if line[key] is not None]
    if not values:
        return "–"
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _error(shares: list[float]) -> float:
    return 100 * stdev(shares) / len(shares) ** 0.5


def main() -> None:
    """Run what is asked for, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("surfaces", "sweeps"))
    parser.add_argument("--work", type=Path, default=Path("runs/search"), help="folder of finished cells")
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="seconds after which no cell begins")
    parser.add_argument("--seeds", type=int, default=60, help="surfaces of each sampler and number of trials")
    parser.add_argument("--trials", type=int, nargs="+", default=[6, 10, 20, 30])
    parser.add_argument("--noise", type=float, default=0.01, help="standard deviation of a score on a surface")
    parser.add_argument("--sweeps", type=int, default=3, help="sweeps of each way of searching")
    parser.add_argument("--epsilon", type=float, nargs="+", default=[2.0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    args = parser.parse_args()
    if args.what == "surfaces":
        names = [name for name in SAMPLERS if not lacks_packages(name)]
        cells = ((name, number, seed) for seed in range(args.seeds) for number in args.trials for name in names)
        path = args.work / f"surfaces-{args.noise:g}.jsonl"
        done = finished_cells(path, cells, partial(found_share, noise=args.noise), args.stop_after)
        lines = surfaces_table(done, args.trials)
    else:
        demo = write_harder_demo(args.work)
        budgets = [round(100 * epsilon) for epsilon in args.epsilon]
        cells = ((way, each, seed) for seed in range(args.sweeps) for each in budgets for way in args.ways)
        done = finished_cells(args.work / "sweeps.jsonl", cells, demo.run, args.stop_after)
        lines = sweeps_table(done)
    for line in lines:
        Console(width=200).print(line, highlight=False)


if __name__ == "__main__":
    main()
