"""A snapshot and the rest of the log give the bits of the whole log; one that does not belong is passed over."""

import errno
import logging
import shutil

import numpy as np
import pytest
import torch

from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.quadratic import MATRICES, Quadratic, example
from tests.support.runs import open_run, run_config
from trainers.config import RunConfig
from trainers.directions import Direction
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.run import replay_state
from trainers.run.replay_state import remove_states

NUM_STEPS, KILLED_AT = 12, 8
METHODS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "pulled to an anchor": {"name": "dp-zoso", "proximal": 0.7, "stage_steps": 5},
    "shrunk": {"shrinkage": 0.9},
    "clip that follows norms": {"clip_norm": {"kind": "auto", "start": 0.2}},
    "low rank": {"direction": "low-rank", "direction_rank": 1},
    "learned shares": {"support": "layer", "block_shares": "learned"},
    "all": {"name": "dp-zoso", "momentum": 0.5, "proximal": 0.3, "stage_steps": 5, "shrinkage": 0.8},
}
MASKS = {
    "static mask": {"strategy": "static"},
    "new masks": {"strategy": "dynamic"},
    "growing mask": {"strategy": "incremental", "keep": {"kind": "stagewise", "values": [0.2, 0.3, 0.5]}},
}


def config_of(every: int | None, **method: object) -> RunConfig:
    changes = {f"method__{name}": value for name, value in method.items()}
    return run_config(method__num_steps=NUM_STEPS, score__times=3, performance__snapshot_steps=every, **changes)


def taken(folder, config: RunConfig, upto: int = NUM_STEPS, master: torch.dtype = torch.float32) -> Quadratic:
    """Go on with a run to some step, with batches and noise that depend on the step alone."""
    evaluator = Quadratic(shapes=MATRICES, start=0.3, master=master)
    run = open_run(folder, config, evaluator=evaluator, tokens=LocalTokens(10**6))
    fresh = range(run.steps_released, NUM_STEPS)
    run._context.sampler.draw = FrozenSampler([[step, step + 20] for step in fresh]).draw
    noises = iter([FrozenNoise(step) for step in fresh])
    run._context.noise.draw = lambda plan: next(noises).draw(plan)
    with run.log:
        while run.steps_taken < upto:
            run._step()
    return evaluator


@pytest.fixture(params=[*METHODS, *MASKS])
def method(request) -> dict:
    if request.param in METHODS:
        return METHODS[request.param]
    mask = {"keep": 0.3, "num_directions": 4, **MASKS[request.param]}
    return {"name": "dp-zopo", "stage_steps": 5, "proximal": 0.0, "momentum": 0.5, "mask": mask}


@pytest.mark.parametrize("master", [torch.float32, torch.bfloat16], ids=str)
def test_a_snapshot_and_the_rest_of_the_log_give_the_bits_of_the_whole_log(tmp_path, method, master):
    whole, kept = tmp_path / "whole", tmp_path / "kept"
    taken(whole, config_of(None, **method), KILLED_AT, master)
    taken(kept, config_of(3, **method), KILLED_AT, master)
    assert [path.name[:14] for path in kept.glob("state-*")] == ["state-00000006"]
    assert (whole / LOG_NAME).read_bytes() == (kept / LOG_NAME).read_bytes()  # snapshots are none of its business
    reopened = open_run(kept, config_of(3, **method), evaluator=Quadratic(shapes=MATRICES, start=0.3, master=master))
    reopened.close()
    assert reopened.steps_taken == 6
    expected = taken(whole, config_of(None, **method), master=master)
    found = taken(kept, config_of(3, **method), master=master)
    assert (whole / LOG_NAME).read_bytes() == (kept / LOG_NAME).read_bytes()
    assert found.state_digest() == expected.state_digest()
    batch = [example(number) for number in range(3)]
    assert np.array_equal(found.losses(batch), expected.losses(batch))  # the live weights too


@pytest.fixture
def saved(tmp_path):
    """The folder of a run that was killed after its snapshot, and the digest that it ends with."""
    config = config_of(3, momentum=0.9)
    taken(tmp_path / "run", config, KILLED_AT)
    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    remove_states(tmp_path / "whole")
    return tmp_path / "run", taken(tmp_path / "whole", config_of(None, momentum=0.9)).state_digest()


def start_of(folder) -> int:
    run = open_run(folder, config_of(3, momentum=0.9), evaluator=Quadratic(shapes=MATRICES, start=0.3))
    run.close()
    return run.steps_taken


