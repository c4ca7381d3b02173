"""Wheel and sdist: an index takes them, and from an empty environment the demo can be planned without a checkout.

The environment reads the dependencies of this one by a .pth file, which spares minutes of installation.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICK = ("--set", "privacy.epsilon=null", "--set", "privacy.noise_multiplier=2")  # nothing is calibrated


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with wheel and sdist."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory):
    """Folder of an environment in which the wheel is installed and this checkout is not."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    wheel = next(built.glob("*.whl"))
    to = ["--no-deps", "--quiet", "--no-index", "--disable-pip-version-check", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *to, str(wheel)], check=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_an_index_takes_wheel_and_sdist(built):
    files = sorted(built.iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"]
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], check=True)


def test_the_demo_is_planned_without_a_checkout(environment, tmp_path):
    program = "import sys; from orchestrator.__main__ import main; sys.argv[0] = 'dpzo'; main()"

    def dpzo(*words):
        command = [str(environment / "bin" / "python"), "-I", "-c", program, *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    where = subprocess.run(
        [str(environment / "bin" / "python"), "-I", "-c", "import orchestrator; print(orchestrator.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout).is_relative_to(environment)  # not this checkout
    dpzo("demo")
    assert "ε" in dpzo("plan", "demo.yaml", "--brief", *QUICK)
    assert dpzo("--version").startswith("dpzo ")
