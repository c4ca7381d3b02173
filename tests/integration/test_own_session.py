"""Ray's session of one machine: nobody reaches it from the network, and nobody without the token gets in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OWNER = """
import json, os, subprocess, sys
import psutil, ray
from orchestrator.cluster.session import ray_session

with ray_session(1):
    ray.get(ray.remote(lambda: 0).remote())
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    address = ray.get_runtime_context().gcs_address
    listening = [one.laddr.ip for of in family for one in of.net_connections("inet") if one.status == "LISTEN"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    outside["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or Ray would knock at another address than the loopback
    stranger = subprocess.run([sys.executable, "-c", sys.argv[1], address], env=outside, capture_output=True, text=True)
    command_lines = [" ".join(of.cmdline()) for of in family]
    token = os.environ["RAY_AUTH_TOKEN"]
    shown = any(token in line for line in command_lines)
print(json.dumps({"listening": listening, "stranger": stranger.stdout + stranger.stderr, "shown": shown}))
"""
STRANGER = "import sys, ray; ray.init(address=sys.argv[1], logging_level='ERROR'); print('the stranger is in')"


@pytest.mark.parametrize("given", [{}, {"RAY_AUTH_MODE": "disabled"}])
def test_nobody_else_gets_in_whatever_the_environment_says(tmp_path, given):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**clean, **given, "HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", OWNER, STRANGER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert len(seen["listening"]) >= 8
    assert {ip.removeprefix("::ffff:") for ip in seen["listening"]} == {"127.0.0.1"}
    assert "the stranger is in" not in seen["stranger"]
    assert "InvalidAuthToken" in seen["stranger"]
    assert not seen["shown"]
    assert not (tmp_path / ".ray").exists()
