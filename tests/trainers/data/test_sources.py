import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from trainers.data.sources import check_source, read_rows, same_source

SECRET = "Wachtelkoenig"


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.tsv").write_text(f"sentence\tlabel\n{SECRET}\t1\n")
    return "reviews.tsv"


@pytest.mark.parametrize("act", [check_source, read_rows])
def test_a_missing_column_names_what_is_there_and_the_nearest(reviews, act):
    says = (
        "data.train: column 'sentense' is not in reviews.tsv, which has 'sentence', 'label'. Did you mean 'sentence'?"
    )
    with pytest.raises(ValueError, match=re.escape(says) + "$"):
        act(reviews, ["sentense", "label"])
    with pytest.raises(ValueError, match=r"data.validation: column 'Label' is not.* Did you mean 'label'\?"):
        act(reviews, ["Label"], "data.validation")


@pytest.mark.parametrize("act", [check_source, read_rows])
def test_a_missing_file_names_the_working_directory_and_a_close_match(reviews, act):
    seen_from = f"seen from the working directory {Path.cwd()}"
    says = f"data.train: there is no file review.tsv, {seen_from}. Did you mean 'reviews.tsv'?"
    with pytest.raises(ValueError, match=re.escape(says)):
        act("review.tsv", ["sentence"])
    missing = Path.cwd() / "no" / "such.csv"
    with pytest.raises(ValueError, match=re.escape(f"there is no file {missing}.") + "$"):
        act(str(missing), ["sentence"])
    with pytest.raises(ValueError, match=r"A data set of the hub is written hub:stanfordnlp/imdb\."):
        act("stanfordnlp/imdb", ["sentence"])


def test_a_folder_and_an_unknown_suffix_are_refused(reviews, tmp_path):
    with pytest.raises(ValueError, match="is a folder; a file is expected"):
        check_source(str(tmp_path), ["sentence"])
    (tmp_path / "reviews.xlsx").write_text(SECRET)
    with pytest.raises(ValueError, match=r"reviews.xlsx ends in '.xlsx'; expected one of .jsonl, .json, .csv, .tsv"):
        check_source("reviews.xlsx", ["sentence"])


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("reviews.tsv", f"{SECRET} is ill\t1\nnext\t0\n", "2 columns"),
        ("reviews.tsv", f"{SECRET}\tpositive\n", "2 columns"),
        ("reviews.csv", f"{SECRET},positive\n", "2 columns"),
        ("reviews.csv", f"{SECRET}\n", "1 column"),
        ("sentences.csv", f"sentenze,{SECRET}\n", "2 columns"),
        ("persons.json", json.dumps({SECRET: {"sick": True}, "b@example.com": {}}), "2 columns"),
        ("persons.json", json.dumps([{SECRET: 1}]), "1 column"),
        ("persons.jsonl", json.dumps({f"{SECRET}{index}": 1 for index in range(100)}), "100 columns"),
    ],
)
def test_what_may_be_a_row_is_counted_and_not_shown(tmp_path, name, content, columns):
    (tmp_path / name).write_text(content)
    for act in (check_source, read_rows):
        with pytest.raises(ValueError, match=f"column 'sentence' is not in {name}, which has {columns} and") as caught:
            act(str(tmp_path / name), ["sentence", "label"])
        assert SECRET not in str(caught.value)
        assert "sentenze" not in str(caught.value)


