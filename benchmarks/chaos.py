"""Thirty and more kills in one sweep: workers, rank 0, nodes and drivers; what must hold afterwards is checked.

    PYTHONPATH=. python benchmarks/chaos.py --kills 30 [--workers 2] [--seed 0] [--steps 300]

Prints what was killed and how long it took, as JSON; exit code 1 where something does not hold. The tests run the short
form (tests/integration/test_chaos.py).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from tests.support.chaos import NUM_TRIALS, Chaos, require_all_accounted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--steps", type=int, default=300, help="of each of the six trials")
    parser.add_argument("--workers", type=int, default=1, help="of each trial")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dpzo-chaos-") as folder:
        chaos = Chaos(Path(folder), arguments.kills, arguments.steps, arguments.seed, arguments.workers)
        started = time.monotonic()
        result = chaos.run()
        seconds = time.monotonic() - started
        require_all_accounted(chaos, result)
        print(
            json.dumps(
                {
                    "kills": dict(chaos.killed),
                    "starts of the driver": chaos.starts,
                    "steps": NUM_TRIALS * arguments.steps,
                    "tokens drawn": result["statement"]["tokens_drawn"],
                    "workers a trial": arguments.workers,
                    "seconds": round(seconds),
                }
            )
        )


if __name__ == "__main__":
    main()
