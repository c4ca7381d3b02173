"""The sources of rows: a local file, or a data set of the Hugging Face hub.

| source                                       | rows                                                            |
|----------------------------------------------|-----------------------------------------------------------------|
| `reviews.jsonl`, `.json`                     | one JSON object a line; `.json` also one array of objects       |
| `reviews.csv`                                | header; quotes as in RFC 4180; every value is text              |
| `reviews.tsv`                                | header; no quoting (GLUE's files); every value is text          |
| `reviews.parquet`                            | every value has its column's type                               |
| `hub:<name>[:<split>]`                       | a data set without a configuration: `hub:imdb:train`            |
| `hub:<owner>/<name>[/<config>][:<split>]`    | `hub:stanfordnlp/imdb`, `hub:nyu-mll/glue/sst2:train[:1000]`    |

If a source names no split, `data.validation` reads the split 'validation', and all other fields read 'train'. The
`datasets` library keeps downloads in its cache folder; local files are read without it (see files.py).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from trainers.data.columns import check_columns, nearest
from trainers.data.files import open_table
from trainers.data.table import ROWS_AT_ONCE, Rows, Table, checked_row, top_level

_HUB = re.compile(
    r"hub:(?P<name>[\w.-]+|[\w.-]+/[\w.-]+(?:/(?P<config>[\w.-]+))?)(?::(?P<split>[\w.%+:\[\]()-]+))?", re.ASCII
)


class HubSource(NamedTuple):
    """Name, configuration and split of a data set of the hub, in the form that `datasets.load_dataset` takes."""

    name: str
    config: str | None
    split: str


def read_rows(source: str, columns: Sequence[str], field: str = "data.train") -> list[dict[str, Any]]:
    """Return all rows of a source in its order, each with only `columns`. No value is null.

    Args:
        source: a file or a data set of the hub, in the form of the table above.
        field: the source's place in the configuration; begins every error, and gives the default split on the hub.

    Raises:
        ValueError: no such source, a missing column, a malformed or null value, no rows. It shows no content of a row.
    """
    return list(stream_rows(source, columns, field))


def stream_rows(
    source: str,
    columns: Sequence[str],
    field: str = "data.train",
    watch: Callable[[dict[str, Any]], object] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield what `read_rows` returns; `watch` sees each row before, with all its columns and in the same reading."""
    table, name = _open(source, field)
    check_columns(table, columns, name, field)
    number = None
    for number, row in table.records(columns if watch is None else None):
        if watch is not None:
            watch(row)
        yield checked_row(row, columns, f"{table.where} {number}")
    if number is None:
        raise ValueError(f"{field}: {name} holds no rows")


def stream_records(source: str, field: str = "data.train") -> Iterator[dict[str, Any]]:
    """Yield every row of a source in its order with all its columns, unchecked; ValueError as for `read_rows`."""
    table, _ = _open(source, field)
    for _, row in table.records(None):
        yield row


def check_source(source: str, columns: Sequence[str], field: str = "data.train") -> None:
    """Check that a file exists and has the columns and a valid first row; ValueError as for `read_rows`.

    For a data set of the hub only the spelling is checked: nothing is downloaded.
    """
    if _hub_source(source, field) is not None:
        return
    next(stream_rows(source, columns, field))


def same_source(private: str, other: str, field: str) -> bool:
    """Return whether data.train's `private` and the source `other` of `field` share rows, judged by their names.

    They do if they are the same file, also through links, or read parts of the same split of a data set of the hub.
    """
    one, two = _hub_source(private, "data.train"), _hub_source(other, field)
    if one is None or two is None:
        first, second = Path(private).expanduser(), Path(other).expanduser()
        return one is two and first.exists() and second.exists() and first.samefile(second)
    splits = [{part.partition("[")[0] for part in source.split.split("+")} for source in (one, two)]
    return one[:2] == two[:2] and ("all" in set.union(*splits) or not splits[0].isdisjoint(splits[1]))


def _open(source: str, field: str) -> tuple[Table, str]:
    """Return the opened source, and its name for errors."""
    hub = _hub_source(source, field)
    if hub is not None:
        return _open_hub(hub, f"{field}: {source}"), source
    path = _existing_file(source, field)
    return open_table(path, f"{field}: {path.name}"), path.name


def _existing_file(source: str, field: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise ValueError(f"{field}: {source} is a folder; a file is expected (.jsonl, .csv, .tsv or .parquet)")
    seen_from = "" if path.is_absolute() else f", seen from the working directory {Path.cwd()}"
    known = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = nearest(path.name, known) or ("" if path.suffix else f" A data set of the hub is written hub:{source}.")
    raise ValueError(f"{field}: there is no file {source}{seen_from}.{hint}")


def _hub_source(source: str, field: str) -> HubSource | None:
    """Return the parts of 'hub:…', or None for a file."""
    if not source.startswith("hub:"):
        return None
    found = _HUB.fullmatch(source)
    if found is None:
        raise ValueError(
            f"{field}: {source!r} is not of the form hub:<name>[:<split>] or hub:<owner>/<name>[/<config>][:<split>], "
            "such as hub:stanfordnlp/imdb:train"
        )
    config = found["config"]
    name = found["name"].removesuffix(f"/{config}") if config else found["name"]
    if Path(name).exists():
        raise ValueError(
            f"{field}: {source!r} would be read from the local {name}, and copied into a cache folder. Name a file "
            "there instead, or start elsewhere to mean the hub"
        )
    usual = "validation" if field == "data.validation" else "train"
    return HubSource(name, config, found["split"] or usual)


def _open_hub(source: HubSource, where: str) -> Table:
    from datasets import Dataset, load_dataset
    from datasets.exceptions import DatasetsError

    data, failure = None, "it is not a table of rows"
    try:
        data = load_dataset(source.name, source.config, split=source.split)
    except (OSError, ValueError, DatasetsError) as error:
        failure = type(error).__name__  # its message may quote rows
    if not isinstance(data, Dataset):
        has = f"a configuration {source.config!r} and " if source.config else ""
        raise ValueError(
            f"{where} could not be loaded ({failure}). Is the hub within reach, and has {source.name!r} {has}"
            f"a split {source.split!r}?"
        )

    whole = data

    def records(columns: Sequence[str] | None) -> Rows:
        wanted = whole if columns is None else whole.select_columns(top_level(columns, whole.column_names))
        batches = (zip(*dict(batch).values(), strict=True) for batch in wanted.iter(batch_size=ROWS_AT_ONCE))
        for number, values in enumerate(chain.from_iterable(batches), start=1):
            yield number, dict(zip(wanted.column_names, values, strict=True))

    return Table(data.column_names, records, f"{where}, row", has_schema=True)