def test_of_a_header_short_words_are_shown(tmp_path):
    (tmp_path / "a.csv").write_text(f"text,lable,{SECRET}@example.com,{'x' * 40}\n")
    pq.write_table(pa.table({"text": ["a"], "lable": ["b"], f"{SECRET}@example.com": [1]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"which has 'text', 'lable' and 2 more\. Did you mean 'lable'\?") as caught:
        check_source(str(tmp_path / "a.csv"), ["text", "label"])
    assert SECRET not in str(caught.value)
    with pytest.raises(ValueError, match=r"which has 'text', 'lable' and 1 more\. Did you mean 'lable'\?"):
        check_source(str(tmp_path / "b.parquet"), ["label"])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "text;label\na;1\n", "a.csv: its first line has semicolons and no commas; save it with commas"),
        ("a.csv", "text\tlabel\na\t1\n", "a.csv: its first line has tabs and no commas; save it with commas"),
        ("a.tsv", "text,label\na,1\n", "a.tsv: its first line has commas and no tabs; save it with tabs"),
        ("a.csv", "sep=,\ntext,label\na,1\n", "its first line is no header but names a separator, as Excel does"),
        ("a.csv", "text,label\ra,1\r", "a.csv: a carriage return alone ends its lines; save it with line feeds"),
        ("a.jsonl", '{"text": 1}\r{"text": 2}', "a.jsonl: a carriage return alone ends its lines"),
    ],
)
def test_another_separator_is_named(tmp_path, name, content, says):
    (tmp_path / name).write_text(content, newline="")
    with pytest.raises(ValueError, match=re.escape(says)):
        check_source(str(tmp_path / name), ["text", "label"])


