"""Every cluster file as Ray's own validator sees it, and what all of them must have."""

from __future__ import annotations

import copy
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "cluster.yaml", *sorted((ROOT / "examples" / "clusters").glob("*.yaml"))]
COMMANDS = ("setup_commands", "head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def cluster(request) -> dict[str, Any]:
    """A cluster file."""
    return yaml.safe_load(request.param.read_text())


def commands(cluster: dict[str, Any]) -> list[str]:
    """Return all shell commands of a cluster file."""
    return [command for section in COMMANDS for command in cluster.get(section, [])]


def test_ray_takes_it(cluster):
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_ray_refuses_every_misspelt_key(cluster):
    for key in cluster:
        misspelt = {name + "x" if name == key else name: value for name, value in copy.deepcopy(cluster).items()}
        with pytest.raises(Exception, match=r"."):
            validate_config(prepare_config(misspelt))


def test_of_own_machines_there_may_be_a_head_alone():
    """Ray takes it; a sweep is refused there, since the head has no CPU."""
    cluster = yaml.safe_load((ROOT / "examples" / "clusters" / "local.yaml").read_text())
    cluster["provider"]["worker_ips"] = []
    validate_config(prepare_config(cluster))


def test_commands_are_shell(cluster):
    for command in commands(cluster):
        checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert checked.returncode == 0, (command, checked.stderr)


def test_all_nodes_ask_for_the_token_and_find_the_cluster(cluster):
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("RAY_AUTH_MODE=token RAY_ADDRESS=auto" in command for command in cluster["setup_commands"])


def test_the_head_listens_to_itself_and_runs_no_trial(cluster):
    start = cluster["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in start
    if cluster["provider"]["type"] == "local":
        assert "--num-cpus=0" in start
    else:
        assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}


def test_all_is_installed_by_the_constraints_and_by_extras_that_there_are(cluster):
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"])
    installs = [command for command in commands(cluster) if "pip install" in command]
    assert installs
    for install in installs:
        assert "--constraint ~/dpzo/constraints.txt" in install or "--no-deps" in install
        for named in re.findall(r"dpzo\[([\w,-]+)\]", install):
            assert set(named.split(",")) <= extras


def test_neither_history_nor_environment_nor_results_are_copied(cluster):
    assert {"**/.git/**", "**/.venv/**", "runs/**"} <= set(cluster["rsync_exclude"])
