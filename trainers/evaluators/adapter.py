"""LoRA adapters (Hu et al., 2021, arXiv:2106.09685), by PEFT: a new one, one that goes on training, one that is merged.

Everything that PEFT adds to a model trains, and begins with values of the public seed, or with those of the adapter
that goes on. A merge gives the same bits on every machine, so that a release log replays anywhere: products of factors
are added up one rank after the other, in float64.
"""

import json
import math
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLora
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper, load_peft_weights
from transformers.pytorch_utils import Conv1D
from transformers.utils.peft_utils import find_adapter_config_file

from trainers.config import Head, LoraConfig, ModelConfig
from trainers.directions import uniform_values
from trainers.evaluators.adapter_names import saved_name
from trainers.evaluators.adapter_targets import target_modules
from trainers.evaluators.checkpoint import Loaded
from trainers.evaluators.layers import chosen_layers
from trainers.evaluators.model_files import one_line, readable

_TASKS: dict[Head, str | None] = {
    "causal-lm": "CAUSAL_LM",
    "sequence-classification": "SEQ_CLS",
    "masked-lm": None,
}
_FREE = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("inference_mode", "r", "lora_alpha", "lora_dropout", "fan_in_fan_out", "init_lora_weights"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
    "runtime_config",
}
"""Settings of an adapter that may have any value: the others change what it computes, or which weights it holds."""
_MERGED_ONLY = {"rank_pattern", "alpha_pattern", "use_rslora"}
"""Settings that a merge understands, and that an adapter of one rank and one scale does not have."""
_HOW_TO_MERGE = "merge it into its base model with PEFT's merge_and_unload, and use the merged model"
_A, _B, _EMBEDDING_A, _EMBEDDING_B = "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"
_STARTS = (True, False, "gaussian")  # others move the base weights when the adapter is made


