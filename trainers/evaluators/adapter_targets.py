"""Which layers of a model a new LoRA adapter adapts."""

import logging
import re
from collections.abc import Sequence
from typing import Any

import torch
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from transformers.pytorch_utils import Conv1D

LOGGER = logging.getLogger(__name__)
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


def target_modules(model: Any, wanted: Sequence[str] | None) -> list[str] | None:
    """Return the modules for PEFT: those wanted, None where PEFT has a choice of its own, or the attention's layers.

    Raises:
        ValueError: a wanted name matches no module, or the model has neither PEFT's choice nor an attention.
    """
    if wanted is not None:
        _require_matches(model, wanted)
        return list(wanted)
    if model.config.model_type in TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING:
        return None
    linear = [name for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))]
    chosen = [name for name in linear if any(map(_ATTENTION.search, name.split(".")))]
    if not chosen:
        raise ValueError(
            f"model.lora.target_modules: PEFT has no choice for {model.config.model_type}, and the model no attention. "
            f"Name layers, such as {_last_parts(linear)}"
        )
    LOGGER.warning(
        "model.lora.target_modules: PEFT has no choice for %s; all layers of its attention are adapted (%s)",
        model.config.model_type,
        _last_parts(chosen),
    )
    return chosen


def _require_matches(model: Any, wanted: Sequence[str]) -> None:
    """Check that every name is a module's, or the end of one, as PEFT matches them."""
    names = [name for name, _ in model.named_modules()]
    for name in wanted:
        if not any(of == name or of.endswith(f".{name}") for of in names):
            linear = [of for of, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))]
            raise ValueError(
                f"model.lora.target_modules: no module of the model is called {name!r}. Its linear layers are "
                f"{_last_parts(linear)}"
            )


def _last_parts(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in names))
