import dataclasses

import numpy as np
import pytest

from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.log_copy import DatabaseLog, fetch_logs, log_copy
from orchestrator.storage.paths import Storage
from trainers.mechanism.release_log import LogInUseError, ReleaseLog

HEADER = {"name": "test"}


@pytest.fixture
def storage(postgresql_url, tmp_path):
    Ledger(postgresql_url).dispose()
    return Storage(tmp_path / "runs", "test", postgresql_url, copies_logs=True)


def opened(storage, folder=None):
    folder = folder or storage.folder
    return ReleaseLog(folder / "release_log.jsonl", HEADER, copy=log_copy(storage, folder))


def test_a_lost_folder_loses_no_line(storage, tmp_path):
    with opened(storage) as log:
        log.reserve("step", 0)
        log.release("step", 0, np.array([7]))
        log.reserve("step", 1)
    content = log.path.read_bytes()

    elsewhere = dataclasses.replace(storage, root=tmp_path / "elsewhere")
    with opened(elsewhere) as log:
        assert [one.tolist() for one in log.releases["step"]] == [[7]]
        assert log.num_reserved["step"] == 2
        assert log.path.read_bytes() == content
        log.release("step", 1, np.array([8]))
    fetch_logs(storage)
    assert (storage.folder / "release_log.jsonl").read_bytes() == log.path.read_bytes() != content


def test_a_trial_has_a_log_of_its_own(storage):
    with opened(storage, storage.trial_folder(3)) as log:
        log.reserve("step", 0)
    with opened(storage) as log:
        assert log.num_reserved["step"] == 0


def test_of_two_writers_one_is_refused(storage, tmp_path):
    """On two machines no lock of a file tells one of the other. Even equal lines are of one of them."""
    with opened(storage) as log, opened(dataclasses.replace(storage, root=tmp_path / "elsewhere")) as other:
        log.reserve("step", 0)
        with pytest.raises(LogInUseError, match="written by another process"):
            other.reserve("step", 0)
        log.release("step", 0, np.array([7]))


def test_an_answer_that_was_lost_is_asked_for_again(postgresql_url, storage):
    log = DatabaseLog(postgresql_url, "test", "release_log.jsonl", 1.0)
    log.append(0, b"a line")
    log.append(0, b"a line")  # of the same writer: it was written
    assert log.lines() == [b"a line"]


def test_a_log_that_began_in_a_file_is_copied_and_a_changed_one_refused(storage):
    with ReleaseLog(storage.folder / "release_log.jsonl", HEADER) as log:
        log.reserve("step", 0)
    with opened(storage) as log:
        log.release("step", 0, np.array([7]))
    lines = log.path.read_bytes().splitlines(keepends=True)
    assert log_copy(storage, storage.folder).lines() == [line.rstrip() for line in lines]
    log.path.write_bytes(lines[0] + lines[2])
    with pytest.raises(ValueError, match="its copy in the database differ"):
        opened(storage)
