"""The status of runs and sweeps on a terminal."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from orchestrator.api.views.tables import (
    TrialsTable,
    facts_table,
    folded,
    path_text,
    plain_table,
    right,
)
from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.planning.facts import duration
from orchestrator.privacy.display import epsilon_text, rounded_down
from orchestrator.privacy.rules.caps import EVALUATION, TRAIN_STEP
from orchestrator.storage.progress import PERIOD_S
from orchestrator.storage.trials import best_of
from orchestrator.sweep.spending import Spending
from orchestrator.sweep.status import RunStatus

STYLES = {"running": "cyan", "interrupted": "magenta", "finished": "green"}
SECRET = "only the winner is published: the number and the progress of trials stay secret"
TOKEN_WORDS = {TRAIN_STEP: "steps", EVALUATION: "scores"}


def status_view(status: RunStatus, config: LedgeredConfig) -> RenderableType:
    """Return the status of one run or sweep."""
    facts = status_facts(status)
    if status.state == "interrupted":
        facts.append(("to resume", f"dpzo resume {status.folder}"))
    elif status.state == "finished":
        facts.append(("results", path_text(Path(status.folder))))
    parts: list[RenderableType] = [_title(status), facts_table(facts)]
    if status.lanes:
        parts += [Text(), _lanes_table(status)]
    if status.trials and isinstance(config, SweepConfig):
        best = best_of(status.trials)
        names, num_steps = sorted(config.search.parameters), config.method.num_steps
        table = TrialsTable(status.trials, names, best.number if best else None, num_steps, status.metric)
        parts += [Text(), table]
    return Group(*parts)


def status_facts(status: RunStatus) -> list[tuple[str, str]]:
    """Return labels and texts of the progress and of what is reserved and drawn."""
    return [*_progress_facts(status), *_spending_facts(status.spending)]


def overview(statuses: Sequence[RunStatus]) -> RenderableType:
    """Return one row for each run and sweep of a storage folder."""
    if not statuses:
        return Text("No run or sweep has been started here.")
    table = plain_table(folded("name", 28), "kind", "state", *right("steps", "time left", "this run's ε", "total ε"))
    for status in statuses:
        table.add_row(
            Text(status.name),
            status.kind,
            Text(status.state, style=STYLES[status.state]),
            steps_text(status),
            "" if status.seconds_left is None else duration(status.seconds_left),
            *epsilon_texts(status.spending),
        )
    return table


def epsilon_texts(spending: Spending | None) -> tuple[str, str]:
    """Return the ε of this run and the total, as the statement names them."""
    if spending is None:
        return "", ""
    here = "in its statement" if spending.here is None else epsilon_text(spending.here)
    return here, "" if spending.total is None else epsilon_text(spending.total)


def _title(status: RunStatus) -> Text:
    state = (status.state, f"bold {STYLES[status.state]}")
    return Text.assemble(status.kind, " ", (status.name, "bold"), " · ", state)


def steps_text(status: RunStatus) -> str:
    if status.is_secret:
        return "secret"
    return f"{status.num_steps:,} in all" if status.steps is None else f"{status.steps:,} of {status.num_steps:,}"


def _progress_facts(status: RunStatus) -> list[tuple[str, str]]:
    if status.is_secret:
        return [("trials", SECRET)]
    facts = []
    if status.kind == "sweep":
        states = Counter(row.state for row in status.trials or ())
        counts = [f"{count} {state}" for state, count in states.items()]
        to_come = (status.num_trials or 0) - sum(states.values())
        facts.append(("trials", ", ".join([*counts, *([f"{to_come} to come"] if to_come > 0 else [])])))
    rate = "" if status.steps_per_s is None else f" · {_rate(status.steps_per_s)} steps/s"
    left = "" if status.seconds_left is None else f" · about {duration(status.seconds_left)} left"
    return [*facts, ("steps", steps_text(status) + rate + left)]


def _spending_facts(spending: Spending | None) -> list[tuple[str, str]]:
    if spending is None:
        return [("ε", "nothing is reserved yet")]
    here, total = epsilon_texts(spending)
    taken = f"; {epsilon_text(spending.reserved)} was taken from the budget, as other tokens had been paid for"
    taken = "" if spending.here == spending.reserved else taken
    facts = [
        ("total ε", f"{total} at δ = {spending.total_delta:g}: everything released about this data; report this"),
        ("this run's ε", f"{here} at δ = {spending.delta:g}{taken}"),
    ]
    if spending.tokens_drawn is not None:
        counts = ", ".join(
            f"{drawn:,} of {cap:,} {TOKEN_WORDS.get(k, k)}" for k, (drawn, cap) in spending.tokens_drawn.items()
        )
        epsilon = "" if spending.drawn is None else f" (ε of these alone {epsilon_text(spending.drawn)})"
        facts.append(("drawn", counts + epsilon))
    facts.append(("budget", f"{spending.budget}: {_left(spending)}"))
    return facts


def _left(spending: Spending) -> str:
    left = spending.left
    if left is None:
        return "no limit; costs are only counted"
    if left.renyi is not None:
        return f"Rényi ε {rounded_down(left.renyi)} left (ε {spending.limit:g} in all)"
    return f"ε {rounded_down(left.epsilon or 0.0)} left of {spending.limit:g}"


def _lanes_table(status: RunStatus) -> Table:
    numbers = right("steps", "steps/s", "last step")
    table = plain_table(Column("running", no_wrap=True), folded("on", 30), *numbers)
    for lane in status.lanes:
        silent = time.time() - lane.at
        table.add_row(
            lane.holder,
            Text(f"{lane.host}, process {lane.pid}"),
            f"{lane.steps:,}/{lane.num_steps:,}",
            "" if lane.steps_per_s is None else _rate(lane.steps_per_s),
            "now" if silent < 2 * PERIOD_S else f"{duration(silent)} ago",
        )
    return table


def _rate(steps_per_s: float) -> str:
    return f"{steps_per_s:.3g}"
