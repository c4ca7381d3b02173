import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from trainers.data.fingerprint import canonical, fingerprint

KEY = b"sixteen bytes or more"
ROWS = [{"text": f"review {n}", "label": n % 3, "stars": n / 4, "note": None if n % 5 else "é"} for n in range(40)]


def json_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def table(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.fixture
def known(tmp_path):
    return fingerprint(json_lines(tmp_path / "known.jsonl", ROWS), KEY)


def test_the_order_of_rows_and_columns_does_not_matter(tmp_path, known):
    mixed = random.Random(0).sample([dict(reversed(row.items())) for row in ROWS], len(ROWS))
    assert fingerprint(json_lines(tmp_path / "mixed.jsonl", mixed), KEY) == known
    assert len(known) == 64


def test_equal_values_in_another_format_are_the_same_data(tmp_path, known, monkeypatch):
    assert fingerprint(table(tmp_path / "same.parquet", ROWS), KEY) == known
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.load_dataset", lambda name, config, *, split: Dataset.from_list(ROWS))
    assert fingerprint("hub:reviews", KEY) == known
    texts = [{name: str(row[name]) for name in ("text", "label")} for row in ROWS]
    lines = "".join(f"{row['text']},{row['label']}\n" for row in texts)
    (tmp_path / "texts.csv").write_text("text,label\n" + lines)
    (tmp_path / "texts.tsv").write_text(("text,label\n" + lines).replace(",", "\t"))
    found = {fingerprint(str(tmp_path / name), KEY) for name in ("texts.csv", "texts.tsv")}
    assert found == {fingerprint(json_lines(tmp_path / "texts.jsonl", texts), KEY)}


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[1:],
        lambda rows: [*rows, rows[0]],
        lambda rows: [*rows[1:], rows[1]],
        lambda rows: [{**rows[0], "text": "review 0 "}, *rows[1:]],
        lambda rows: [{**rows[0], "label": "0"}, *rows[1:]],
        lambda rows: [{**rows[0], "another": 1}, *rows[1:]],
        lambda rows: [{"text": rows[0]["text"]}, *rows[1:]],
        lambda rows: [rows[0] | {"text": rows[1]["text"]}, rows[1] | {"text": rows[0]["text"]}, *rows[2:]],
    ],
)
def test_every_column_of_every_row_counts(tmp_path, known, change):
    assert fingerprint(json_lines(tmp_path / "changed.jsonl", change(ROWS)), KEY) != known


def test_records_that_stand_twice_do_not_cancel(tmp_path):
    first, second = (fingerprint(json_lines(tmp_path / f"{n}.jsonl", [*ROWS, ROWS[n], ROWS[n]]), KEY) for n in range(2))
    assert first != second


def test_another_key_gives_an_unrelated_fingerprint(tmp_path, known):
    assert fingerprint(json_lines(tmp_path / "known.jsonl", ROWS), KEY + b"!") != known
    for bad in (b"short", "a text of sixteen characters"):
        with pytest.raises(ValueError, match="at least 16 secret bytes"):
            fingerprint(str(tmp_path / "known.jsonl"), bad)  # pyright: ignore[reportArgumentType]


def test_bad_sources_are_refused_without_their_content(tmp_path):
    with pytest.raises(ValueError, match=r"data\.train: there is no file"):
        fingerprint(str(tmp_path / "nothing.jsonl"), KEY)
    (tmp_path / "torn.jsonl").write_text('{"text": "Wachtelkoenig"}\n{"text": "Wachtelkoenig\n')
    with pytest.raises(ValueError, match="line 2 is no JSON object") as caught:
        fingerprint(str(tmp_path / "torn.jsonl"), KEY)
    assert "Wachtelkoenig" not in str(caught.value)


def test_one_spelling_for_equal_values():
    same = [{"a": 1, "b": [2.0, {"c": -0.0}]}, {"b": [2, {"c": 0}], "a": 1.0, "d": None, "e": float("nan")}]
    assert canonical(same[0]) == canonical(same[1]) == b'{"a":1,"b":[2,{"c":0}]}'
    others = [{"a": value} for value in (1, "1", True, 1.5, [1], b"1", {"1": 1})]
    assert len({canonical(record) for record in others}) == len(others)
    assert canonical({"half of a pair": "\ud83d"})
