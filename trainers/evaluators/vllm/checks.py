"""Checks of what vLLM cannot do, from the configuration and the model's config.json, before an engine starts.

An engine would report such a problem after a minute and from inside a worker, or not at all. Nothing here imports vLLM.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from trainers.config import RunConfig
from trainers.evaluators.base import Example
from trainers.evaluators.model_files import adapter_base, require_not_quantised
from trainers.evaluators.vllm.adapters import (
    adapters_are_exact,
    first_of,
    model_config,
    require_slots_fit,
)
from trainers.evaluators.vllm.package import require_vllm
from trainers.methods.catalogue import METHODS

ARCHITECTURES = {
    "OPTForCausalLM": "OPT",
    "LlamaForCausalLM": "Llama",
    "Qwen2ForCausalLM": "Qwen2",
    "GPT2LMHeadModel": "GPT-2",
    "Qwen3ForCausalLM": "Qwen3",
    "Gemma3ForCausalLM": "Gemma 3",
    "MistralForCausalLM": "Mistral",
    "Phi3ForCausalLM": "Phi-3/4",
}
"""Architectures whose losses and updates the contract tests compare with transformers."""
CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Widths of an attention head that the CPU kernels of vLLM 0.32 support."""
_CONTEXT = ("max_position_embeddings", "n_positions")


def require_supported(config: RunConfig, examples: Sequence[Example]) -> None:
    """Check that vLLM can evaluate the configured model, method and prompts on this machine.

    Args:
        config: with `performance.evaluator: vllm`.
        examples: public, made up; the longest of their continuations must fit after the longest prompt.

    Raises:
        ValueError: the first thing that vLLM cannot do, and what to do instead.
    """
    _require_forward_only(config)
    package = require_vllm(config.performance.device)
    if (base := adapter_base(config.model.path)) is not None:
        raise ValueError(
            f"model.path: {config.model.path} is an adapter over {base}, and performance.evaluator: vllm begins at "
            "whole models. Use performance.evaluator: transformers"
        )
    model = model_config(config.model.path)
    _require_architecture(model, config)
    require_not_quantised(model, config.model.path)
    _require_adapters(config)
    _require_devices(config, model, package.device)
    _require_context(config, model, examples)
    require_slots_fit(config, model)


def _require_adapters(config: RunConfig) -> None:
    lora = config.model.trainable == "lora"
    if config.performance.vllm.shared and not (lora and config.performance.vllm.scoring == "fast"):
        raise ValueError(
            "performance.vllm.shared: trials share base weights under LoRA, and scoring: fast; got model.trainable: "
            f"{config.model.trainable} and performance.vllm.scoring: {config.performance.vllm.scoring}. Leave it out"
        )
    if not lora:
        return
    if "lm_head" in (config.model.lora.target_modules or []):
        raise ValueError(
            "model.lora.target_modules: vLLM's adapters of lm_head are not reliable. Leave lm_head out, or use "
            "performance.evaluator: transformers"
        )
    if not adapters_are_exact(config):
        invariant = str(config.performance.vllm.batch_invariant).lower()
        raise ValueError(
            "model.trainable: lora: on GPUs vLLM's adapters accept half precision only, and round a row alike each "
            f"time only with batch_invariant: true; got model.dtype: {config.model.dtype} and performance.vllm."
            f"batch_invariant: {invariant}. Set both, or use performance.evaluator: transformers"
        )


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


def _require_architecture(model: Mapping[str, Any], config: RunConfig) -> None:
    name, path = (model.get("architectures") or ["none"])[0], config.model.path
    tested = ", ".join(ARCHITECTURES.values())
    if name not in ARCHITECTURES:
        raise ValueError(
            f"model.path: {path} is a {name}; performance.evaluator: vllm is tested with {tested}. Use "
            "performance.evaluator: transformers"
        )


def _require_devices(config: RunConfig, model: Mapping[str, Any], device: str) -> None:
    engine, heads = config.performance.vllm, first_of(model, ("num_attention_heads", "n_head"))
    if heads and heads % engine.tensor_parallel:
        raise ValueError(
            f"performance.vllm.tensor_parallel {engine.tensor_parallel} does not divide the model's {heads} attention "
            "heads"
        )
    if engine.graphs and (device != "cuda" or engine.tensor_parallel > 1):
        raise ValueError(
            "performance.vllm.graphs: CUDA graphs of passes are for one GPU; got "
            f"device {device} and tensor_parallel {engine.tensor_parallel}. Leave it out"
        )
    if device == "cuda":
        import torch

        if engine.tensor_parallel > torch.cuda.device_count():
            raise ValueError(
                f"performance.vllm.tensor_parallel {engine.tensor_parallel} needs as many GPUs; this machine has "
                f"{torch.cuda.device_count()}"
            )
        return
    if engine.batch_invariant:
        raise ValueError(
            "performance.vllm.batch_invariant: vLLM has these kernels for GPUs only; leave it out on a CPU"
        )
    width = model.get("head_dim") or (heads and (first_of(model, ("hidden_size", "n_embd")) or 0) // heads)
    if width and width not in CPU_HEAD_SIZES:
        sizes = ", ".join(map(str, CPU_HEAD_SIZES))
        raise ValueError(
            f"model.path: attention heads of width {width}; vLLM on a CPU supports {sizes}. Use "
            "performance.evaluator: transformers"
        )


def _require_context(config: RunConfig, model: Mapping[str, Any], examples: Sequence[Example]) -> None:
    context = first_of(model, _CONTEXT)
    if context is None:
        return
    longest = max((len(ids) for example in examples for ids in example.option_ids), default=1)
    prompt = config.task.max_tokens
    read = longest - 1  # the model predicts the last token, and does not read it
    if config.performance.vllm.scoring == "reference":
        read = longest + 1  # the engine reads all tokens, and writes one more
    if prompt + read > context:
        raise ValueError(
            f"task.max_tokens {prompt}: a prompt of {prompt} tokens with {longest} to follow takes {prompt + read} "
            f"positions, the model has {context}. Use at most {context - read}"
        )
