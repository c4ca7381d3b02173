"""The release log on all ranks: rank 0 has the file, and sends the others its steps to hold in memory."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from trainers.mechanism.release_log import LogCopy, ReleaseLog, Transcript
from trainers.workers.patience import RAY_PATIENCE
from trainers.workers.ranks import Ranks

LOCK_PATIENCE_S = 1.5 * max(60.0, float(os.environ.get(RAY_PATIENCE, "60")))  # a process without cluster holds its log


def open_log(
    ranks: Ranks, path: Path, header: dict[str, Any], defaults: dict[str, Any], copy: LogCopy | None = None
) -> Transcript:
    """Return the log file, opened or reopened, on rank 0, and its steps in memory on the other ranks.

    ValueError if the log belongs to another run or was changed (rank 0), or the ranks have different headers.
    """
    log: Transcript = Transcript(path)
    if ranks.is_rank_0:
        log = ReleaseLog(path, header, defaults, lock_patience_s=LOCK_PATIENCE_S, copy=copy)
    with ExitStack() as if_refused:
        if_refused.callback(log.close)
        if ranks.size > 1:
            _share(ranks, log)
        ranks.require_same("settings and base weights", lambda: json.dumps(header, sort_keys=True).encode())
        if_refused.pop_all()
    return log


def _share(ranks: Ranks, log: Transcript) -> None:
    steps = log.releases["step"]
    public = log.public_values, log.public_digests
    known = ranks.broadcast(lambda: {"steps": [one.tolist() for one in steps], "public": public})
    if ranks.is_rank_0:
        return
    log.public_values, log.public_digests = known["public"]
    for step, noisy_K in enumerate(known["steps"]):
        log.reserve("step", step)
        log.release("step", step, np.array(noisy_K, dtype=np.int64))
