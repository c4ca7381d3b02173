"""Loads what lies at `model.path` as a model for forward passes, and finds its trainable tensors."""

from typing import Any

import torch
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from trainers.config import ModelConfig
from trainers.evaluators.adapter_names import belongs_to_adapter, saved_name
from trainers.evaluators.checkpoint import read_checkpoint
from trainers.evaluators.layers import names_in_layers
from trainers.evaluators.model_files import adapter_base


def load_model(config: ModelConfig, *, num_labels: int, pad_token_id: int, seed: int, device: str) -> Any:
    """Load the model in float32 and evaluation mode, with an adapter if `config.trainable` is lora.

    If an adapter lies at `config.path`, its base model is loaded: with lora that adapter goes on training, otherwise it
    is merged first. A new adapter, and a classification head that the checkpoint lacks, begin with values of `seed`:
    every worker and every restart begins with the same bits.

    Raises:
        ValueError: the path has no model of that kind, or not all of it.
    """
    transformers_logging.disable_progress_bar()  # it would hide the progress bar of a sweep
    transformers_logging.set_verbosity_error()  # it reports a new head, which is expected here
    base = adapter_base(config.path)
    loaded = read_checkpoint(config, base or config.path, num_labels=num_labels, pad_token_id=pad_token_id, seed=seed)
    model = loaded.model
    if config.trainable == "lora" or base is not None:
        from trainers.evaluators import adapter  # only here: PEFT takes long to import

        if base is None:
            model = adapter.with_new_adapter(loaded, config, seed)
        elif config.trainable == "lora":
            model = adapter.with_adapter_of(model, config)
        else:
            model = adapter.with_merged_adapter(model, config)
    model.requires_grad_(False)
    return model.to(device).eval()


def rounded_to(dtype: str, model: torch.nn.Module) -> None:
    """Convert all weights to 'float32' or 'bfloat16'; buffers, such as rotary frequencies, stay exact."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype))


def trainable_parameters(model: torch.nn.Module, config: ModelConfig) -> dict[str, torch.nn.Parameter]:
    """Return Hugging Face name → trainable parameter; tied parameters appear once, under their first name."""
    named = dict(model.named_parameters())
    if config.layers != "all":
        chosen = names_in_layers(model, named, config.layers, config.head)
        named = {name: tensor for name, tensor in named.items() if name in chosen}
    if config.trainable == "lora":
        named = {saved_name(name): tensor for name, tensor in named.items() if belongs_to_adapter(name)}
        if config.lora.train == "b":
            named = _without_first_factors(named)
    elif config.trainable == "all-linear":
        chosen = _linear_weights(model, config.head)
        named = {name: tensor for name, tensor in named.items() if name in chosen}
    return {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}


def _without_first_factors(named: dict[str, torch.nn.Parameter]) -> dict[str, torch.nn.Parameter]:
    embedding = next((name for name in named if ".lora_embedding_" in name), None)
    if embedding is not None:
        raise ValueError(f"model.lora.train: b cannot train {embedding}: leave embeddings out of lora.target_modules")
    return {name: tensor for name, tensor in named.items() if ".lora_A." not in name}


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
