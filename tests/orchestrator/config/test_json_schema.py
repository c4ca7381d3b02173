from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from orchestrator.config.json_schema import configuration_schema
from orchestrator.config.loading import load_sweep as load
from orchestrator.config.loading import read, resolved_json
from tests.orchestrator.config_files import QUICKSTART

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    schema = configuration_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_schema_accepts_what_dpzo_accepts(validator, path):
    assert [error.message for error in validator.iter_errors(read(path))] == []


def test_the_schema_accepts_a_resolved_configuration(validator, tmp_path):
    (tmp_path / "one.yaml").write_text(QUICKSTART, encoding="utf-8")
    (tmp_path / "whole.json").write_text(resolved_json(load(tmp_path / "one.yaml")), encoding="utf-8")
    assert [error.message for error in validator.iter_errors(read(tmp_path / "whole.json"))] == []


def test_the_schema_marks_what_dpzo_refuses(validator):
    wrong = read(EXAMPLES[-1]) | {"metod": {}, "privacy": {"epsilon": -3}}
    places = {"/".join(map(str, error.absolute_path)) for error in validator.iter_errors(wrong)}
    assert {"", "privacy/epsilon"} <= places
