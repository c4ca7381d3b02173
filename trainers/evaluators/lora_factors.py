"""The first factors of a LoRA adapter, where they do not train."""

from typing import Any

import torch

from trainers.evaluators.adapter_names import saved_name


def first_factors_of(model: Any) -> dict[str, torch.nn.Linear]:
    """Return name → A, a linear layer of its own, of each layer with a LoRA adapter."""
    return {
        saved_name(f"{name}.weight"): module
        for name, module in model.named_modules()
        if ".lora_A." in f"{name}." and isinstance(module, torch.nn.Linear)
    }
