"""A proof, before a private row is read, that the engine's kernel for adapters multiplies as it should.

Every matrix with an adapter gets two adapters of public random factors, and reads `TOKENS` random inputs with each. The
result is compared with the plain product B A x. Kernels differ with the width, the number of fused matrices and the
number of tokens, and a compiler's error may touch one of them alone (`hopper`).
"""

from typing import Any

import torch

from trainers.evaluators.vllm.slots import AdapterSlot, AdapterSlots

TOKENS = 64  # with each adapter; with fewer, kernels take other settings
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}  # of the largest value


def prove_adapters(runner: Any, slots: AdapterSlots) -> None:
    """Compare the kernel with plain products on every matrix; the slots are empty afterwards.

    Args:
        runner: vLLM's model runner.
        slots: of the runner.

    Raises:
        ValueError: a result is no number, or differs by more than rounding.
    """
    slots.first_factors_of.clear()
    used, random = slots.first(2), torch.Generator().manual_seed(0)
    ids = tuple(slot.adapter.lora_int_id for slot in used for _ in range(TOKENS))
    runner._set_active_loras(ids, ids, {slot.adapter for slot in used})
    for name, module in slots.modules():
        for slot in used:
            for stacked in (*module.lora_a_stacked, *module.lora_b_stacked):
                factor = stacked[slot.index, 0]
                factor.copy_(torch.randn(factor.shape, generator=random) / factor.shape[1] ** 0.5)
        inputs = torch.randn(len(ids), module.lora_a_stacked[0].shape[-1], generator=random)
        _require_product(name, module, used, inputs.to(runner.device, module.lora_a_stacked[0].dtype))
        for slot in used:
            module.reset_lora(slot.index)


def _require_product(name: str, module: Any, used: list[AdapterSlot], inputs: torch.Tensor) -> None:
    widths = module.output_slices
    got = torch.zeros(len(inputs), sum(widths), dtype=inputs.dtype, device=inputs.device)
    stacked = module.lora_a_stacked, module.lora_b_stacked
    module.punica_wrapper.add_lora_linear(got, inputs, *stacked, 1.0, widths)
    parts = [
        torch.cat([_plain(inputs_of, a[slot.index, 0], b[slot.index, 0]) for a, b in zip(*stacked, strict=True)], dim=1)
        for slot, inputs_of in zip(used, inputs.split(TOKENS), strict=True)
    ]
    expected = torch.cat(parts)
    error = float((got.float() - expected).abs().max() / expected.abs().max())
    if not error <= _TOLERANCE[inputs.dtype]:  # NaN is not below it either
        raise ValueError(
            f"performance.evaluator: vllm: this device multiplies adapters of {name} wrongly: expected B·A·x within "
            f"{_TOLERANCE[inputs.dtype]:g} of the largest value, got {error:.2g}. Use another version of vLLM, or "
            "performance.evaluator: transformers"
        )


def _plain(inputs: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (inputs.float() @ a.float().T) @ b.float().T
