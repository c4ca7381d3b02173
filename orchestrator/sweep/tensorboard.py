"""The scores of each trial as files that TensorBoard reads: `<sweep>/tensorboard/NNN/`, one folder a trial.

A step stands where TensorBoard would put a time: every event has the day of the reservation as its time, because the
times of scores hint at the sizes of secret batches. A trial that is resumed continues in its file, and a score that it
repeats is not written again. A search of one winner writes nothing.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import hparams, scalar

from orchestrator.planning.plan import Plan
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.monitor import SilentMonitor

FILE = "events.out.tfevents.0"  # TensorBoard looks for "tfevents"; other programs put time and host behind it
SCORE, EPSILON = "score", "epsilon"


class TensorBoardFiles(SilentMonitor):
    """Writes the scores of a sweep whose trials are released.

    Args:
        folder: gets a folder for each trial.
        plan: of the sweep; it knows the settings of each trial.
        day: on which the sweep was reserved, in UTC, as YYYY-MM-DD.
    """

    def __init__(self, folder: Path, plan: Plan, day: str) -> None:
        self._folder, self._plan = folder, plan
        self._time_s = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()

    def on_trial_start(self, trial: TrialRow) -> None:
        """Write the trial's settings, once."""
        experiment, session, _ = hparams(dict(trial.values), {SCORE: 0.0})
        if not self._path(trial).exists():
            self._append(trial, Event(file_version="brain.Event:2"), *map(_summary, (experiment, session)))

    def on_score(self, trial: TrialRow) -> None:
        """Write a score with ε, η, λ and C there, once."""
        events = list(read_events(self._path(trial)))
        if any(event.step >= trial.steps for event in events if _is_scalar(event)):
            return
        self._append(
            trial,
            *(
                Event(step=trial.steps, summary=scalar(tag, value))
                for tag, value in self._values(trial).items()
                if value is not None and math.isfinite(value)
            ),
        )

    def on_trial_end(self, trial: TrialRow) -> None:
        """Write that the trial has ended, unless it failed."""
        if trial.state != "failed":
            self._append(trial, _summary(hparams({}, {})[2]))

    def _values(self, trial: TrialRow) -> Mapping[str, float | None]:
        """Return what is shown at a score; schedules at the last step before it."""
        method = self._plan.trial(trial.values).method
        settings = {name: method.as_function(getattr(method, name))(trial.steps - 1) for name in method.scheduled}
        return {SCORE: trial.score, EPSILON: trial.epsilon, **settings}

    def _path(self, trial: TrialRow) -> Path:
        return self._folder / f"{trial.number:03d}" / FILE

    def _append(self, trial: TrialRow, *events: Any) -> None:
        path = self._path(trial)
        whole = sum(len(_record(event)) for event in read_events(path))
        with suppress(OSError):  # on a full disk the release log ends the sweep; a display need not
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab") as file:
                file.truncate(whole)  # what a kill left half written
                for event in events:
                    event.wall_time = self._time_s
                    file.write(_record(event))


def read_events(path: Path) -> Iterator[Any]:
    """Yield the whole events of a file, up to the first that a kill cut; none where there is no file."""
    data, place = path.read_bytes() if path.exists() else b"", 0
    while len(data) >= place + 12:
        (length,) = struct.unpack_from("<Q", data, place)
        content, end = data[place + 12 : place + 12 + length], place + length + 16
        if len(data) < end or data[end - 4 : end] != _checksum(content):
            return
        yield Event.FromString(content)
        place = end


def _record(event: Any) -> bytes:
    """Return an event as TensorFlow stores it: length and content, each with its checksum."""
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    return length + _checksum(length) + content + _checksum(content)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))


def _summary(summary: Any) -> Any:
    return Event(summary=summary)


def _is_scalar(event: Any) -> bool:
    return any(value.HasField("simple_value") for value in event.summary.value)
