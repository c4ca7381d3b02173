import json
import traceback

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainers.data.row_digests import read_digests
from trainers.data.sources import check_source, read_rows

SECRET = "Wachtelkoenig"


def _write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return str(path)


def _parquet(folder, columns):
    path = folder / "reviews.parquet"
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_every_format_gives_the_same_rows(tmp_path):
    rows = [{"text": 'she said "no", é 你', "label": "0"}, {"text": " blanks stay ", "label": "1"}]
    jsonl = "\n".join(json.dumps({**row, "id": 7}) for row in rows)
    sources = [
        _write(tmp_path, "reviews.jsonl", jsonl),
        _write(tmp_path, "reviews.json", "\ufeff" + jsonl + "\r\n\n"),
        _write(tmp_path, "array.json", "\ufeff " + json.dumps(rows, indent=1)),
        _write(tmp_path, "reviews.csv", 'label,id,text\r\n0,7,"she said ""no"", é 你"\r\n1,7, blanks stay \r\n'),
        _write(tmp_path, "reviews.tsv", '\ufefftext\tlabel\nshe said "no", é 你\t0\n\n blanks stay \t1'),
        _parquet(tmp_path, {"text": [row["text"] for row in rows], "label": ["0", "1"], "id": [7, 7]}),
    ]
    for source in sources:
        check_source(source, ["text", "label"])
        assert read_rows(source, ["text", "label"]) == rows, source


def test_a_quote_is_text_in_a_tsv_file_and_a_line_end_is_text_in_a_csv_file(tmp_path):
    tsv = _write(tmp_path, "reviews.tsv", 'text\tlabel\n"open\t1\nclosed"\t0\nnext\u2028line\t1\n')
    assert [row["text"] for row in read_rows(tsv, ["text"])] == ['"open', 'closed"', "next\u2028line"]
    csv = _write(tmp_path, "reviews.csv", 'text,label\n"two\r\nlines",1\nnext,0\n')
    assert [row["text"] for row in read_rows(csv, ["text"])] == ["two\r\nlines", "next"]


def test_numbers_stay_numbers_where_the_format_has_types_and_text_where_it_has_none(tmp_path):
    jsonl = _write(tmp_path, "a.jsonl", '{"x": 1}\n{"x": "2020-01-01"}\n{"x": true}\n')
    assert [row["x"] for row in read_rows(jsonl, ["x"])] == [1, "2020-01-01", True]
    csv = _write(tmp_path, "a.csv", "x,y\n01,\nnull,NaN\n")
    assert read_rows(csv, ["x", "y"]) == [{"x": "01", "y": ""}, {"x": "null", "y": "NaN"}]
    assert read_rows(_parquet(tmp_path, {"x": [3, 4]}), ["x"]) == [{"x": 3}, {"x": 4}]


def test_a_parquet_file_is_read_whole_across_batches(tmp_path):
    source = _parquet(tmp_path, {"x": list(range(20_000))})
    assert [row["x"] for row in read_rows(source, ["x"])] == list(range(20_000))


BAD_CONTENT = {
    "no JSON": ("a.jsonl", '{"text": "a"}\n{"text": "%s\n', "a.jsonl, line 2 is no JSON object"),
    "an array of texts": ("a.json", '["%s"]\n', "a.json, row 1 is no JSON object; a JSON array of objects"),
    "half an array": ("a.json", '[{"text": "%s"},\n', "a.json begins as a JSON array and is none"),
    "an array by lines": ("a.jsonl", '[{"text": "%s"}]\n', "in a file that ends in .json, one array"),
    "depth": (
        "a.jsonl",
        '{"text": "%s", "x": ' + "[" * 600 + "]" * 600 + "}",
        "line 1: more than 100 lists or mappings",
    ),
    "deep": ("a.json", '{"text": "%s"' + "[" * 100_000, "a.json, line 1 is no JSON object"),
    "a key less": ("a.jsonl", '{"text": "a"}\n\n{"%s": "a"}\n', "line 3: column 'text' is missing or null"),
    "null": ("a.jsonl", '{"text": "a"}\n{"text": null, "x": "%s"}\n', "line 2: column 'text' is missing or null"),
    "NaN": ("a.jsonl", '{"text": NaN, "x": "%s"}\n', "line 1: column 'text' is missing or null"),
    "a list": ("a.jsonl", '{"text": [["%s"]]}\n', "line 1: column 'text' holds a list; text, a number"),
    "a surrogate": ("a.jsonl", '{"text": "%s \\ud83d"}\n', "line 1: column 'text' holds half of a surrogate pair"),
    "Latin-1": ("a.jsonl", b'{"text": "a"}\n{"text": "%s \xe9"}\n', "a.jsonl, line 2 is not UTF-8"),
    "Latin-1 in CSV": ("a.csv", b"text\na\n%s \xe9\n", "a.csv, line 3 is not UTF-8"),
    "Latin-1 in TSV": ("a.tsv", b"text\na\n%s \xe9\n", "a.tsv, line 3 is not UTF-8"),
    "UTF-16": ("a.csv", "text\n%s".encode("utf-16"), "a.csv, line 1 is UTF-16 and not UTF-8; save the file in"),
    "three values": (
        "a.csv",
        "text,label\na,1\n%s,b,1\n",
        "line 3 has 3 values, the header has 2: a text with a comma",
    ),
    "one value": ("a.tsv", "text\tlabel\n%s\n", "line 2 has 1 values, the header has 2: a text holds no tab"),
    "an open quote": ("a.csv", 'text,label\na,1\n"%s,1\nb,0\n', "line 3 is malformed: a quote is not closed"),
    "a stray quote": ("a.csv", 'text,label\n"%s"x,1\n', "line 2 is malformed"),
    "a long text": ("a.csv", "text,label\n%s" + "x" * 140_000 + ",1\n", "or a text is longer than 131072 characters"),
    "a carriage return": ("a.csv", "text,label\n%s\rx,1\n", "line 2 is malformed"),
    "no Parquet": ("a.parquet", b"PAR1 %s PAR1", "a.parquet is not a Parquet file, or a damaged one"),
}


