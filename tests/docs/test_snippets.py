"""The blocks of code on the pages are right: YAML loads as a part of a configuration, Python runs, commands parse."""

from __future__ import annotations

import re
import shlex

import pytest
import typer

from docs.generate.verbs import verbs
from orchestrator.cli.app import app
from orchestrator.config.loading import load_sweep
from orchestrator.config.yaml_loader import load_yaml
from tests.docs.pages import PAGES, ROOT, blocks, text_of

SPACE = {"method.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
BASE = {
    "name": "page",
    "data": {"train": "private.jsonl", "num_examples": 4000, "validation": "public.jsonl"},
    "task": {"template": "{text} It was", "label_column": "label", "label_words": {"bad": " bad", "good": " good"}},
    "model": {"path": "model"},
    "privacy": {"epsilon": 3},
    "search": {"num_trials": 10, "space": SPACE},
}
"""What the blocks are parts of."""
SETTINGS = {
    "docs/how-to/settings.md": {"model": {"head": "masked-lm"}, "task": {"template": "{text} It was [MASK]."}},
    "docs/scale.md": {"performance": {"device": "cuda"}},
    "docs/search.md": {
        "method": {"name": "dp-zoso", "num_steps": 1000, "stage_steps": 100},
        "score": {"times": 9},
        "search": {"space": {**SPACE, "method.clip_norm": {"low": 1, "high": 9}}},
    },
}
"""What pages speak of without repeating it in each block."""
COMMAND = re.compile(r"(?:^|&& |\$ )(?:\.venv/bin/)?dpzo ([a-z][^'&]*)")
PLACEHOLDERS = re.compile(r"…|\[[A-Z]+\]")


def merged(base, part):
    """Return a mapping with the keys of a part; a space and a mapping of label words are replaced as a whole."""
    if not isinstance(base, dict) or not isinstance(part, dict):
        return part
    both = {key: merged(base[key], value) for key, value in part.items() if key in base and key != "space"}
    return {**base, **part, **both}


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_is_a_part_of_a_configuration(block):
    part = load_yaml(block.text)
    if all("." in key for key in part):
        part = {"search": {"space": part}}
    load_sweep(merged(merged(BASE, SETTINGS.get(str(block.page), {})), part))


def test_a_wrong_key_in_a_block_is_found():
    with pytest.raises(ValueError, match="num_trial"):
        load_sweep(merged(BASE, {"search": {"num_trial": 3}}))


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles(block):
    compile(block.text, str(block), "exec")


def test_the_space_of_the_search_page_runs(capsys):
    (block,) = [block for block in blocks("python") if str(block.page) == "docs/search.md"]
    exec("import random\n" + block.text)
    assert "method.clip_norm" in capsys.readouterr().out


def commands():
    """Yield the command lines of `dpzo` in blocks without a language."""
    for block in blocks(""):
        for line in re.sub(r"\\\n", " ", block.text).splitlines():
            for words in COMMAND.findall(line.partition("  #")[0].strip()):
                if not PLACEHOLDERS.search(words):
                    yield pytest.param(shlex.split(words), id=f"{block}: dpzo {words}")


@pytest.mark.parametrize("words", [*commands()])
def test_a_command_parses(words):
    known = dict(verbs())
    name = next(name for name in (" ".join(words[:2]), words[0]) if name in known)
    context = typer.main.get_command(app).make_context("dpzo", ["--version"], resilient_parsing=True)
    known[name].make_context(name, words[len(name.split()) :], parent=context)


def test_targets_of_make_that_pages_name_are_there():
    text = "\n".join(map(text_of, PAGES))
    named = set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", text, re.MULTILINE))
    assert {"quickstart", "test", "docs", "vllm-cpu"} <= named
    assert named <= set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE))


def test_files_of_the_repository_that_commands_name_are_there():
    named = {
        word for block in blocks("") for word in re.findall(r"\b(?:examples|benchmarks|docs)/[\w/]+\.\w+", block.text)
    }
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
