"""The kernel that a compiler breaks on Hopper GPUs runs in one stage there, and only there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from trainers.evaluators.vllm import hopper
from trainers.evaluators.vllm.package import Package


def settings_of(op_type: str, max_loras: int, **others: int) -> dict[str, int]:
    return {"num_stages": 2, "block_n": max_loras, **others}


@pytest.mark.parametrize(
    ("version", "capability", "stages"),
    [("0.32.0", (9, 0), 1), ("0.33.0", (9, 0), 2), ("1.0", (9, 0), 2), ("0.32.0", (8, 0), 2), ("0.32.0", (10, 0), 2)],
)
def test_the_kernel_has_one_stage_where_the_compiler_would_break_it(monkeypatch, version, capability, stages):
    kernel = SimpleNamespace(get_lora_op_configs=settings_of)
    monkeypatch.setattr(hopper, "installed_vllm", lambda: Package("vllm", version))
    monkeypatch.setattr(hopper, "import_module", lambda name: kernel)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    hopper.expand_in_one_stage()
    assert kernel.get_lora_op_configs("expand", 4, rank=8) == {"num_stages": stages, "block_n": 4, "rank": 8}
    assert kernel.get_lora_op_configs(op_type="shrink", max_loras=4) == {"num_stages": 2, "block_n": 4}