@pytest.mark.parametrize("kind", BAD_CONTENT)
def test_bad_content_is_one_clear_line_that_never_quotes_a_row(tmp_path, kind):
    name, content, says = BAD_CONTENT[kind]
    secret = SECRET if isinstance(content, str) else SECRET.encode()
    source = _write(tmp_path, name, content.replace("%s" if isinstance(content, str) else b"%s", secret))
    with pytest.raises(ValueError, match=r"data\.train: ") as caught:
        read_rows(source, ["text"])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    _assert_nothing_quoted(caught.value)


def _assert_nothing_quoted(error):
    assert error.__cause__ is None
    assert error.__context__ is None, "the parser's exception, which quotes its input, must not travel along"
    assert SECRET not in "".join(traceback.format_exception(error, chain=True))


def test_a_damaged_parquet_page_and_text_that_is_none_are_refused_without_quoting(tmp_path):
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"text": [f"{SECRET} {index}" for index in range(1000)]}), path, compression="gzip")
    content = bytearray(path.read_bytes())
    content[40:400] = bytes(360)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged, or holds text that is not UTF-8, after row 0") as caught:
        read_rows(str(path), ["text"])
    _assert_nothing_quoted(caught.value)
    raw = pa.Array.from_buffers(pa.binary(), 1, pa.array([SECRET.encode() + b"\xff"]).buffers())
    bad_text = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    pq.write_table(pa.table({"text": bad_text}), path)
    with pytest.raises(ValueError, match="holds text that is not UTF-8, after row 0") as caught:
        read_rows(str(path), ["text"])
    _assert_nothing_quoted(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [([None], "row 1: column 'text' is missing or null"), ([[["a"]]], "holds a list"), ([b"a"], "holds a bytes")],
)
def test_parquet_values_are_checked(tmp_path, values, says):
    with pytest.raises(ValueError, match=says):
        read_rows(_parquet(tmp_path, {"text": values}), ["text"])
    with pytest.raises(ValueError, match=says):
        check_source(_parquet(tmp_path, {"text": values}), ["text"])


def test_a_time_that_python_cannot_hold_is_named(tmp_path):
    far = pa.array([10**15], pa.timestamp("s"))
    source = _parquet(tmp_path, {"text": ["a"], "label": ["0"], "when": far})
    assert read_rows(source, ["text"]) == [{"text": "a"}]
    with pytest.raises(ValueError, match="holds, in the column 'when', a time outside the years 1 to 9999") as caught:
        read_digests(source, ["text"], bytes(16))
    _assert_nothing_quoted(caught.value)


def test_a_deep_row_is_refused_before_it_is_hashed(tmp_path):
    deep = "[" * 99 + "]" * 99
    source = _write(tmp_path, "a.jsonl", f'{{"text": "a", "x": {deep}}}\n{{"text": "b", "x": [{deep}]}}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: more than 100 lists or mappings lie inside each other"):
        read_digests(source, ["text"], bytes(16))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", "[]", "a.json is empty; a JSON array of objects"),
        ("a.jsonl", "", "a.jsonl is empty; one JSON object a line"),
        ("a.jsonl", "\n \n", "a.jsonl is empty"),
        ("a.csv", "", "a.csv is empty; a header line"),
        ("a.tsv", "", "a.tsv is empty; a header line"),
        ("a.csv", "text,label\n", "a.csv holds no rows"),
        ("a.tsv", "text\tlabel\n\n", "a.tsv holds no rows"),
    ],
)
def test_a_file_without_rows_is_refused(tmp_path, name, content, says):
    source = _write(tmp_path, name, content)
    for act in (check_source, read_rows):
        with pytest.raises(ValueError, match=says):
            act(source, ["text"])


def test_a_parquet_file_without_rows_is_refused(tmp_path):
    source = _parquet(tmp_path, {"text": pa.array([], pa.string())})
    for act in (check_source, read_rows):
        with pytest.raises(ValueError, match="holds no rows"):
            act(source, ["text"])


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_dotted_column_is_looked_for_inside_a_mapping(tmp_path, kind):
    rows = [
        {"answers": {"text": ["a", "b"], "start": [1, 2]}, "id": 1},
        {"answers": {"text": ["c"], "start": [3]}, "id": 2},
    ]
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = read_rows(str(path), ["answers.text", "id"])
    assert found == [{"answers.text": ["a", "b"], "id": 1}, {"answers.text": ["c"], "id": 2}]
    with pytest.raises(ValueError, match=r"row 1: column 'answers\.words' is missing|line 1: column 'answers\.words'"):
        read_rows(str(path), ["answers.words"])
    with pytest.raises(ValueError, match="column 'answers' holds a dict"):
        read_rows(str(path), ["answers"])
    with pytest.raises(ValueError, match="column 'answer' is not in"):
        read_rows(str(path), ["answer.text"])


def test_a_column_with_a_dot_in_its_own_name_comes_first(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a.b": "own", "a": {"b": "inner"}}\n')
    assert read_rows(str(path), ["a.b"]) == [{"a.b": "own"}]
