import json

import pytest

from trainers.data.fingerprint import fingerprint
from trainers.data.row_digests import read_digests

KEY = b"a secret of sixteen bytes or more"


def _macs(tmp_path, rows, columns, key=KEY):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    digests = read_digests(str(path), columns, key)
    assert digests.fingerprint == fingerprint(str(path), key)
    return list(digests.row_macs)


def test_a_row_is_what_its_texts_say(tmp_path):
    one, *others = _macs(
        tmp_path,
        [
            {"a": "The soup", "b": "was cold", "n": 1},
            {"a": "was  COLD", "b": "the soup\n", "n": 2, "id": 7},
            {"a": "the so\ufb01", "b": "was cold"},
            {"a": "the soup was", "b": "cold"},
        ],
        ["a", "b"],
    )
    assert [other == one for other in others] == [True, False, False]


def test_lists_and_numbers_have_texts_too(tmp_path):
    rows = [{"a": ["x", "y"], "n": 3}, {"a": ["y", "x"], "n": "3"}, {"a": ["x", "y"], "n": 3.0}, {"a": "x", "n": 3}]
    macs = _macs(tmp_path, rows, ["a", "n"])
    assert [mac == macs[0] for mac in macs] == [True, True, True, False]


def test_nobody_without_the_key_can_test_a_guess(tmp_path):
    rows = [{"a": "the soup"}]
    assert _macs(tmp_path, rows, ["a"]) != _macs(tmp_path, rows, ["a"], KEY[::-1])
    with pytest.raises(ValueError, match="at least 16 secret bytes"):
        _macs(tmp_path, rows, ["a"], b"short")
