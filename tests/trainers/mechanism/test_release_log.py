import numpy as np
import pytest

from trainers.mechanism.log_reading import ReleasedSteps
from trainers.mechanism.release_log import LogInUseError, ReleaseLog

HEADER = {"name": "test", "mechanism.noise_multiplier": 2.0}


def filled(path, steps=3):
    with ReleaseLog(path, HEADER) as log:
        for step in range(steps):
            log.reserve("step", step)
            log.release("step", step, np.array([step, -(2**40)]))
    return path


def test_what_was_written_is_read_again(tmp_path):
    with ReleaseLog(filled(tmp_path / "a" / "log.jsonl"), HEADER) as log:
        assert [values.tolist() for values in log.releases["step"]] == [[step, -(2**40)] for step in range(3)]
        assert (log.num_reserved["step"], log.num_released("step"), log.num_released("score")) == (3, 3, 0)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_cut_off_and_its_token_stays(tmp_path, cut):
    path = filled(tmp_path / "log.jsonl")
    path.write_bytes(path.read_bytes()[:-cut])
    with ReleaseLog(path, HEADER) as log:
        assert (log.num_reserved["step"], log.num_released("step")) == (3, 2)
        log.reserve("step", 2)
        log.release("step", 2, np.array([7, 7]))
    with ReleaseLog(path, HEADER) as log:
        assert log.num_reserved["step"] == 4


def test_a_changed_line_is_noticed(tmp_path):
    path = filled(tmp_path / "log.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"units":[1,', b'"units":[9,'))
    with pytest.raises(ValueError, match="line 5 does not follow"):
        ReleaseLog(path, HEADER)


def test_a_missing_line_is_noticed(tmp_path):
    path = filled(tmp_path / "log.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(ValueError, match="line 3 does not follow"):
        ReleaseLog(path, HEADER)


def test_another_runs_log_is_refused(tmp_path):
    path = filled(tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match=r"mechanism\.noise_multiplier: 2\.0 in the log, 3\.0 now"):
        ReleaseLog(path, {**HEADER, "mechanism.noise_multiplier": 3.0})


def test_a_log_of_before_a_setting_existed_says_its_default(tmp_path):
    path = filled(tmp_path / "log.jsonl")
    now, defaults = {**HEADER, "mechanism.noise": "gaussian"}, {"mechanism.noise": "gaussian", "name": "unused"}
    with ReleaseLog(path, now, defaults) as log:
        assert log.num_released("step") == 3
    with pytest.raises(ValueError, match=r"mechanism\.noise: 'gaussian' in the log, 'laplace' now"):
        ReleaseLog(path, {**now, "mechanism.noise": "laplace"}, defaults)
    with pytest.raises(ValueError, match=r"mechanism\.noise: None in the log"):
        ReleaseLog(path, now)


def test_one_writer(tmp_path):
    with ReleaseLog(tmp_path / "log.jsonl", HEADER), pytest.raises(LogInUseError, match="another process"):
        ReleaseLog(tmp_path / "log.jsonl", HEADER, lock_patience_s=0.1)


def test_a_release_needs_its_reservation(tmp_path):
    with ReleaseLog(tmp_path / "log.jsonl", HEADER) as log, pytest.raises(AssertionError, match="out of turn"):
        log.release("step", 0, np.array([1]))


def test_whoever_looks_on_counts_whole_steps_alone(tmp_path):
    path = tmp_path / "log.jsonl"
    count = ReleasedSteps(path)
    assert count() == 0
    filled(path)
    content = path.read_bytes()
    seen = []
    for length in range(0, len(content) + 1, 7):  # as it grows, torn anywhere
        path.write_bytes(content[:length])
        seen.append(count())
    path.write_bytes(content)
    assert count() == 3 == ReleasedSteps(path)()
    assert seen == sorted(seen)
    with ReleaseLog(path, HEADER) as log:
        log.reserve("score", 0)
        log.release("score", 0, np.array([1]))
    assert count() == 3