def with_new_adapter(loaded: Loaded, config: ModelConfig, seed: int) -> Any:
    """Return the model with a LoRA adapter that begins as a zero map; its A is PEFT's law from the public counter.

    A classification head trains whole, and is saved with the adapter.

    Raises:
        ValueError: `lora.target_modules` names no layers, or PEFT does not adapt them.
    """
    model, new = loaded
    before = {id(tensor) for tensor in model.parameters()}
    settings = PeftLora(
        task_type=_TASKS[config.head],
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=0.0,
        layers_to_transform=None if config.layers == "all" else chosen_layers(model, config.layers),
        target_modules=target_modules(model, config.lora.target_modules),
        modules_to_save=_more_head_modules(model, new) if config.head == "sequence-classification" else None,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    with warnings.catch_warnings(action="ignore"):  # it warns of merging tied weights, which is refused here
        try:
            adapted = get_peft_model(model, settings)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise ValueError(f"model.lora: PEFT makes no such adapter: {one_line(error)}") from error
    settings.base_model_name_or_path = config.path
    for name, tensor in adapted.named_parameters():
        if id(tensor) not in before:
            _begin(name, tensor, seed)
    return adapted


def with_adapter_of(model: Any, config: ModelConfig) -> Any:
    """Return the model with the adapter that lies at `config.path`, to go on training it.

    Raises:
        ValueError: it is no plain LoRA adapter, it lacks weights, or `model.lora` asks for another.
    """
    adapted = _read(model, config.path, _FREE)
    _require_as_configured(adapted.peft_config["default"], config)
    return adapted


def with_merged_adapter(model: Any, config: ModelConfig) -> Any:
    """Return the model with the adapter that lies at `config.path` merged into its weights.

    Raises:
        ValueError: it is no LoRA adapter that is merged exactly, or it lacks weights.
    """
    adapted = _read(model, config.path, _FREE | _MERGED_ONLY)
    shared = _shared_weights(adapted)
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            _require_one_place([layer.get_base_layer().weight], shared, config.path)
            _merge(layer)
        elif isinstance(layer, ModulesToSaveWrapper):
            _require_one_place(layer.original_module.parameters(), shared, config.path)
    return adapted.base_model.unload()


def _more_head_modules(model: Any, new: frozenset[str]) -> list[str] | None:
    """Return what PEFT does not know as the head of a classifier: other modules of it, and a pooler that is new."""
    head = [name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")]
    names = {name.partition(".")[0] for name in head} | {"pooler" for name in new if ".pooler." in name}
    return sorted(name for name in names if not name.endswith(("classifier", "score"))) or None


def _begin(name: str, tensor: torch.Tensor, seed: int) -> None:
    """Give a new parameter its first values: U(±1/√fan_in) as PEFT draws A, variance 1 for B of an embedding, or 0."""
    parts = name.split(".")
    if "modules_to_save" in parts:
        return  # a copy of the module
    if _A in parts or _EMBEDDING_B in parts:
        bound = math.sqrt(3.0) if _EMBEDDING_B in parts else 1.0 / math.sqrt(math.prod(tensor.shape[1:]))
        values = uniform_values(seed, saved_name(name), tensor.numel(), bound)
        tensor.data.copy_(torch.from_numpy(values).view(tensor.shape))
    elif _B not in parts and _EMBEDDING_A not in parts:
        raise ValueError(f"model.lora: PEFT makes {saved_name(name)}, which would not be trained. Choose other modules")


def _read(model: Any, path: str, free: set[str]) -> Any:
    """Return the model with the adapter of a folder; every tensor of it must be there."""
    with readable(path, "LoRA adapter"), warnings.catch_warnings(action="ignore"):  # of unknown settings: refused below
        settings = PeftConfig.from_pretrained(path)
        given = json.loads(Path(str(find_adapter_config_file(path))).read_text(encoding="utf-8"))
    if not isinstance(settings, PeftLora):
        raise ValueError(f"model.path: {path} is an adapter of another kind than LoRA: {_HOW_TO_MERGE}")
    plain = PeftLora()
    others = [
        name
        for name in {**given, **vars(settings)}  # a name that this PEFT does not know has no default
        if name not in free and getattr(settings, name, given.get(name)) != getattr(plain, name, None)
    ]
    if others or settings.init_lora_weights not in _STARTS:
        others = others or ["init_lora_weights"]
        raise ValueError(f"model.path: {path} is no plain LoRA adapter ({', '.join(others)}): {_HOW_TO_MERGE}")
    with readable(path, "LoRA adapter"), torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        saved = set(load_peft_weights(path, device="cpu"))
        adapted = PeftModel.from_pretrained(model, path, is_trainable=True)
        wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    if missing := sorted(wanted - saved):
        raise ValueError(
            f"model.path: the adapter in {path} lacks {len(missing)} weights ({missing[0]}); use a whole one"
        )
    return adapted


def _require_as_configured(settings: PeftLora, config: ModelConfig) -> None:
    lora: LoraConfig = config.lora
    own = settings.target_modules or ()
    own = {own} if isinstance(own, str) else set(own)  # PEFT reads one string as a pattern
    same_targets = lora.target_modules is None or set(lora.target_modules) == own
    if (settings.r, settings.lora_alpha) != (lora.rank, lora.alpha) or not same_targets:
        targets = ", ".join(sorted(own))
        raise ValueError(
            f"model.lora asks for rank {lora.rank} and alpha {lora.alpha}, and model.path is an adapter of rank "
            f"{settings.r} and alpha {settings.lora_alpha} over {targets}. To go on training it, set model.lora.rank: "
            f"{settings.r} and model.lora.alpha: {settings.lora_alpha}, and leave model.lora.target_modules out; for a "
            "new adapter, merge this one into its base model with PEFT's merge_and_unload"
        )
    if config.head == "sequence-classification" and settings.task_type != "SEQ_CLS":
        raise ValueError(
            f"model.path: the adapter in {config.path} was not made for a classifier (task_type {settings.task_type}), "
            "so a classification head would not be saved with it. Use trainable: full, or merge the adapter first"
        )


def _require_one_place(weights: Iterable[Any], shared: set[int], path: str) -> None:
    if any(id(weight) in shared or weight.ndim > 2 for weight in weights):
        raise ValueError(
            f"model.path: {path} adapts a weight that the model uses in two places, or one that is no matrix, so it "
            "cannot be merged. Use trainable: lora, or another adapter"
        )


def _merge(layer: Any) -> None:
    """Add an adapter's product to the weight below it: W + scale · B A."""
    weight, (a_RI, b_OR) = layer.get_base_layer().weight, _factors(layer)
    product_OI = torch.zeros(b_OR.shape[0], a_RI.shape[1], dtype=torch.float64)
    for rank in range(a_RI.shape[0]):
        product_OI += torch.outer(b_OR[:, rank], a_RI[rank])
    if layer.lora_embedding_A or getattr(layer, "fan_in_fan_out", False):  # both keep their weights as [I, O]
        product_OI = product_OI.T
    weight.data = (weight.data.double() + layer.scaling["default"] * product_OI).to(weight.dtype)


def _factors(layer: Any) -> Iterator[torch.Tensor]:
    """Give A [R, I] and B [O, R] of a layer, float64."""
    if "default" in layer.lora_embedding_A:
        return (tensors["default"].data.double() for tensors in (layer.lora_embedding_A, layer.lora_embedding_B))
    return (tensors["default"].weight.data.double() for tensors in (layer.lora_A, layer.lora_B))


def _shared_weights(model: torch.nn.Module) -> set[int]:
    """Return the ids of the parameters that several modules hold, such as a tied embedding."""
    seen: set[int] = set()
    shared: set[int] = set()
    for _, tensor in model.named_parameters(remove_duplicate=False):
        (shared if id(tensor) in seen else seen).add(id(tensor))
    return shared
