"""What vLLM cannot do, found before its engine starts: one clear line each, from the model's config.json alone.

Nothing here imports vLLM. What an engine says of such inputs, if it says anything, comes after a minute and from the
depth of a worker. Architectures are those whose losses and updates the contract tests compare with transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.config import RunConfig
from trainers.evaluators.base import Example
from trainers.evaluators.vllm_package import require_vllm
from trainers.methods.catalogue import METHODS

ARCHITECTURES = {
    "OPTForCausalLM": "OPT",
    "LlamaForCausalLM": "Llama",
    "Qwen2ForCausalLM": "Qwen2",
    "GPT2LMHeadModel": "GPT-2",
}
CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Widths of an attention head that the CPU kernels of vLLM 0.32 have."""
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM has room for; others take that of the next."""
DEFAULT_SLOTS = 8
"""Adapters held at once where the configuration says nothing."""
LINEAR_LAYERS = (
    *("q_proj", "k_proj", "v_proj", "o_proj", "out_proj"),
    *("gate_proj", "up_proj", "down_proj", "fc1", "fc2", "project_in", "project_out"),
)
"""Last names of the linear layers of architectures that vLLM gives adapters to."""
_WITHOUT_ADAPTERS = {"GPT2LMHeadModel"}
_FUSED = ({"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"})
_CONTEXT = ("max_position_embeddings", "n_positions")


def require_supported(config: RunConfig, examples: Sequence[Example]) -> None:
    """Check that vLLM can evaluate the configured model, method and prompts on this machine.

    Args:
        config: with `performance.evaluator: vllm`.
        examples: made up, public; their continuations follow the longest prompt.

    Raises:
        ValueError: the first thing that it cannot, and what to do instead.
    """
    _require_forward_only(config)
    package = require_vllm(config.performance.device)
    model = model_config(config.model.path)
    _require_architecture(model, config.model.path)
    if "quantization_config" in model:
        method = (model["quantization_config"] or {}).get("quant_method", "unknown")
        raise ValueError(
            f"model.path: the weights of {config.model.path} are quantised ({method}), and directions move numbers "
            "that are not. Use the model in float32, bfloat16 or float16"
        )
    _require_devices(config, model, package.device)
    _require_context(config, model, examples)
    if config.model.trainable == "lora":
        _require_slots_fit(config, model, "model.lora.rank", config.model.lora.rank, config.model.lora.target_modules)
    elif rank := probe_rank(config):
        _require_slots_fit(config, model, "method.direction_rank", rank, LINEAR_LAYERS)


def probe_rank(config: RunConfig) -> int:
    """Return the rank of the probes that an engine shows as adapters over the model's own weights; 0 where it writes.

    They are low-rank directions of linear layers alone (a vector has no such form), without a mask, of an architecture
    and a rank that vLLM has adapters for.
    """
    method = config.method
    if config.model.trainable != "all-linear" or method.direction != "low-rank" or method.mask is not None:
        return 0
    has_adapters = not _WITHOUT_ADAPTERS & set(model_config(config.model.path).get("architectures") or [])
    return method.direction_rank if has_adapters and room_for(method.direction_rank) else 0


def room_for(rank: int) -> int | None:
    """Return the least rank that vLLM has room for and that holds this one; None where there is none."""
    return next((room for room in LORA_RANKS if room >= rank), None)


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


def _require_forward_only(config: RunConfig) -> None:
    if METHODS[config.method.name].order == "first":
        raise ValueError(
            f"performance.evaluator: vllm has no gradients, and {METHODS[config.method.name].title} needs them. Use "
            "performance.evaluator: transformers, or a zeroth-order method"
        )
    if config.model.head != "causal-lm":
        raise ValueError(
            f"performance.evaluator: vllm evaluates causal models, not model.head: {config.model.head}. Use "
            "performance.evaluator: transformers"
        )


def _require_architecture(model: Mapping[str, Any], path: str) -> None:
    names = model.get("architectures") or ["none"]
    if names[0] not in ARCHITECTURES:
        tested = ", ".join(ARCHITECTURES.values())
        raise ValueError(
            f"model.path: {path} is a {names[0]}; with performance.evaluator: vllm these are tested: {tested}. Use "
            "performance.evaluator: transformers"
        )


def _require_devices(config: RunConfig, model: Mapping[str, Any], device: str) -> None:
    engine, heads = config.performance.vllm, _first(model, ("num_attention_heads", "n_head"))
    if heads and heads % engine.tensor_parallel:
        raise ValueError(
            f"performance.vllm.tensor_parallel {engine.tensor_parallel} does not divide the model's {heads} attention "
            "heads"
        )
    if device == "cuda":
        import torch

        if engine.tensor_parallel > torch.cuda.device_count():
            raise ValueError(
                f"performance.vllm.tensor_parallel {engine.tensor_parallel} wants as many GPUs; this machine has "
                f"{torch.cuda.device_count()}"
            )
        return
    if engine.batch_invariant:
        raise ValueError("performance.vllm.batch_invariant: these kernels are for GPUs; leave it out on a CPU")
    width = model.get("head_dim") or (heads and (_first(model, ("hidden_size", "n_embd")) or 0) // heads)
    if width and width not in CPU_HEAD_SIZES:
        sizes = ", ".join(map(str, CPU_HEAD_SIZES))
        raise ValueError(
            f"model.path: attention heads of width {width}; vLLM on a CPU has {sizes}. Use performance.evaluator: "
            "transformers"
        )


def _require_context(config: RunConfig, model: Mapping[str, Any], examples: Sequence[Example]) -> None:
    context = _first(model, _CONTEXT)
    if context is None:
        return
    longest = max((len(ids) for example in examples for ids in example.option_ids), default=1)
    prompt = config.task.max_tokens
    read = longest - 1  # the last token is predicted, and is not read
    if config.performance.vllm.scoring == "reference":
        read = longest + 1  # the engine's own scores: all is read, and it writes one more
    if prompt + read > context:
        raise ValueError(
            f"task.max_tokens {prompt}: a prompt of {prompt} tokens with {longest} to follow takes {prompt + read} "
            f"positions, the model has {context}. Use at most {context - read}"
        )


def _require_slots_fit(
    config: RunConfig, model: Mapping[str, Any], field: str, wanted: int, targets: Sequence[str] | None
) -> None:
    """Refuse adapters that alone, without weights and keys, exceed the memory."""
    slots, rank = config.performance.vllm.max_loras or DEFAULT_SLOTS, room_for(wanted)
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
    """Return (input width, output width) of every matrix that holds an adapter, over all layers.

    vLLM fuses some: an adapter on one matrix of such a group takes memory for all of the group.
    """
    hidden, layers = _first(model, ("hidden_size", "n_embd")) or 0, _first(model, ("num_hidden_layers", "n_layer")) or 0
    heads = _first(model, ("num_attention_heads", "n_head")) or 1
    feed = _first(model, ("intermediate_size", "ffn_dim", "n_inner")) or 4 * hidden
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
    chosen = {name.rpartition(".")[2] for name in targets} if targets else {"q_proj", "c_attn"}  # PEFT's choice, fused
    for group in _FUSED:
        chosen |= group if group & chosen else set()
    return [shape for name, shape in shapes.items() if name in chosen] * layers


def _free_bytes(config: RunConfig) -> int:
    """Return what an engine may take: of the GPU its share, of a machine without one what is free now."""
    if config.performance.device == "cpu":
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    import torch

    return int(torch.cuda.mem_get_info(config.performance.device)[1] * config.performance.vllm.memory_share)


def _first(model: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """Return the first of the values that is there: architectures call the same thing differently."""
    return next((int(model[name]) for name in names if model.get(name)), None)
