"""Twenty processes draw as they like, half of them are killed at random moments: the count stays true."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.ledger import Cap, Ledger
from tests.support.ledgers import LAW, reserve

NUM_PROCESSES, NUM_VICTIMS = 8, 4
CAPS = {
    "step": Cap(LAW, 700),
    "filter": Cap({"law": "filter"}, 500_000),
    "entry": Cap({"law": "entry"}, 400, per_holder=30),
}
PRICES = {"step": (1,), "filter": (500, 2_000, 3_333), "entry": (1, 2)}

spawn = multiprocessing.get_context("forkserver")


def draw_until_refused(url: str, folder: Path, number: int) -> None:
    """Draw one or several, cheap or dear, of any kind; write down every token once it is one's own."""
    choice = random.Random(number)
    kinds = set(CAPS)
    with Ledger(url, create=False) as ledger, open(folder / f"{number}.log", "a", buffering=1) as log:
        (folder / f"{number}.ready").touch()
        while not (folder / "go").exists():
            time.sleep(0.005)
        while kinds:
            kind = choice.choice(sorted(kinds))
            price, count = choice.choice(PRICES[kind]), choice.choice((1, 1, 4))
            try:
                first = ledger.draw("a", kind, f"t{number}", count=count, price=price)
            except BudgetExceeded as refusal:
                if refusal.left == 0 or (count, price) == (1, min(PRICES[kind])):
                    kinds.remove(kind)
                continue
            log.write(f"{kind} {first} {count} {price}\n")


def units_of(folder: Path) -> tuple[dict[str, list[int]], int]:
    """Return the units that all processes have written down, by kind, and the number of draws."""
    units, num_draws = {kind: [] for kind in CAPS}, 0
    for log in folder.glob("*.log"):
        for line in log.read_text().splitlines(keepends=True):
            kind, first, count, price = line.split()
            num_draws += line.endswith("\n")
            units[kind].extend(range(int(first), int(first) + int(count) * int(price)))
    return units, num_draws


def wait_until(ready) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.timeout(300)
def test_half_of_eight_processes_are_killed_and_nothing_is_drawn_twice_or_overspent(any_ledger, tmp_path):
    reserve(any_ledger, "a", CAPS)
    spawn.set_forkserver_preload([__name__, "orchestrator.privacy.ledger.ledger", "psycopg"])
    processes = [
        spawn.Process(target=draw_until_refused, args=(any_ledger.url, tmp_path, number))
        for number in range(NUM_PROCESSES)
    ]
    for process in processes:
        process.start()
    wait_until(lambda: len(list(tmp_path.glob("*.ready"))) == NUM_PROCESSES)
    (tmp_path / "go").touch()
    choice = random.Random()
    for victim in processes[:NUM_VICTIMS]:
        time.sleep(choice.uniform(0.0, 0.04))
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
    for process in processes:
        process.join(120)
    assert all(process.exitcode == 0 for process in processes[NUM_VICTIMS:])
    num_killed = sum(process.exitcode == -signal.SIGKILL for process in processes)

    units, num_logged = units_of(tmp_path)
    drawn = {entry.kind: entry.drawn for entry in any_ledger.reservations()}
    for kind, cap in CAPS.items():
        assert len(units[kind]) == len(set(units[kind]))  # nothing twice
        assert not units[kind] or max(units[kind]) < drawn[kind]
        assert drawn[kind] <= cap.count
    with any_ledger._store.reading() as connection:
        num_draws = connection.exec_driver_sql("SELECT count(*) FROM draws").scalar()
    assert num_logged <= num_draws <= num_logged + num_killed  # at most the draw in flight of each that died
    assert drawn["step"] == CAPS["step"].count  # those who lived went on to the end
    assert num_killed >= NUM_VICTIMS // 2
    any_ledger.verify_all()
