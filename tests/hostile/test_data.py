"""Private files of every sort: none is quoted, whatever is wrong with it."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile import SECRET, answered, changed_values, damaged_bytes, deep, hostile

LABELS = ("good", "bad", "Good", 1, 1.0, True, None, ["good"], ["good", "bad"], {"a": "good"}, SECRET, "", float("nan"))
CELLS = st.sampled_from(
    (
        SECRET,
        f"{SECRET} was good",
        f'"{SECRET}',
        f"{SECRET}\r",
        f"{SECRET}\n{SECRET}",
        f"{SECRET};{SECRET}",
        "\ud83d",
        "\x00",
    )
)
NAMES = st.sampled_from(("text", "label", "Text", "text ", "labels", "sep=;", "", SECRET, f"{SECRET}@example.com", "1"))
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32", "utf-7")


@st.composite
def tables(draw):
    """Return rows as mappings: mostly with a text and a label, and with whatever else."""
    names = draw(st.lists(NAMES, max_size=4, unique=True)) if draw(st.booleans()) else ["text", "label"]
    if draw(st.sampled_from((True, False, False))):  # no header: the first line is a row
        names = draw(st.sampled_from(([SECRET, "good"], [SECRET], ["good", SECRET, "x"])))
    if {"text", "label", "Text"} & {*names}:  # a header, of which short words are shown
        names = [name for name in names if name != SECRET]
    value = CELLS | st.sampled_from(
        (3, 2.5, None, True, [SECRET], {SECRET: 1}, deep(90), deep(150), 10**400, "x" * 2000)
    )
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        row = {name: draw(st.sampled_from(LABELS) if name == "label" else value) for name in names}
        rows.append({**row, "text": f"{SECRET} was good"} if "text" in row and draw(st.booleans()) else row)
    return rows


def as_text(rows, name, separator):
    """Return rows as the text of a file; values as JSON where a format has no types."""
    if name.endswith(".jsonl"):
        return "\n".join(json.dumps(row) for row in rows)
    if name.endswith(".json"):
        return json.dumps(rows, indent=1)
    table = io.StringIO()
    writer = csv.writer(table, delimiter=separator)
    for line in [list(rows[0]) if rows else [], *(list(row.values()) for row in rows)]:
        writer.writerow([value if isinstance(value, str) else json.dumps(value) for value in line])
    return table.getvalue()


def ask_about(source, settings, folder):
    """Show the file, and hash its rows for a budget."""
    config = folder / "c.json"
    config.write_text(json.dumps(settings))
    answered(["data", "preview", str(config), "--set", f"data.train={source}"], shows_rows=True)
    budget = ["budget", "create", "b", "--data", str(source), "--num-examples", "4", "--no-limit", "--ledger", "l.db"]
    answered(budget)


def test_tables_in_every_format(settings, fresh):
    @hostile(120)
    @given(
        tables(),
        st.sampled_from(("a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt")),
        st.sampled_from((",", ",", "\t", ";", "|")),
        st.sampled_from(ENCODINGS),
        st.sampled_from(("\n", "\n", "\r\n", "\r")),
    )
    def ask(rows, name, separator, encoding, end):
        folder = fresh()
        text = as_text(rows, name, separator).replace("\r\n", "\n").replace("\n", end)
        (folder / name).write_bytes(text.encode(encoding, errors="replace"))
        ask_about(folder / name, settings, folder)

    ask()


def test_files_that_are_damaged(settings, fresh):
    rows = [{"text": f"{SECRET} was good", "label": label, "x": [SECRET]} for label in ("good", "bad", "good")]
    packed = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), packed)
    whole = {name: as_text(rows, name, ",").encode() for name in ("a.jsonl", "a.json", "a.csv")}
    whole |= {"a.tsv": as_text(rows, "a.tsv", "\t").encode(), "a.parquet": packed.getvalue()}

    @hostile(100)
    @given(st.data(), st.sampled_from(sorted(whole)))
    def ask(data, name):
        folder = fresh()
        (folder / name).write_bytes(data.draw(damaged_bytes(whole[name])))
        ask_about(folder / name, settings, folder)

    ask()


def test_parquet_columns_of_every_type(settings, fresh):
    times = (
        pa.timestamp("s"),
        pa.timestamp("ns"),
        pa.date64(),
        pa.duration("us"),
        pa.time64("ns"),
        pa.int64(),
        pa.uint64(),
    )
    others = (pa.binary(), pa.list_(pa.string()), pa.map_(pa.string(), pa.string()), pa.decimal128(38, 3), pa.null())

    @hostile(40)
    @given(
        st.sampled_from(times),
        st.sampled_from((0, 1, -1, 10**9, 86400 * 10**6, 2**60, -(2**60))),
        st.sampled_from(others),
    )
    def ask(kind, number, other):
        folder, value = (
            fresh(),
            {pa.binary(): SECRET.encode(), pa.list_(pa.string()): [SECRET], pa.null(): None}.get(other),
        )
        number = max(-(10**15), min(number, 10**15)) if kind == pa.timestamp("s") else number  # it is written in ms
        when = pa.array([number], pa.uint64() if kind == pa.uint64() and number >= 0 else pa.int64())
        columns = {
            "text": pa.array([f"{SECRET} was good"]),
            "label": pa.array(["good"]),
            "other": pa.array([value], other),
        }
        columns["when"] = when.cast(kind, safe=False) if kind != pa.uint64() else when
        pq.write_table(pa.table(columns), folder / "a.parquet")
        ask_about(folder / "a.parquet", settings, folder)

    ask()


def test_tasks_that_do_not_fit_the_rows(settings, fresh):
    rows = [{"text": f"{SECRET} was good", "label": "good", "n": 1, "l": [SECRET, "b"], "d": {"t": SECRET}}] * 3
    templates = (
        "{text}",
        "{l|each}",
        "{l}",
        "{n|connective}",
        "{d.t}",
        "{d}",
        "{x}",
        "{text|cloze:l}",
        "{Text}",
        "{}",
        "{a:b c}",
    )

    @hostile(40)
    @given(changed_values(settings["task"], st.sampled_from(templates)), st.sampled_from(templates))
    def ask(task, template):
        folder = fresh()
        (folder / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        ask_about(folder / "a.jsonl", {**settings, "task": {**task, "template": template}}, folder)

    ask()
