import os

import pytest

from orchestrator.storage import files
from orchestrator.storage.files import write_whole


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
