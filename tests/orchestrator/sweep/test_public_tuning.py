"""Rows to tune on are free because they are public: the private file is none of them."""

import pytest

from orchestrator.sweep.public_tuning import PublicRows
from trainers.config import DataConfig


def test_the_private_file_is_not_tuned_on_for_nothing(tmp_path):
    private, public, link = (tmp_path / name for name in ("private.jsonl", "public.jsonl", "link.jsonl"))
    data = DataConfig(train=str(private), num_examples=1, validation=str(tmp_path / "scored.jsonl"))
    private.write_text('{"text": "a"}\n')
    public.write_text('{"text": "b"}\n{"text": "c"}\n')
    link.symlink_to(private)
    assert PublicRows.count(str(public), data).num_rows == 2
    for other in (private, link):
        with pytest.raises(ValueError, match=r"search\.tune_on is data\.train itself"):
            PublicRows.count(str(other), data)
    (tmp_path / "scored.jsonl").symlink_to(public)
    with pytest.raises(ValueError, match=r"search\.tune_on is data\.validation: trials would be scored on what they"):
        PublicRows.count(str(public), data)
