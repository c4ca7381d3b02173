"""Settings that were removed: a stored configuration with an old default loads, any other value is refused."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.runs import plan_of, run_config
from trainers.config import MethodConfig, RunConfig
from trainers.mechanism.release_log import ReleaseLog
from trainers.run.header import header_defaults, header_of

STORED = sorted((Path(__file__).parents[2] / "data/killed_before_the_move").glob("*/config.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_a_stored_configuration_loads_without_the_keys_that_were_removed(path):
    values = json.loads(path.read_text())
    assert values["method"]["rms_decay"] is None
    stored = RunConfig.model_validate({name: values[name] for name in RunConfig.model_fields})
    assert "rms_decay" not in stored.model_dump()["method"]


@pytest.mark.parametrize(
    ("method", "removed", "instead"),
    [
        ({"rms_decay": 0.9}, "rms_decay", "leave it out"),
        ({"direction": "orthonormal"}, "orthonormal", "use gaussian or sphere"),
        ({"name": "dp-zopo", "mask": {"scores": "grasp"}}, "grasp", "use synflow or magnitude"),
    ],
)
def test_another_value_is_refused_with_what_to_do(method, removed, instead):
    with pytest.raises(ValidationError, match=f"{removed} was removed, since no benchmark showed a gain: {instead}"):
        MethodConfig.model_validate(method)


@pytest.mark.parametrize("rms_decay", [None, 0.9])
def test_a_log_that_names_a_removed_key_belongs_to_the_run_if_it_had_its_default(rms_decay, tmp_path):
    header = header_of(run_config(), plan_of(run_config()), "base")
    ReleaseLog(tmp_path / "log.jsonl", {**header, "method.rms_decay": rms_decay}).close()
    if rms_decay is None:
        ReleaseLog(tmp_path / "log.jsonl", header, header_defaults()).close()
        return
    with pytest.raises(ValueError, match=r"method\.rms_decay: 0\.9 in the log, None now"):
        ReleaseLog(tmp_path / "log.jsonl", header, header_defaults())
