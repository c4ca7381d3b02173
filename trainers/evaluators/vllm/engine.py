"""How a vLLM engine is started so that its losses can be trusted: no cache, no packing, no reordering, no telephone.

| setting                     | because otherwise                                                          |
|-----------------------------|----------------------------------------------------------------------------|
| no prefix cache             | losses of earlier weights come back, silently                              |
| no asynchronous scheduling  | log-probabilities may be those of other targets                            |
| no compilation, no graphs   | what is compiled may have read a weight that moves                         |
| cache of a stated size      | the engine takes all memory, and nothing is left for θ                     |
| in this process             | a call would be sent to another one and back; with several devices it is   |
| no usage report             | a private run would tell the world of itself                               |
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch

from trainers.config import ModelConfig, PerformanceConfig
from trainers.evaluators.vllm.adapters import DEFAULT_SLOTS, LINEAR_LAYERS, LORA_RANKS, room_for

MAX_ROWS = 256  # of one pass
LEAST_TOKENS = 4096  # of one pass: a row up to this length is read however small a micro-batch is
_BLOCK = 32  # tokens of a cache block; a row's last one is filled in part
_running: set[int] = set()  # engines of this process


def start_engine(model: ModelConfig, performance: PerformanceConfig, shape: Any, *, probe_rank: int = 0) -> Any:
    """Return a vLLM `LLM` for a model, with no weight moved yet.

    Args:
        model: which model, and what of it trains.
        performance: micro-batch size and the engine's own settings.
        shape: the model's Hugging Face configuration.
        probe_rank: of low-rank probes that are shown as adapters over the model's own weights; 0 for none.

    Raises:
        ValueError: the engine cannot do what is asked for.
    """
    settings = performance.vllm
    if settings.batch_invariant and performance.device == "cpu":
        raise ValueError(
            "performance.vllm.batch_invariant: the engine has such kernels for GPUs alone. Leave it out: on a CPU "
            "batch mates move a loss by rounding in float32, and not at all in bfloat16."
        )
    _set_environment(settings.batch_invariant)
    _give_llvmlite_a_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the engine's own, of no use to whoever runs a sweep
        from vllm import LLM

        set_num_threads, num_threads = torch.set_num_threads, torch.get_num_threads()
        try:
            engine = LLM(
                model=model.path,
                skip_tokenizer_init=True,
                dtype=model.dtype,
                tensor_parallel_size=settings.tensor_parallel,
                distributed_executor_backend="mp" if settings.tensor_parallel > 1 else "uni",
                gpu_memory_utilization=settings.memory_share,
                kv_cache_memory_bytes=_cache_bytes(model, performance, shape),
                block_size=_BLOCK,
                max_model_len=longest_row(performance, shape),
                max_num_batched_tokens=_largest_pass(performance),
                max_num_seqs=MAX_ROWS,
                enforce_eager=True,
                enable_prefix_caching=False,
                async_scheduling=False,
                disable_log_stats=True,
                use_tqdm_on_load=False,
                worker_extension_cls="trainers.evaluators.vllm.worker.ZoWorker",
                **_adapter_settings(model, performance, shape, probe_rank),
            )
        finally:
            torch.set_num_threads = set_num_threads  # the engine puts something in its place that does nothing
            torch.set_num_threads(num_threads)
    # it would take down, whenever it is collected, what another engine of this process still needs
    client: Any = engine.llm_engine.engine_core
    client._finalizer.detach()
    _running.add(id(engine))
    config = engine.llm_engine.vllm_config
    assert not config.cache_config.enable_prefix_caching
    assert not config.scheduler_config.async_scheduling
    return engine


def stop_engine(engine: Any) -> None:
    """Stop an engine and its workers; the last one takes down what the engines of this process share."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    engine.llm_engine.engine_core.engine_core.model_executor.shutdown()
    _running.discard(id(engine))
    if not _running:
        cleanup_dist_env_and_memory()


def longest_row(performance: PerformanceConfig, shape: Any) -> int:
    """Return the longest row that the engine has places for: those of the model, and no more than one pass holds."""
    places = getattr(shape.get_text_config(), "max_position_embeddings", None)
    return min(places or _largest_pass(performance), _largest_pass(performance))


def _largest_pass(performance: PerformanceConfig) -> int:
    return max(performance.micro_batch_tokens, LEAST_TOKENS)


def _set_environment(batch_invariant: bool) -> None:
    """Say what vLLM reads from the environment, before it is imported; what the user has said of its log stays."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ |= {
        "VLLM_BATCH_INVARIANT": str(int(batch_invariant)),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two lanes of a sweep would be bound to the same core
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_USE_V2_MODEL_RUNNER": "0",  # vllm_scoring speaks to the first one
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }


def _give_llvmlite_a_dict() -> None:
    """Let vLLM search numba's modules: one object in them answers to every name, `__dict__` too, with a C function."""
    from llvmlite.binding import ffi

    ffi.lib._fntab.setdefault("__dict__", {})


def _cache_bytes(model: ModelConfig, performance: PerformanceConfig, shape: Any) -> int:
    """Return the size of the attention cache, bytes: one pass of the largest size, in half-filled blocks."""
    text = shape.get_text_config()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    bytes_per_token = (
        2
        * text.num_hidden_layers
        * (getattr(text, "num_key_value_heads", None) or heads)
        * width
        * getattr(torch, model.dtype).itemsize
    )
    tokens = _largest_pass(performance) + (MAX_ROWS + 2) * _BLOCK
    return tokens * bytes_per_token // performance.vllm.tensor_parallel


def _adapter_settings(
    model: ModelConfig, performance: PerformanceConfig, shape: Any, probe_rank: int
) -> dict[str, Any]:
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as CHOICE

    if model.trainable != "lora" and not probe_rank:
        return {}
    trains = model.trainable == "lora"
    rank = model.lora.rank if trains else probe_rank
    if rank > LORA_RANKS[-1]:
        raise ValueError(f"lora.rank {rank}: vLLM takes ranks up to {LORA_RANKS[-1]}. Lower it.")
    chosen = model.lora.target_modules or sorted(CHOICE.get(shape.model_type, []))
    return {
        "enable_lora": True,
        "max_loras": performance.vllm.max_loras or DEFAULT_SLOTS,
        "max_lora_rank": room_for(rank),
        "lora_target_modules": chosen if trains else list(LINEAR_LAYERS),
    }
