import json
import math
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.config.errors import ConfigError
from orchestrator.config.loading import load_run, override, read
from orchestrator.config.models import SweepConfig


def written(tmp_path, text, name="config.yaml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def value_of(tmp_path, text):
    return read(written(tmp_path, f"x: {text}\n"))["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-2.5e+2", -250.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("12", 12),
        ("010", 10),
        ("-.inf", -math.inf),
        ("true", True),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("Yes", "Yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1e", "1e"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("[1, 1e-3, no]", [1, 0.001, "no"]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path, text, value):
    found = value_of(tmp_path, text)
    assert found == value
    assert type(found) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_number_that_python_writes_is_read(tmp_path, number):
    for text in (repr(number), f"{number:e}", f"{number:.17g}"):
        assert value_of(tmp_path, text) == float(text)


def test_merged_keys_may_be_given_again(tmp_path):
    text = "base: &base {a: 1, b: 2}\nmore: {deep: &deep {<<: *base, b: 3}}\nlast: {<<: *deep, a: 4}\n"
    assert read(written(tmp_path, text))["last"] == {"a": 4, "b": 3}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: key 'a' occurs twice, first in line 1"),
        ("a: {b: 1, c: 2, b: 3}\n", "line 1, column 17: key 'b' occurs twice, first in line 1"),
        ("a: 1\nb: [1,\nc: 2", "line 3, column 5: expected ',' or ']', but got '<stream end>'"),
        ("a: !!python/object:os.system 1", "line 1, column 4: could not determine a constructor"),
        ("a: \x01", "unacceptable character #x0001"),
        ("", "expected a mapping of keys to values, such as 'name: my-run', got nothing"),
        ("- a\n", "expected a mapping of keys to values, such as 'name: my-run', got list"),
        (b"\xff\xfe\x00", "'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path, text, complaint):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as refusal:
        read(path)
    (line,) = refusal.value.lines
    assert line.startswith(f"{path}: {complaint}")
    assert "\n" not in line


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (BOMB + "name: *h\n", "line 5, column 11: the text stands for more than 20,000 values"),
        (re.sub(r"(\[\*.*\])", r"{<<: \1}", BOMB).replace("[x,x,x,x,x,x,x,x,x]", "{x: 1}"), "more than 20,000 values"),
        ("a: &a [*a]\n", "line 1, column 8: 'a' contains itself"),
        ("a: " + "[" * 5000, "more than 50 levels lie inside each other"),
        ("a: " + "{b: " * 60 + "1" + "}" * 60, "more than 50 levels lie inside each other"),
        ("".join(f"k{i}: 1\n" for i in range(90_000)), "stands for more than 20,000 values"),
        ("# " + "x" * 10**6, "is larger than 1 MB, which no configuration is"),
        ("a: !!timestamp x", "could not determine a constructor for the tag 'tag:yaml.org,2002:timestamp'"),
        ("a: !!binary x", "could not determine a constructor"),
        ("a: !!bool abc", "line 1, column 4: the value is no bool"),
        ("a: !!bool {=: abc}", "the value is no bool"),
        ("a: !!int [1]", "the value is no int"),
        ("a: !!float 1_0", "the value is no float"),
        ("a: !!null x", "the value is no null"),
        ("a: !own x", "could not determine a constructor for the tag '!own'"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
    ],
)
def test_a_small_text_becomes_nothing_large_and_nothing_deep(tmp_path, text, complaint):
    (line,) = refused(written(tmp_path, text))
    assert complaint in line
    assert len(line) < 300


def refused(path):
    with pytest.raises(ConfigError) as refusal:
        read(path)
    return refusal.value.lines


def test_json_is_not_deep_and_needs_time_in_proportion(tmp_path):
    for levels, complaint in ((200, "more than 100 lists or mappings"), (100_000, "too deep inside each other")):
        assert complaint in refused(written(tmp_path, '{"a": ' + "[" * levels + "]" * levels + "}", "c.json"))[0]
    many = written(tmp_path, json.dumps({"method": {f"k{i}": i for i in range(40_000)}}), "c.json")
    with pytest.raises(ConfigError) as refusal:
        load_run(many)
    assert (len(refusal.value.lines), refusal.value.lines[-1][:4]) == (21, "and ")


def test_a_file_of_rows_is_no_configuration(tmp_path):
    for name in ("rows.jsonl", "rows.csv", "rows.tsv", "rows.parquet"):
        (line,) = refused(written(tmp_path, '{"Wachtelkoenig": 1}', name))
        assert line == (
            f"{tmp_path / name}: is a file of rows; a configuration in YAML or JSON is expected, whose data.train "
            "names the rows"
        )
    with pytest.raises(ConfigError, match="this is no configuration: none of its 2 keys is known") as refusal:
        load_run(written(tmp_path, '{"Wachtelkoenig": 1, "b@example.com": 2}', "rows.json"))
    assert "Wachtelkoenig" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, why in ((tmp_path / "absent.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=why) as refusal:
            read(path)
        assert refusal.value.lines == (f"{path}: cannot be read: {why}",)


def test_json_is_read_as_json(tmp_path):
    assert read(written(tmp_path, '{"a": "\\u00e9\\ud83d\\ude00", "b": 1e-5}', "c.json")) == {"a": "é😀", "b": 1e-5}
    for text, complaint in (('{"a": 1, "a": 2}', "key 'a' occurs twice"), ('{"a": 1,}', "double quotes")):
        with pytest.raises(ConfigError, match=complaint):
            read(written(tmp_path, text, "c.json"))


def overridden(*overrides, config=None):
    return override(config or {}, overrides, SweepConfig)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method.num_steps=100", {"method": {"num_steps": 100}}),
        ("method.smoothing=1e-3", {"method": {"smoothing": 1e-3}}),
        ("task.labels=[no, yes]", {"task": {"labels": ["no", "yes"]}}),
        ("task.template={sentence} It was", {"task": {"template": "{sentence} It was"}}),
        ("task.template={sentence}", {"task": {"template": "{sentence}"}}),
        ("task.template=a # b: c=d", {"task": {"template": "a # b: c=d"}}),
        ("task.template='{a}: it''s'", {"task": {"template": "{a}: it's"}}),
        ("task.label_words.good= great", {"task": {"label_words": {"good": " great"}}}),
        ("task.label_words={1: ' a'}", {"task": {"label_words": {1: " a"}}}),
        ("name=12", {"name": "12"}),
        ("data.validation=", {"data": {"validation": None}}),
        ("data.validation=null", {"data": {"validation": None}}),
        ("data.validation='null'", {"data": {"validation": "null"}}),
        ("search.num_trials=3", {"search": {"num_trials": 3}}),
        (
            "search.space.method.smoothing={low: 1e-3, high: 1e-2, log: true}",
            {"search": {"space": {"method.smoothing": {"low": 1e-3, "high": 1e-2, "log": True}}}},
        ),
        ("search.space.method.smoothing.low=1e-4", {"search": {"space": {"method.smoothing": {"low": 1e-4}}}}),
        (
            "search.space.method.smoothing.start.low=1e-4",
            {"search": {"space": {"method.smoothing.start": {"low": 1e-4}}}},
        ),
        ("search.space.smoothing={choices: [1]}", {"search": {"space": {"smoothing": {"choices": [1]}}}}),
        (
            "search.space={method.smoothing: {choices: [1]}}",
            {"search": {"space": {"method.smoothing": {"choices": [1]}}}},
        ),
    ],
)
def test_an_override_is_put_in_its_place(text, expected):
    assert overridden(text) == expected


def test_later_overrides_win_and_what_stood_there_stays_untouched():
    config = {"method": {"num_steps": 1, "seed": 2}, "data": None}
    found = overridden("method.num_steps=5", "method.num_steps=6", "data.num_examples=7", config=config)
    assert found == {"method": {"num_steps": 6, "seed": 2}, "data": {"num_examples": 7}}
    assert config == {"method": {"num_steps": 1, "seed": 2}, "data": None}


def test_bad_overrides_are_all_told():
    with pytest.raises(ConfigError) as refusal:
        overridden("x", "=3", "a..b=3", "method.seed=[1", "name.x=3", "data.train='a' b", config={"name": "run"})
    wrong = "expected key=value with a dotted key, such as method.num_steps=100"
    assert list(refusal.value.lines) == [
        f"x: {wrong}",
        "=3: expected a dotted key, such as method.num_steps",
        "a..b=3: expected a dotted key, such as method.num_steps",
        "method.seed=[1: the value is not YAML: line 1, column 3: expected ',' or ']', but got '<stream end>'",
        "name.x=3: name is 'run': it is not a mapping",
        "data.train='a' b: the value is not YAML: line 1, column 5: expected '<document start>', but found '<scalar>'",
    ]


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


plain_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
texts = st.text().filter(lambda text: not is_number(text))  # '0E0' is a number in YAML 1.2 alone, so PyYAML quotes none
values = st.recursive(plain_values | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8)


@given(values)
def test_a_value_written_as_yaml_arrives(value):
    text = yaml.safe_dump(value, default_flow_style=True, default_style='"' if isinstance(value, str) else None)
    # PyYAML writes texts so that YAML 1.1 reads them back; quoting all makes it hold for YAML 1.2 as well.
    assert overridden(f"method.seed={text}") == {"method": {"seed": yaml.safe_load(text)}}


@given(st.text())
def test_any_text_arrives_where_a_text_is_wanted(text):
    bare = text.strip() not in ("", "~", "null", "Null", "NULL") and not text.strip().startswith(("'", '"'))
    if bare:
        assert overridden(f"task.template={text}") == {"task": {"template": text}}
    quoted = "'" + text.replace("'", "''") + "'"
    if text.isprintable():
        assert overridden(f"task.template={quoted}") == {"task": {"template": text}}


def test_a_mapping_that_a_program_loaded_says_on_as_true():
    mapping = yaml.safe_load("score: {on: private, times: 2}")
    assert True in mapping["score"]
    assert read(mapping) == {"score": {"on": "private", "times": 2}}
