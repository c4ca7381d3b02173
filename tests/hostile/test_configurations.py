"""Configurations of every sort: values that no key takes, and files that are no YAML or JSON."""

import json

import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile import SECRET, answered, changed_values, damaged_bytes, hostile

VERBS = (["plan", "--brief"], ["train", "--dry-run"], ["sweep", "--dry-run"], ["plan", "--brief", "--format", "json"])


def test_values_that_no_key_takes(settings, fresh):
    @hostile(140)
    @given(changed_values(settings), st.sampled_from(VERBS), st.sampled_from(("c.json", "c.yaml")))
    def ask(config, verb, name):
        path = fresh() / name
        write = json.dumps if name == "c.json" else yaml.safe_dump
        path.write_text(write(config))
        answered([verb[0], str(path), *verb[1:]])

    ask()


def test_files_that_are_damaged(settings, fresh):
    whole = {"c.json": json.dumps(settings).encode(), "c.yaml": yaml.safe_dump(settings).encode()}

    @hostile(120)
    @given(st.data(), st.sampled_from(sorted(whole)), st.sampled_from(VERBS))
    def ask(data, name, verb):
        path = fresh() / name
        path.write_bytes(data.draw(damaged_bytes(whole[name])))
        answered([verb[0], str(path), *verb[1:]])

    ask()


TOKENS = (
    "a",
    "*a",
    "&a ",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "!!int ",
    "!!bool ",
    "!!set ",
    "<<: ",
    "? ",
    "|\n",
    ">-\n",
)
TOKENS += (
    "!!timestamp ",
    "!!binary ",
    "!own ",
    "%YAML 1.3\n",
    "---\n",
    "...\n",
    "'",
    '"',
    "#",
    "1",
    ".inf",
    "~",
    "=",
    "name: x\n",
)


def test_texts_of_yaml_tokens(fresh):
    @hostile(60)
    @given(st.lists(st.sampled_from(TOKENS), max_size=40))
    def ask(tokens):
        path = fresh() / "c.yaml"
        path.write_text("".join(tokens))
        answered(["plan", str(path), "--brief"])

    ask()


def test_files_of_rows_in_place_of_a_configuration(fresh):
    rows = ({"text": SECRET, "label": 1}, {SECRET: {"a": 1}, "b": SECRET}, [{"text": SECRET}], SECRET)

    @hostile(20)
    @given(st.sampled_from(rows), st.sampled_from(("r.json", "r.jsonl", "r.csv", "r.yaml", "r")), st.integers(1, 3))
    def ask(row, name, times):
        path = fresh() / name
        path.write_text("\n".join([json.dumps(row)] * times))
        for verb in VERBS:
            answered([verb[0], str(path), *verb[1:]])

    ask()
