"""A compiler's error on Hopper GPUs that would make adapters garbage, and how it is avoided.

On compute capability 9.0 the kernel that multiplies by an adapter's B returns NaN or wrong values with two pipeline
stages (vllm#48590: ptxas before 13.3 miscompiles it). vLLM 0.33 uses one stage there; earlier versions do not.
"""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import torch

from trainers.evaluators.vllm.package import installed_vllm

FIXED_IN = (0, 33)
"""Version of vLLM that uses one stage itself."""


def expand_in_one_stage() -> None:
    """Make the kernel run in one pipeline stage, on a Hopper GPU with a vLLM that would use two."""
    package = installed_vllm()
    if package is None or not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] != 9:
        return
    if package.release < FIXED_IN:
        kernel: Any = import_module("vllm.lora.ops.triton_ops.lora_expand_op")
        kernel.get_lora_op_configs = one_stage(kernel.get_lora_op_configs)


def one_stage(settings_of: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return vLLM's function for the settings of a kernel, with one stage for the multiplication by B."""

    @wraps(settings_of)
    def settings(op_type: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        found = settings_of(op_type, *arguments, **named)
        return {**found, "num_stages": 1} if op_type == "expand" else found

    return settings
