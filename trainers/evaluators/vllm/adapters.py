"""The adapters of an engine, from the model's config.json: their rank, their shapes, and whether memory holds them.

Adapters are the LoRA adapter that trains, or the form in which an engine reads low-rank probes of a model's own
weights. Nothing here imports vLLM.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.config import RunConfig

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of vLLM's slots; an adapter of another rank takes the next larger."""
DEFAULT_SLOTS = 8
"""Number of slots by default."""
ATTENTION_LAYERS = ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "out_proj")
"""Those of the attention; the whole choice of a LoRA adapter where PEFT has none (`adapter_targets`)."""
LINEAR_LAYERS = (
    *ATTENTION_LAYERS,
    *("gate_proj", "up_proj", "gate_up_proj", "down_proj", "fc1", "fc2", "project_in", "project_out"),
)
"""Last parts of the names of the linear layers that vLLM gives adapters to."""
_WITHOUT_ADAPTERS = {"GPT2LMHeadModel"}
_FUSED = ({"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"})


def probe_rank(config: RunConfig) -> int:
    """Return the rank of the probes that an engine reads as adapters over the model's own weights; 0 if there are none.

    Such probes are low-rank directions of linear layers only (a vector has no such form), without a mask, of an
    architecture and a rank that vLLM has adapters for, on a device whose adapters are exact.
    """
    method = config.method
    if config.model.trainable != "all-linear" or method.direction != "low-rank" or method.mask is not None:
        return 0
    if not adapters_are_exact(config):
        return 0
    has_adapters = not _WITHOUT_ADAPTERS & set(model_config(config.model.path).get("architectures") or [])
    return method.direction_rank if has_adapters and slot_rank(method.direction_rank) else 0


def adapters_are_exact(config: RunConfig) -> bool:
    """Return whether the engine's adapters accept the model's type of number, and round a row alike each time.

    On GPUs their kernels accept half precision only, and add partial sums in any order unless they are batch-invariant.
    """
    if config.performance.device == "cpu":
        return True
    return config.model.dtype != "float32" and config.performance.vllm.batch_invariant


def lora_targets(model_type: str, wanted: Sequence[str] | None) -> list[str]:
    """Return the modules of a LoRA adapter: those wanted, PEFT's choice, or the layers of the attention."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as CHOICE

    return list(wanted or sorted(CHOICE.get(model_type, [])) or ATTENTION_LAYERS)


def slot_rank(rank: int) -> int | None:
    """Return the smallest rank of a vLLM slot that holds an adapter of this rank, or None."""
    return next((of_slot for of_slot in LORA_RANKS if of_slot >= rank), None)


def require_slots_fit(config: RunConfig, model: Mapping[str, Any]) -> None:
    """Check that the slots of a run, for LoRA or for low-rank probes, fit into memory without weights and cache.

    Args:
        config: of the run.
        model: values of the model's config.json.

    Raises:
        ValueError: they do not fit (the error shows the arithmetic), or vLLM has no slot of the rank.
    """
    lora = config.model.lora
    if config.model.trainable == "lora":
        field, wanted, targets = "model.lora.rank", lora.rank, lora.target_modules
    else:
        field, wanted, targets = "method.direction_rank", probe_rank(config), LINEAR_LAYERS
    if not wanted:
        return
    slots, rank = config.performance.vllm.max_loras or DEFAULT_SLOTS, slot_rank(wanted)
    if rank is None:
        raise ValueError(f"{field} {wanted}: vLLM has ranks up to {LORA_RANKS[-1]}")
    width = 4 if config.model.dtype == "float32" else 2
    of_slot = width * rank * sum(map(sum, adapted_shapes(model, targets)))
    free = _free_bytes(config)
    if slots * of_slot > free:
        raise ValueError(
            f"performance.vllm.max_loras: {slots} adapters of {of_slot / 1e6:,.1f} MB (rank {rank}, "
            f"{config.model.dtype}) are {slots * of_slot / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: "
            f"{free // of_slot} fit at most. Lower max_loras or {field}"
        )


def adapted_shapes(model: Mapping[str, Any], targets: Sequence[str] | None) -> list[tuple[int, int]]:
    """Return (input width, output width) of every matrix with an adapter, over all layers.

    vLLM fuses some matrices: an adapter on one of them takes memory for all of its group. Phi-3 stores them fused.
    """
    hidden = first_of(model, ("hidden_size", "n_embd")) or 0
    layers = first_of(model, ("num_hidden_layers", "n_layer")) or 0
    heads = first_of(model, ("num_attention_heads", "n_head")) or 1
    feed = first_of(model, ("intermediate_size", "ffn_dim", "n_inner")) or 4 * hidden
    width = model.get("head_dim") or hidden // heads
    queries, keys = heads * width, (model.get("num_key_value_heads") or heads) * width
    if "n_embd" in model:
        shapes = {"c_attn": (hidden, 3 * hidden), "c_fc": (hidden, feed), "c_proj": (hidden + feed, 2 * hidden)}
    else:
        shapes = {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys)}
        if "ffn_dim" in model:
            shapes |= {"out_proj": (queries, hidden), "fc1": (hidden, feed), "fc2": (feed, hidden)}
        else:
            shapes |= {"o_proj": (queries, hidden), "gate_proj": (hidden, feed), "up_proj": (hidden, feed)}
            shapes |= {"down_proj": (feed, hidden)}
    if model.get("model_type") == "phi3":
        shapes = {"o_proj": shapes["o_proj"], "down_proj": shapes["down_proj"]}
        shapes |= {"qkv_proj": (hidden, queries + 2 * keys), "gate_up_proj": (hidden, 2 * feed)}
    chosen = {name.rpartition(".")[2] for name in lora_targets(str(model.get("model_type")), targets)}
    for group in _FUSED:
        chosen |= group if group & chosen else set()
    return [shape for name, shape in shapes.items() if name in chosen] * layers


def _free_bytes(config: RunConfig) -> int:
    """Return the bytes that an engine may use: its share of the GPU, or on a CPU the memory that is free now."""
    if config.performance.device == "cpu":
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    import torch

    return int(torch.cuda.mem_get_info(config.performance.device)[1] * config.performance.vllm.memory_share)


def model_config(path: str) -> dict[str, Any]:
    """Return the values of a model's config.json, from its folder or the hub.

    Raises:
        ValueError: there is none.
    """
    from transformers import PretrainedConfig

    try:
        values, _ = PretrainedConfig.get_config_dict(path)
    except OSError as error:
        raise ValueError(f"model.path: {path!r} has no config.json that can be read") from error
    return values


def first_of(model: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """Return the first value that exists: architectures have different names for the same thing."""
    return next((int(model[name]) for name in names if model.get(name)), None)
