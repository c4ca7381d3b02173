"""Reads a release log without opening it for writing: counts, and the log that an uninterrupted run would have."""

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainers.mechanism.release_log import FORMAT, LOG_KINDS, Kind, canonical, next_link


def recorded_tokens(path: Path) -> tuple[dict[str, Any], Counter[Kind]]:
    """Return a log's header and its number of reservations of each kind; a torn last line does not count.

    Raises:
        ValueError: a line is no entry of a release log.
    """
    run, recorded = {}, Counter()
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            entry = json.loads(line)
            run = entry["run"] if number == 1 else run
            recorded.update([entry["kind"]] if entry.get("type") == "RESERVE" else [])
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"{path} line {number} is no entry of a release log: restore the file.") from None
    return run, recorded


class ReleasedSteps:
    """Counts the steps in a log that another process writes; each call reads only what is new."""

    def __init__(self, path: Path) -> None:
        self._path, self._place, self._steps = path, 0, 0

    def __call__(self) -> int:
        """Return the number of steps whose release is on disk; 0 if there is no log yet."""
        with suppress(OSError), open(self._path, "rb") as file:
            file.seek(self._place)
            new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._place += len(whole)
            entries = [json.loads(line) for line in whole.splitlines()]
            self._steps += sum(entry.get("type") == "RELEASE" and entry["kind"] == "step" for entry in entries)
        return self._steps


def uninterrupted(path: Path) -> str:
    """Return a log as its run would have written it without interruptions: the same releases and nothing else."""
    header, *entries = (
        json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")
    )
    lines, chain, tokens = [{"format": FORMAT, "run": header["run"]}], b"", dict.fromkeys(LOG_KINDS, 0)
    for entry in entries:
        if entry["type"] == "PUBLIC":
            lines.append({key: value for key, value in entry.items() if key != "chain"})
        elif entry["type"] == "RELEASE":
            place = {"kind": entry["kind"], "index": entry["index"]}
            lines.append({"type": "RESERVE", **place, "token": tokens[entry["kind"]]})
            lines.append({"type": "RELEASE", **place, "units": entry["units"]})
            tokens[entry["kind"]] += 1
    text = []
    for line in lines:
        chain = next_link(chain, line)
        text.append(canonical({**line, "chain": chain.hex()}).decode() + "\n")
    return "".join(text)
