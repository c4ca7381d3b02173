"""Loads a model folder or hub name as a model for forward passes, and finds its trainable tensors."""

import math
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from trainers.config import LoraConfig, ModelConfig
from trainers.directions import uniform_values

_PEFT_TASKS = {"causal-lm": "CAUSAL_LM", "sequence-classification": "SEQ_CLS", "masked-lm": None}


def load_model(config: ModelConfig, *, num_labels: int, pad_token_id: int, seed: int, device: str) -> Any:
    """Load the model in float32 and evaluation mode, with an adapter if `config.trainable` is lora.

    The adapter, and a classification head that the checkpoint lacks, are initialised from `seed`: every worker and
    every restart begins with the same bits. ValueError if the path has no model of that kind.
    """
    transformers_logging.disable_progress_bar()  # it would hide the progress bar of a sweep
    transformers_logging.set_verbosity_error()  # it warns about a new head, which is expected here
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _from_pretrained(config, num_labels)
    if model.config.get_text_config().pad_token_id is None:
        model.config.get_text_config().pad_token_id = pad_token_id
    if config.trainable == "lora":
        model = _with_adapter(model, config, seed)
    model.requires_grad_(False)
    return model.to(device).eval()


def rounded_to(dtype: str, model: torch.nn.Module) -> None:
    """Convert all weights to 'float32' or 'bfloat16'; buffers, such as rotary frequencies, stay exact."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype))


def trainable_parameters(model: torch.nn.Module, config: ModelConfig) -> dict[str, torch.nn.Parameter]:
    """Return Hugging Face name → trainable parameter; tied parameters appear once, under their first name."""
    named = dict(model.named_parameters())
    if config.trainable == "lora":
        named = {_adapter_name(name): tensor for name, tensor in named.items() if _belongs_to_adapter(name)}
    elif config.trainable == "all-linear":
        chosen = _linear_weights(model, config.head)
        named = {name: tensor for name, tensor in named.items() if name in chosen}
    return {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}


def _from_pretrained(config: ModelConfig, num_labels: int) -> Any:
    # not told, the library asks on the terminal whether to run the checkpoint's own code
    as_data: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": False}
    try:
        if config.head == "sequence-classification":
            return AutoModelForSequenceClassification.from_pretrained(
                config.path, num_labels=num_labels, ignore_mismatched_sizes=True, **as_data
            )
        auto = AutoModelForMaskedLM if config.head == "masked-lm" else AutoModelForCausalLM
        loaded: Any = auto.from_pretrained(config.path, output_loading_info=True, **as_data)
        model, info = loaded
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"model.path: no {config.head} model could be loaded from {config.path!r}: {reason}"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise ValueError(
            f"model.path: {config.path!r} lacks {len(missing)} weights of a {config.head} model ({missing[0]}, …), "
            "which would be random. Use a checkpoint with that head, or model.head sequence-classification"
        )
    return model


def _with_adapter(model: Any, config: ModelConfig, seed: int) -> Any:
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    lora: LoraConfig = config.lora
    adapted = get_peft_model(
        model,
        PeftConfig(
            task_type=_PEFT_TASKS[config.head],
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=0.0,
            target_modules=lora.target_modules,
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        ),
    )
    for name, tensor in adapted.named_parameters():
        if ".lora_A." in name:  # U(±1/√fan_in) as PEFT draws it, but from the public counter
            values = uniform_values(seed, _adapter_name(name), tensor.numel(), 1.0 / math.sqrt(tensor.shape[1]))
            tensor.data.copy_(torch.from_numpy(values).view(tensor.shape))
    return adapted


def _linear_weights(model: Any, head: str) -> set[str]:
    """Return the names of all linear layers' weights except the vocabulary's, and of all weights of a new head.

    PEFT's `all-linear` makes the same choice, and leaves a new head, which must train, to `modules_to_save`.
    """
    vocabulary = model.get_output_embeddings()
    names = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not vocabulary
    }
    if head == "sequence-classification":
        names |= {name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")}
    return names


def _belongs_to_adapter(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name or ".modules_to_save." in name


def _adapter_name(name: str) -> str:
    """Return the name under which PEFT saves the tensor."""
    return name.replace(".default", "").replace(".modules_to_save", "")
