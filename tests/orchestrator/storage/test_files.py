import os

import pytest

from orchestrator.storage import files
from orchestrator.storage.files import read_object, sync_files, write_whole
from orchestrator.storage.paths import Storage


def test_a_file_is_replaced_in_full_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "file.json"
    write_whole(path, "old ε")
    assert path.read_text(encoding="utf-8") == "old ε"

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "old ε"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]
    monkeypatch.undo()
    write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_a_durable_file_and_its_folder_are_synced(tmp_path, monkeypatch):
    synced = []
    true_sync = os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (synced.append(descriptor), true_sync(descriptor)))
    write_whole(tmp_path / "file.json", "text", durable=False)
    assert synced == []
    write_whole(tmp_path / "file.json", "text")
    assert len(synced) == 2


def test_two_hosts_never_write_to_one_temporary_file(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(files.os, "fsync", lambda _: written.extend(entry.name for entry in tmp_path.iterdir()))
    monkeypatch.setattr(files, "fsync_folder", lambda _: None)
    for _ in range(2):
        write_whole(tmp_path / "file.json", "text")
        (tmp_path / "file.json").unlink()
    one, other = written
    assert one != other


def test_what_killed_writes_left_is_removed_when_the_work_goes_on(tmp_path):
    storage = Storage(tmp_path, "run")
    left = [".config.json.4711", ".result.json.0123456789abcdef.part", ".0123456789abcdef.part"]
    kept = ["config.json", ".notes", ".notes.12", ".config.json.part", ".0123.part"]
    folders = (storage.folder, storage.operator_folder, storage.progress_folder, storage.trial_folder(3))
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name in left + kept:
            (folder / name).write_text("x")
    with storage.lock():
        for folder in folders:
            assert not [name for name in left if (folder / name).exists()]
            assert [name for name in kept if not (folder / name).exists()] == []


def test_all_files_below_a_folder_are_synced(tmp_path, monkeypatch):
    (tmp_path / "model" / "more").mkdir(parents=True)
    for name in ("a", "b", "more/c"):
        (tmp_path / "model" / name).write_text("x")
    synced, true_sync = [], os.fsync

    def sync(number: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{number}"))
        true_sync(number)

    monkeypatch.setattr(os, "fsync", sync)
    sync_files(tmp_path / "model")
    assert sorted(synced) == sorted(map(str, [tmp_path / "model", *(tmp_path / "model").rglob("*")]))


@pytest.mark.parametrize("content", ["[]", "3", "{", "[" * 200 + "]" * 200, '{"a": ' * 900 + "1" + "}" * 900, b"\xff"])
def test_a_file_that_is_not_what_it_was_is_named(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=f"^{path} is not as dpzo wrote it: expected a JSON object"):
        read_object(path)
