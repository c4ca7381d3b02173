"""The Dockerfile by a parser of its instructions, and what goes into the image."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Dockerfile"


@pytest.fixture(scope="module")
def stages() -> dict[str, list[dict[str, str]]]:
    """The instructions of each stage, by its name."""
    parser = pytest.importorskip("dockerfile_parse", reason="needs dockerfile-parse: pip install 'dpzo[test]'")
    found: dict[str, list[dict[str, str]]] = {}
    for instruction in parser.DockerfileParser(str(FILE)).structure:
        if instruction["instruction"] == "FROM":
            found[instruction["value"].split()[-1]] = []
        if instruction["instruction"] != "COMMENT":
            list(found.values())[-1].append(instruction)
    return found


def values(stage: list[dict[str, str]], name: str) -> list[str]:
    return [instruction["value"] for instruction in stage if instruction["instruction"] == name]


def test_both_images_stand_on_one_base_and_run_as_ray(stages):
    assert list(stages) == ["wheel", "base", "cpu", "cuda"]
    for target in ("cpu", "cuda"):
        assert values(stages[target], "FROM") == [f"base AS {target}"]
        assert values(stages[target], "USER") == ["ray"]
        assert stages[target][-1]["instruction"] == "WORKDIR"


def test_what_rays_launcher_and_kuberay_call_is_there(stages):
    (install,) = values(stages["base"], "RUN")
    assert {"rsync", "wget"} <= set(install.split())
    assert "useradd --uid 1000" in install


def test_dpzo_is_installed_by_the_constraints_and_by_extras_that_there_are(stages):
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"])
    for target, wanted in (("cpu", {"postgresql"}), ("cuda", {"postgresql", "vllm"})):
        install = values(stages[target], "RUN")[-1]
        assert "--constraint /dpzo/constraints.txt" in install
        (named,) = re.findall(r"dpzo\[([\w,-]+)\]", install)
        assert set(named.split(",")) == wanted <= extras


def test_only_what_is_named_goes_in():
    ignored, *rules = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    named = {rule[1:] for rule in rules if rule.startswith("!")}
    with open(ROOT / "pyproject.toml", "rb") as file:
        packages = set(tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert ignored == "*"
    assert named == packages | {"LICENSE", "README.md", "constraints.txt", "pyproject.toml"}


def test_docker_takes_it():
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no docker daemon answers here")
    for target in ("cpu", "cuda"):
        checked = subprocess.run(
            ["docker", "build", "--check", "--file", FILE, "--target", target, ROOT], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