def damage(path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "torn":
        path.write_bytes(content[: len(content) // 2])
    elif how == "changed":
        content[-3] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("how", ["gone", "torn", "changed", "empty"])
def test_without_a_snapshot_that_is_whole_the_log_is_replayed(saved, how):
    folder, digest = saved
    (path,) = folder.glob("state-*")
    damage(path, how)
    assert start_of(folder) == 0
    assert taken(folder, config_of(3, momentum=0.9)).state_digest() == digest


def test_an_older_snapshot_serves_where_the_newest_is_torn(saved, tmp_path):
    folder, digest = saved
    (old,) = folder.glob("state-*")
    shutil.copy(old, tmp_path / old.name)
    taken(folder, config_of(3, momentum=0.9), 10)
    shutil.copy(tmp_path / old.name, folder)
    damage(max(folder.glob("state-*")), "torn")
    assert start_of(folder) == 6
    assert taken(folder, config_of(3, momentum=0.9)).state_digest() == digest


def test_a_snapshot_of_other_releases_is_passed_over(saved, tmp_path):
    folder, _ = saved
    (path,) = folder.glob("state-*")
    other = tmp_path / "other"
    config = config_of(None, momentum=0.9)
    run = open_run(other, config, evaluator=Quadratic(shapes=MATRICES, start=0.3), tokens=LocalTokens(10**6))
    with run.log:
        list(run.segments())  # the same settings, other batches and noise
    shutil.copy(path, other)
    assert start_of(other) == 0
    shorter = tmp_path / "shorter"  # a log that was set back behind the snapshot
    shorter.mkdir()
    lines = (folder / LOG_NAME).read_bytes().splitlines(keepends=True)
    (shorter / LOG_NAME).write_bytes(b"".join(lines[:9]))
    shutil.copy(path, shorter)
    assert start_of(shorter) == 0


def test_a_snapshot_of_other_weights_is_passed_over(saved, tmp_path):
    folder, _ = saved
    (path,) = folder.glob("state-*")
    other = tmp_path / "other"
    open_run(other, config_of(3, momentum=0.9), evaluator=Quadratic(shapes=MATRICES, start=0.4)).close()
    shutil.copy(path, other)
    run = open_run(other, config_of(3, momentum=0.9), evaluator=Quadratic(shapes=MATRICES, start=0.4))
    run.close()
    assert run.steps_taken == 0


def test_a_full_disk_ends_no_run_and_is_said_once(tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainers.evaluators.tensor_file.save_file", full)
    with caplog.at_level(logging.WARNING):
        evaluator = taken(tmp_path, config_of(2))
    assert [record.message for record in caplog.records if "no snapshot can be written" in record.message] == [
        f"{tmp_path}: no snapshot can be written ([Errno 28] No space left on device); a replay will take longer"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOG_NAME]
    assert evaluator.state_digest() == taken(tmp_path, config_of(None)).state_digest()


def test_what_a_kill_left_of_a_snapshot_is_cleared_away(tmp_path):
    tmp_path.joinpath(".123.part").write_bytes(b"half")
    taken(tmp_path, config_of(2), 4)
    assert sorted(path.name[:14] for path in tmp_path.iterdir()) == [LOG_NAME[:14], "state-00000004"]


def test_a_restarted_run_tells_the_scores_that_lie_before_its_snapshot(tmp_path):
    config = config_of(5)
    run = open_run(tmp_path, config)
    points = run.score_points()
    assert points == [4, 8, 12]
    with run.log:
        run._scores = []
        segments = run.segments()
        run._new_score = lambda index: [0.25, 0.5, 0.75][index]
        assert [next(segments), next(segments)] == [(4, 0.25), (8, 0.5)]
        for _ in range(2):
            run._step()
    again = open_run(tmp_path, config)
    assert again.steps_taken == 10
    again._new_score = lambda index: {2: 0.75}[index]
    with again.log:
        assert list(again.segments()) == [(4, 0.25), (8, 0.5), (12, 0.75)]


def test_a_file_does_not_move_with_the_weights_that_were_read_from_it(tmp_path):
    one, other = Quadratic(shapes=MATRICES, start=0.3), Quadratic(shapes=MATRICES, start=0.3)
    one.apply([(Direction(1, 0, 0, "rademacher"), 0.1)])
    one.parameters.save(tmp_path / "saved", {"format": replay_state.FORMAT})
    content = (tmp_path / "saved").read_bytes()
    other.parameters.load(tmp_path / "saved")
    assert other.state_digest() == one.state_digest()
    other.apply([(Direction(1, 1, 0, "rademacher"), 0.1)])
    assert other.state_digest() != one.state_digest()
    assert (tmp_path / "saved").read_bytes() == content
    assert replay_state.FORMAT == "dpzo.state.v1"
