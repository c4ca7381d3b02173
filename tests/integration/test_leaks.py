"""Nothing private gets out: a string and the losses of private rows are looked for in everything a sweep leaves.

Everything is: the files under storage_path (the study and TensorBoard's among them) and under Ray's temporary folder
(logs, sockets' names, metrics), what the command printed, and what Ray's dashboard, its metrics endpoints and the page
of `dpzo dashboard` said while the sweep ran. The losses are those of every private row at every probe of the first
step; directions and data are known here, so they can be computed again.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_core import to_json

from orchestrator.cli.dashboard.snapshot import place_of
from orchestrator.config.loading import load_sweep
from tests.support.project import write_config, write_project
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.release_log import ReleaseLog
from trainers.run.method import Method
from trainers.workspace import open_workspace

PLANTED = "zqxjkvbwp"
SIGNIFICANT = 10  # characters of a loss; a released number hits one of some hundred by chance once in 10^5 such files
DASHBOARD = ("api/v0/actors", "api/v0/tasks", "api/v0/workers", "logical/actors")


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Return (patterns that must not be found, everything that can be looked at) of a finished sweep."""
    folder = tmp_path_factory.mktemp("leaks")
    config = write_project(folder)
    plant(Path(config["data"]["train"]))
    config["method"]["num_steps"] = 60
    config["search"] |= {"num_trials": 2, "concurrent_trials": 2}
    path = write_config(folder, config)
    ray_folder = Path(tempfile.mkdtemp(prefix="dpzo-", dir="/tmp"))  # a short name: it holds sockets
    try:
        said = sweep(path, ray_folder)
        files = [file.read_bytes() for file in contents(folder / "runs", ray_folder)]
        names = [str(file).encode() for file in contents(folder / "runs", ray_folder)]
        yield patterns(path), [*said, *files, *names]
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


def plant(private: Path) -> None:
    rows = [json.loads(line) for line in private.read_text().splitlines()]
    private.write_text("".join(json.dumps(row | {"text": f"{row['text']} {PLANTED}"}) + "\n" for row in rows))


def sweep(path: Path, ray_folder: Path) -> list[bytes]:
    """Run the sweep and return what it printed and what Ray's endpoints said meanwhile."""
    command = [sys.executable, "-m", "orchestrator", "sweep", str(path)]
    environment = os.environ | {"RAY_TMPDIR": str(ray_folder)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    said: dict[str, bytes] = {}
    while process.poll() is None:
        for address in endpoints(ray_folder):
            answer = asked(address)
            if answer:
                said[address] = said.get(address, b"") + answer
        for audience, page in pages(path.parent / "runs" / "test"):
            said[audience] = said.get(audience, b"") + page
        time.sleep(1)
    out, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert any("ray_" in text.decode(errors="replace") for text in said.values()), "no metrics were seen at all"
    assert {"everyone", "operator"} <= said.keys(), "no page was seen"
    return [out, err, *said.values()]


def pages(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what the page shows of a sweep that has begun, by audience."""
    for for_operator in (False, True) if (folder / "config.json").exists() else ():
        place = place_of(str(folder), for_operator=for_operator)
        yield place.audience, to_json([place.lines(), place.view(folder.name)])


def endpoints(ray_folder: Path) -> list[str]:
    """Return the addresses of Ray's metrics, as it lists them for Prometheus, and of its dashboard."""
    listing = ray_folder / "ray" / "prom_metrics_service_discovery.json"
    groups = json.loads(listing.read_text() or "[]") if listing.exists() else []
    metrics = [f"http://{target}/metrics" for group in groups for target in group["targets"]]
    return metrics + [f"http://127.0.0.1:8265/{page}" for page in DASHBOARD]


def asked(address: str) -> bytes:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(address, timeout=2) as answer:
            return answer.read()
    except OSError:  # not up yet, or gone
        return b""


def contents(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def patterns(path: Path) -> list[bytes]:
    """Return the planted string and the private losses at the first step's probes, as text and as float64."""
    config = load_sweep(path)
    workspace = open_workspace(config)
    with ReleaseLog(path.parent / "scratch.jsonl", {}) as log:
        method = Method(config.method, mechanism_plan(config, 1.0), workspace.evaluator, log)
        losses_PB = workspace.evaluator.probe(workspace.examples, method.propose(0))
    losses = {float(loss) for loss in losses_PB.ravel()}
    texts = {repr(loss)[:SIGNIFICANT].encode() for loss in losses}
    return [PLANTED.encode(), *sorted(texts), *sorted(struct.pack("<d", loss) for loss in losses)]


def found(wanted: list[bytes], places: list[bytes]) -> list[bytes]:
    return [pattern for pattern in wanted if any(pattern in place for place in places)]


def test_nothing_private_is_left_anywhere(swept):
    wanted, places = swept
    assert len(wanted) > 10
    assert sum(map(len, places)) > 100_000
    assert found(wanted, places) == []


def test_what_is_planted_would_be_found(swept):
    """The search itself works: each pattern is found where it was written."""
    wanted, places = swept
    assert found(wanted, [*places, b"... " + b" ".join(wanted)]) == wanted


@pytest.mark.parametrize(
    "row", [{"text": f"{PLANTED} food"}, {"text": PLANTED, "label": PLANTED}, {"label": "good", "text": {"a": PLANTED}}]
)
def test_a_row_that_is_refused_is_not_shown(tmp_path, row):
    config = write_project(tmp_path, num_examples=20)
    private = Path(config["data"]["train"])
    private.write_text(private.read_text() + json.dumps(row) + "\n")
    command = [sys.executable, "-m", "orchestrator", "train", str(write_config(tmp_path, config))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert PLANTED not in done.stdout + done.stderr
    assert "row 21" in done.stderr or "line 21" in done.stderr
