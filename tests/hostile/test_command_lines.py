"""Command lines of every sort: verbs with options and values that do not belong to them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.models import SweepConfig
from search_spaces.searchable import dotted_names
from tests.support.hostile import TEXTS, answered, hostile

PLACES = ("c.json", "absent.yaml", ".", "c.json/x", "runs", *TEXTS)
OPTIONS = (
    "--format",
    "--set",
    "--brief",
    "--within",
    "--plot",
    "--ledger",
    "--count",
    "--trial",
    "--to",
    "--runs",
    "--output",
)
OPTIONS += (
    "--data",
    "--num-examples",
    "--num-users",
    "--epsilon",
    "--delta",
    "--no-limit",
    "--order",
    "--unit",
    "--evaluator",
)
WORDS = (
    "json",
    "text",
    "x.png",
    "x.xyz",
    "c.json/x.svg",
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    "user",
    "rdp",
    "a=b",
    "=",
    "name=",
)
VERBS = (
    ["plan", "--brief"],
    ["train", "--dry-run"],
    ["sweep", "--dry-run"],
    ["data", "preview"],
    ["export"],
    ["resume"],
)
VERBS += (
    ["status"],
    ["budget", "show"],
    ["budget", "create"],
    ["budget", "verify"],
    ["budget", "export"],
    ["budget", "history"],
)
VERBS += (["budget", "accept-clock"], ["none"], ["budget"], [])


def is_word(text):
    """Return whether an operating system passes a text to a program."""
    return "\x00" not in text


def test_options_in_any_order(settings, fresh):
    words = st.sampled_from([text for text in (*OPTIONS, *WORDS, *PLACES) if is_word(text)])

    @hostile(120)
    @given(st.sampled_from(VERBS), st.lists(words, max_size=5))
    def ask(verb, arguments):
        (fresh() / "c.json").write_text(json.dumps(settings))
        answered([*verb, *arguments])

    ask()


def test_settings_on_the_command_line(settings, fresh):
    keys = st.sampled_from(
        [*sorted(dotted_names(SweepConfig)), "search.space.method.smoothing.low", "x", "name.x", "a..b", ""]
    )
    values = st.sampled_from(
        [*filter(is_word, TEXTS), *WORDS, "[1", "{a: [b]}", "&a [*a]", "!!bool x", "9" * 5000, "[" * 400]
    )

    @hostile(120)
    @given(st.lists(st.tuples(keys, values), min_size=1, max_size=3), st.sampled_from(VERBS[:3]))
    def ask(pairs, verb):
        path = fresh() / "c.json"
        path.write_text(json.dumps(settings))
        answered([*verb, str(path), *(part for key, value in pairs for part in ("--set", f"{key}={value}"))])

    ask()