def test_a_wanted_column_may_not_be_there_twice(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("text,text,id,id,label\na,b,1,1,0\n")
    assert read_rows(str(path), ["label"]) == [{"label": "0"}]
    with pytest.raises(ValueError, match="more than one column 'text'; rename"):
        check_source(str(path), ["text", "label"])


def test_many_columns_are_not_all_listed(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(",".join(f"c{index}" for index in range(100)) + ",label\n")
    with pytest.raises(ValueError, match="'c7' and 93 more"):
        check_source(str(path), ["text", "label"])


def test_the_check_reads_no_further_than_the_first_row(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"text": "a"}\nnot read by the check\n')
    check_source(str(path), ["text"])
    with pytest.raises(ValueError, match="line 2"):
        read_rows(str(path), ["text"])


def test_a_local_file_leaves_no_copy_anywhere(tmp_path):
    (tmp_path / "reviews.jsonl").write_text(f'{{"text": "{SECRET}"}}\n')
    program = (
        "import sys; from trainers.data.sources import read_rows; read_rows('reviews.jsonl', ['text']); "
        "assert 'datasets' not in sys.modules and 'transformers' not in sys.modules"
    )
    environment = {
        **os.environ,
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["reviews.jsonl"]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Replace the hub by a function; return the calls that it saw, and a way to change its answer."""
    monkeypatch.chdir(tmp_path)
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"]), "id": Value("int64")})
    answer = {"data": Dataset.from_dict({"text": ["a", "b"], "label": [1, 0], "id": [7, 8]}, features=features)}
    calls = []

    def load(name, config, *, split):
        calls.append((name, config, split))
        if isinstance(answer["data"], Exception):
            raise answer["data"]
        return answer["data"]

    monkeypatch.setattr("datasets.load_dataset", load)
    return calls, answer


@pytest.mark.parametrize(
    ("source", "field", "call"),
    [
        ("hub:imdb", "data.train", ("imdb", None, "train")),
        ("hub:imdb", "data.validation", ("imdb", None, "validation")),
        ("hub:imdb:test", "data.validation", ("imdb", None, "test")),
        ("hub:stanfordnlp/imdb:test", "data.train", ("stanfordnlp/imdb", None, "test")),
        ("hub:nyu-mll/glue/sst2", "data.train", ("nyu-mll/glue", "sst2", "train")),
        ("hub:glue/glue/glue:a", "data.train", ("glue/glue", "glue", "a")),
        ("hub:nyu-mll/glue/sst2:train[:1000]", "data.train", ("nyu-mll/glue", "sst2", "train[:1000]")),
        ("hub:imdb:train[10%:]+test", "data.train", ("imdb", None, "train[10%:]+test")),
    ],
)
def test_a_hub_source_is_taken_apart(hub, source, field, call):
    check_source(source, ["text", "label"], field)
    assert hub[0] == []
    assert read_rows(source, ["text", "label"], field) == [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    assert hub[0] == [call]


@pytest.mark.parametrize("source", ["hub:", "hub:a/b/c/d", "hub:a b", "hub:imdb:", "hub:https://x.org/y"])
def test_a_misspelt_hub_source_is_refused(hub, source):
    for act in (check_source, read_rows):
        with pytest.raises(ValueError, match=r"is not of the form hub:<name>\[:<split>\]"):
            act(source, ["text"])


def test_a_hub_name_that_is_a_local_folder_is_refused_because_it_would_be_copied(hub, tmp_path):
    (tmp_path / "reviews").mkdir()
    with pytest.raises(ValueError, match="would be read from the local reviews, and copied into a cache folder"):
        check_source("hub:reviews", ["text"])
    assert hub[0] == []


def test_hub_columns_and_values_are_checked(hub):
    with pytest.raises(
        ValueError, match=r"'txt' is not in hub:imdb, which has 'text', 'label', 'id'. Did you mean 'text'"
    ):
        read_rows("hub:imdb", ["txt"])
    hub[1]["data"] = Dataset.from_dict({"text": [SECRET, None]})
    with pytest.raises(ValueError, match="hub:imdb, row 2: column 'text' is missing or null"):
        read_rows("hub:imdb", ["text"])
    hub[1]["data"] = Dataset.from_dict({"text": []})
    with pytest.raises(ValueError, match="hub:imdb holds no rows"):
        read_rows("hub:imdb", ["text"])


@pytest.mark.parametrize(
    "failure",
    [
        DatasetNotFoundError(SECRET),
        ConnectionError(SECRET),
        ValueError(f"Unknown split {SECRET}"),
        DatasetGenerationError(SECRET),
        {"train": SECRET},
    ],
)
def test_what_the_hub_answers_is_not_passed_on(hub, failure):
    hub[1]["data"] = failure
    with pytest.raises(ValueError, match=r"data.train: hub:a/b/c could not be loaded \(.*a split 'train'\?") as caught:
        read_rows("hub:a/b/c", ["text"])
    assert "a configuration 'c'" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_the_library_takes_the_arguments_that_the_double_takes():
    inspect.signature(load_dataset).bind("nyu-mll/glue", "sst2", split="train")
    assert list(inspect.signature(load_dataset).parameters)[:2] == ["path", "name"]


@pytest.fixture(scope="module")
def sst2():
    folder = Path(os.environ.get("DPZO_BENCH_DATA", "../shared/data")) / "sst2"
    if not folder.is_dir():
        pytest.skip(f"no SST-2 in {folder}: set DPZO_BENCH_DATA to a folder that has sst2/train.tsv")
    return folder


def test_sst2_is_read_whole(sst2):
    rows = read_rows(str(sst2 / "train.tsv"), ["sentence", "label"])
    assert len(rows) == 60_614
    assert {row["label"] for row in rows} == {"0", "1"}
    assert rows[0] == {"sentence": "when are bears bears and ", "label": "1"}
    assert len(read_rows(str(sst2 / "validation.tsv"), ["sentence", "label"])) == 872


@pytest.mark.parametrize(
    ("private", "other", "same"),
    [
        ("hub:a/b", "hub:a/b", False),  # the splits train and validation
        ("hub:a/b", "hub:a/b:train", True),
        ("hub:a/b:train[:100]", "hub:a/b:validation+train[100:]", True),
        ("hub:a/b:all", "hub:a/b:test", True),
        ("hub:a/b/one", "hub:a/b/two:train", False),
        ("hub:a/b", "hub:a/c:train", False),
        ("hub:a/b", "reviews.tsv", False),
        ("reviews.tsv", "./reviews.tsv", True),
        ("gone.tsv", "reviews.tsv", False),
    ],
)
def test_the_same_rows_are_known_by_file_or_split(reviews, private, other, same):
    assert same_source(private, other, "data.validation") is same


def test_rows_to_tune_on_are_those_of_train_where_no_split_is_given():
    assert same_source("hub:a/b", "hub:a/b", "search.tune_on")
