"""Kill workers, rank 0, nodes and drivers of a sweep at random, and check that every release is accounted for.

    PYTHONPATH=. python benchmarks/chaos.py --kills 30 [--workers 2] [--seed 0] [--steps 300]
    PYTHONPATH=. python benchmarks/chaos.py --elastic [--steps 3000]

The second form takes one run from one worker to two and back to one: a node is added, and the first one is lost. Both
print what happened and how long it took as JSON, and end with exit code 1 if a check fails. The tests run the short
forms (tests/integration/test_chaos.py).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.chaos import NUM_TRIALS, Chaos, require_all_accounted
from tests.support.elastic import Elastic, require_elastic


def kills(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kill parts of a sweep until it ends, check its accounts, and return what happened."""
    num_steps = arguments.steps or 300
    chaos = Chaos(folder, arguments.kills, num_steps, arguments.seed, arguments.workers)
    result = chaos.run()
    require_all_accounted(chaos, result)
    return {
        "kills": dict(chaos.killed),
        "starts of the driver": chaos.starts,
        "steps": NUM_TRIALS * num_steps,
        "tokens drawn": result["statement"]["tokens_drawn"],
        "workers a trial": arguments.workers,
    }


def elastic(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Take a run from one worker to two and back, check its accounts, and return what happened."""
    run = Elastic(folder, arguments.steps or 3000)
    result = run.run()
    require_elastic(run, result)
    return {"seconds until": run.seconds, "steps": result["steps"], "steps charged": result["steps_charged"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=30, help="number of kills")
    parser.add_argument("--elastic", action="store_true", help="take one run from one worker to two and back")
    parser.add_argument("--steps", type=int, help="of each trial (default 300), or of the elastic run (3000)")
    parser.add_argument("--workers", type=int, default=1, help="workers of each trial")
    parser.add_argument("--seed", type=int, default=0, help="seed of the kills")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dpzo-chaos-") as folder:
        started = time.monotonic()
        happened = (elastic if arguments.elastic else kills)(Path(folder), arguments)
        print(json.dumps({**happened, "seconds": round(time.monotonic() - started)}))


if __name__ == "__main__":
    main()
