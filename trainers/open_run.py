"""Opens the run that a configuration asks for, zeroth-order or first-order."""

from __future__ import annotations

from pathlib import Path

from trainers.base_run import BaseRun, Tokens, Workspace
from trainers.config import RunConfig
from trainers.mechanism import MechanismPlan
from trainers.methods.catalogue import METHODS
from trainers.ranks import Ranks
from trainers.run import Run


def open_run(
    workspace: Workspace,
    config: RunConfig,
    plan: MechanismPlan,
    tokens: Tokens,
    folder: Path,
    ranks: Ranks | None = None,
) -> BaseRun:
    """Open or reopen a run in its folder; `ranks` says who else takes its steps (zeroth-order runs only).

    Raises:
        ValueError: the folder holds the log of another run, or the method cannot run on the workspace.
    """
    if METHODS[config.method.name].order == "zeroth":
        return Run(workspace, config, plan, tokens, folder, ranks)
    from trainers.first_order.run import FirstOrderRun

    return FirstOrderRun(workspace, config, plan, tokens, folder)
