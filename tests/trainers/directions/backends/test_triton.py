"""The GPU kernel, in Triton's interpreter: the bits of every other backend, and a proof that finds when they are not.

Real GPUs are not at hand here; that the kernel compiles for them, with no operation fused, is looked at.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.triton_interpreter"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_live_and_master_have_the_bits_of_torch(found, kind):
    """Both kinds: the interpreter rounds as IEEE 754 says. A GPU is held to it for signs, to 1e-6 for normal values."""
    assert found[f"same as torch, {kind}"]


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_a_bfloat16_master_is_read_as_torch_reads_it(found, kind):
    """Its updates are torch's: once a step, where probes are many."""
    assert found[f"bfloat16 master, {kind}"]


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_directions_are_those_of_the_specification(found, kind):
    assert found[f"specified, {kind}"]


def test_a_vector_under_a_low_rank_direction(found):
    assert found["low-rank vector"]


@pytest.mark.parametrize("broken", ["other keys", "lost terms"])
def test_a_kernel_that_is_wrong_is_refused(found, broken):
    assert found[f"refuses {broken}"].startswith(
        "the Triton kernel on cpu gives other rademacher directions than torch"
    )


def test_it_is_chosen_for_gpus(found):
    assert found["chosen"] == "trainers.directions.backends.triton"


@pytest.mark.parametrize(("gaussian", "master"), [(True, "fp32"), (False, "fp32"), (True, "bf16")])
def test_it_compiles_for_a_gpu_with_nothing_fused(gaussian, master):
    """For compute capability 9.0, without a GPU; a fused product and sum would round once where the others do twice."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from trainers.directions.backends.triton import OPTIONS
    from trainers.directions.backends.triton_kernels import TILE, one_pass

    signature = {"live": "*bf16", "master": f"*{master}", "keys": "*i64", "factors": "*fp32", "numel": "i32"}
    signature |= {"num_terms": "i32", "GAUSSIAN": "constexpr", "WRITES": "constexpr", "SIZE": "constexpr"}
    source = ASTSource(one_pass, signature, {"GAUSSIAN": gaussian, "WRITES": True, "SIZE": TILE})
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=OPTIONS)
    assert compiled.asm["cubin"]
    assert not re.search(r"\bfma\.", compiled.asm["ptx"])
    assert bool(re.search(r"sqrt\.rn\.f32", compiled.asm["ptx"])) == gaussian
