"""The RayJob and the RayCronJob against KubeRay's own schema, made strict; see tests/data/README.md."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

ROOT = Path(__file__).parents[2]
RAYJOB = json.loads(gzip.decompress((ROOT / "tests" / "data" / "rayjob.schema.json.gz").read_bytes()))
CRON_SPEC = {
    "type": "object",
    "properties": {
        "schedule": {"type": "string"},
        "timeZone": {"type": "string", "minLength": 1},
        "suspend": {"type": "boolean"},
        "jobTemplate": RAYJOB["properties"]["spec"],
    },
    "required": ["schedule", "jobTemplate"],
    "additionalProperties": False,
}
SCHEMAS = {"rayjob": RAYJOB, "raycronjob": {**RAYJOB, "properties": {**RAYJOB["properties"], "spec": CRON_SPEC}}}


def deployed(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deploy" / f"{name}.yaml").read_text())


def keys_of(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all keys of nested mappings and lists."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, value in items for found in [(*path, key), *keys_of(value, (*path, key))]]


@pytest.mark.parametrize("name", SCHEMAS)
def test_kuberay_takes_it(name):
    job = deployed(name)
    Draft202012Validator(SCHEMAS[name]).validate(job)
    assert (job["apiVersion"], job["kind"].lower()) == ("ray.io/v1", name)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_misspelt_field_is_refused(name):
    validator = Draft202012Validator(SCHEMAS[name])
    free = {"metadata", "rayStartParams", "requests", "limits"}  # mappings of names of one's own
    for path in keys_of(deployed(name)):
        if isinstance(path[-1], int) or free & set(path[:-1]) or (len(path) == 1 and path[0] in ("apiVersion", "kind")):
            continue
        job = copy.deepcopy(deployed(name))
        holder = job
        for key in path[:-1]:
            holder = holder[key]
        holder[f"{path[-1]}x"] = holder.pop(path[-1])
        with pytest.raises(ValidationError):
            validator.validate(job)


def test_no_trial_runs_on_the_head_and_all_ask_for_the_token():
    spec = deployed("rayjob")["spec"]["rayClusterSpec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["authOptions"] == {"mode": "token"}


def test_a_retry_finds_logs_and_ledger_and_nobody_is_root():
    spec = deployed("rayjob")["spec"]
    cluster = spec["rayClusterSpec"]
    assert spec["backoffLimit"] > 0
    assert "storage_path=/shared/" in spec["entrypoint"]
    assert "budget.ledger=postgresql" in spec["entrypoint"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert "persistentVolumeClaim" in next(volume for volume in pod["volumes"] if volume["name"] == "shared")
        password = next(one for one in pod["containers"][0]["env"] if one["name"] == "PGPASSWORD")
        assert "secretKeyRef" in password["valueFrom"]


def test_the_cron_job_is_the_same_job_under_a_name_of_each_time():
    once, weekly = deployed("rayjob")["spec"], deployed("raycronjob")["spec"]["jobTemplate"]
    assert weekly["rayClusterSpec"] == once["rayClusterSpec"]
    assert "--set name=" in weekly["entrypoint"]
    assert weekly["submissionMode"] == "HTTPMode"  # others would let a shell without the head's variables read the line
