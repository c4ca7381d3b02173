"""A run that cannot go on stops with one line, and what it took is accounted for."""

import errno
import json
import math
import os

import numpy as np
import pytest

from tests.support.quadratic import Quadratic, example
from tests.support.runs import open_run, run_config
from trainers.mechanism.log_reading import recorded_tokens
from trainers.mechanism.release_log import LOG_NAME, LogUnwritable, Stopped
from trainers.mechanism.tokens import LocalTokens
from trainers.run.divergence import Diverged, require_alive
from trainers.run.estimator import selftest_probes
from trainers.workers.ranks import Ranks


class FillsUp:
    """A file on a disk that takes so many bytes more, and the part of a line that fits."""

    def __init__(self, file, room: int) -> None:
        self._file, self._room = file, room

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, line: bytes) -> int:
        fits, self._room = line[: self._room], max(0, self._room - len(line))
        if not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(fits)


class Counted(LocalTokens):
    def __init__(self, num_tokens: int, already_drawn: int = 0) -> None:
        super().__init__(num_tokens, already_drawn)
        self.drawn = 0

    def draw(self, step: int) -> None:
        super().draw(step)
        self.drawn += 1


@pytest.mark.parametrize("room", [0, 1, 100, 150, 200, 1000, 1010, 1234])
def test_a_full_disk_ends_a_run_with_one_line_and_its_log_is_taken_up_when_there_is_room(tmp_path, room):
    tokens = Counted(10)
    run = open_run(tmp_path, tokens=tokens)
    run.log._file = FillsUp(run.log._file, room)
    with pytest.raises(LogUnwritable, match=r"release_log\.jsonl cannot be written: No space left on device\. Every"):
        list(run.segments())
    released = run.steps_released
    assert run._workspace.evaluator.updates[:released] == run._workspace.evaluator.updates  # none that is not on disk
    assert tokens.drawn <= recorded_tokens(tmp_path / LOG_NAME)[1]["step"] + 1
    again = open_run(tmp_path, tokens=LocalTokens(10, already_drawn=tokens.drawn))
    with again.log:
        (last,) = list(again.segments())
    assert last[0] == 10 - (tokens.drawn - released)
    entries = [json.loads(line) for line in (tmp_path / LOG_NAME).read_text().splitlines()[1:]]
    assert [entry["index"] for entry in entries if entry["type"] == "RELEASE"] == list(range(last[0]))


def test_a_log_that_could_not_be_written_takes_nothing_more(tmp_path):
    run = open_run(tmp_path)
    run.log._file = FillsUp(run.log._file, 30)
    with pytest.raises(LogUnwritable):
        run.log.reserve("step", 0)
    run.log._file = run.log._file._file  # room again, in the middle of a line
    with pytest.raises(ValueError, match="closed file"):
        run.log.reserve("step", 0)


def test_a_disk_that_is_full_from_the_start_is_said(tmp_path, monkeypatch):
    def broken(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("trainers.mechanism.release_log.os.fsync", broken)
    with pytest.raises(LogUnwritable, match="cannot be written: Input/output error"):
        open_run(tmp_path)


class Overflows(Quadratic):
    """Its weights are past all numbers after a few updates."""

    def apply(self, update, *, momentum: float = 0.0) -> None:
        super().apply([(direction, math.copysign(3e38, number)) for direction, number in update], momentum=momentum)


@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")  # of the quadratic model in numpy
def test_weights_that_overflowed_stop_the_run(tmp_path):
    config = run_config(resources__check_steps=4)
    run = open_run(tmp_path, config, evaluator=Overflows())
    with (
        run.log,
        pytest.raises(Diverged, match=r"test: after 4 steps the model's output is not finite\. Lower"),
    ):
        list(run.segments())
    assert run.steps_released == run.steps_charged == 4


def test_a_device_that_computes_nothing_stops_the_run_although_each_loss_counts_as_zero(tmp_path):
    evaluator = Quadratic(losses_of={number: float("nan") for number in range(100)})
    run = open_run(tmp_path, run_config(resources__check_steps=3), evaluator=evaluator)
    evaluator.public_outputs = lambda points: [float("nan") for _ in points]  # pyright: ignore
    with run.log, pytest.raises(Diverged, match="check the device"):
        list(run.segments())
    assert run.steps_released == 3


def test_losses_of_private_rows_that_are_no_numbers_are_never_told_of(tmp_path):
    evaluator = Quadratic(losses_of={number: float("nan") for number in range(100)})
    run = open_run(tmp_path, evaluator=evaluator)
    with run.log:
        assert [steps for steps, _ in run.segments()] == [10]


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([0.0, 0.0], "is the same for different inputs"),
        ([2e30, 3.0], r"is 2e\+30, past that of any model"),
        ([0.5, math.inf], "is not finite"),
    ],
)
def test_a_model_that_answers_no_more_has_diverged(answers, says):
    evaluator = Quadratic()
    evaluator.public_answers = lambda: answers
    with pytest.raises(Diverged, match=rf"test: after 4 steps the model's output {says}\. Lower"):
        require_alive(evaluator, "test", 4, Ranks())


@pytest.mark.parametrize(("lost", "stops"), [(0, False), (1, False), (2, True), (16, True)])
def test_public_rows_that_are_lost_at_probes_alone_stop_the_run(lost, stops):
    """Up to a tenth of them may be: here 16 of 8 rows at 2 probes."""
    evaluator, public = Quadratic(), [example(number) for number in range(8)]
    losses = np.arange(16.0)
    losses[:lost] = [math.nan, math.inf] * 8 if lost == 16 else math.nan
    evaluator.probe = lambda batch, probes: losses.reshape(len(probes), len(batch))
    probes = selftest_probes("gaussian", 0, 1, 1e-3)
    if not stops:
        return require_alive(evaluator, "test", 4, Ranks(), public, probes)
    with pytest.raises(Diverged, match=r"output at probes is no number for \d+% of public examples\. Lower"):
        require_alive(evaluator, "test", 4, Ranks(), public, probes)
    return None


class OneOfTwo(Ranks):
    """Two ranks, of which the other says something else."""

    def divergent_ranks(self, content):
        return [0, 1] if content() else []


def test_one_worker_whose_device_fails_is_no_divergence():
    evaluator = Quadratic()
    evaluator.public_outputs = lambda points: [float("nan")]  # pyright: ignore
    with pytest.raises(Stopped, match="a device computes wrongly") as stop:
        require_alive(evaluator, "test", 4, OneOfTwo())
    assert not isinstance(stop.value, Diverged)
