"""How a vLLM engine is started so that its losses can be trusted.

| setting                     | otherwise                                                                  |
|-----------------------------|----------------------------------------------------------------------------|
| no prefix cache             | the engine silently returns losses of earlier weights                      |
| no asynchronous scheduling  | log-probabilities may belong to other targets                              |
| no compilation, no graphs   | compiled code may hold a weight that moves                                 |
| cache of a stated size      | the engine takes all memory, and leaves none for θ                         |
| in this process             | each call goes to another process and back; several devices do need that   |
| no usage report             | a private run would be reported to vLLM's authors                          |
| threads shared by devices   | each of several workers on one CPU has all threads, and they wait in turns |
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trainers.config import ModelConfig, PerformanceConfig
from trainers.evaluators.vllm.adapters import DEFAULT_SLOTS, LINEAR_LAYERS, lora_targets, slot_rank
from trainers.evaluators.vllm.cpu_kernels import use_cpu_kernels

MAX_ROWS = 256  # of one pass
LEAST_TOKENS = 4096  # of the largest pass: longer rows than a small micro-batch can be read
_BLOCK = 32  # tokens of a cache block; the last block of a row is filled in part
_running: set[int] = set()  # ids of this process's engines


def start_engine(model: ModelConfig, performance: PerformanceConfig, shape: Any, *, probe_rank: int = 0) -> Any:
    """Return a vLLM `LLM` of a model that `checks.require_supported` accepts.

    Args:
        model: path, type of number and trainable parameters.
        performance: micro-batch size and the engine's settings.
        shape: the model's Hugging Face configuration.
        probe_rank: rank of low-rank probes that are read as adapters; 0 if there are none.
    """
    settings = performance.vllm
    _set_environment(settings.batch_invariant)
    _give_llvmlite_a_dict()
    with warnings.catch_warnings(), _threads_of_a_worker(settings.tensor_parallel):
        warnings.simplefilter("ignore")  # those of the engine do not help a user of dpzo
        from vllm import LLM

        use_cpu_kernels()
        set_num_threads, num_threads = torch.set_num_threads, torch.get_num_threads()
        try:
            engine = LLM(
                model=model.path,
                skip_tokenizer_init=True,
                trust_remote_code=False,
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
                disable_hybrid_kv_cache_manager=True,  # one group of blocks, of sliding windows too
                async_scheduling=False,
                disable_log_stats=True,
                use_tqdm_on_load=False,
                worker_extension_cls="trainers.evaluators.vllm.worker.ZoWorker",
                **_adapter_settings(model, performance, shape, probe_rank),
            )
        finally:
            torch.set_num_threads = set_num_threads  # the engine replaces it by a function that does nothing
            torch.set_num_threads(num_threads)
    # its finalizer would destroy state that other engines of this process share
    client: Any = engine.llm_engine.engine_core
    client._finalizer.detach()
    _running.add(id(engine))
    config = engine.llm_engine.vllm_config
    assert not config.cache_config.enable_prefix_caching
    assert not config.scheduler_config.async_scheduling
    return engine


def stop_engine(engine: Any) -> None:
    """Stop an engine and its workers; after the last engine, free what the engines of this process share."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    engine.llm_engine.engine_core.engine_core.model_executor.shutdown()
    _running.discard(id(engine))
    if not _running:
        cleanup_dist_env_and_memory()


def longest_row(performance: PerformanceConfig, shape: Any) -> int:
    """Return the length of the longest row that the engine reads: at most the model's positions, and one pass."""
    places = getattr(shape.get_text_config(), "max_position_embeddings", None)
    return min(places or _largest_pass(performance), _largest_pass(performance))


def _largest_pass(performance: PerformanceConfig) -> int:
    return max(performance.micro_batch_tokens, LEAST_TOKENS)


def _set_environment(batch_invariant: bool) -> None:
    """Set vLLM's environment variables, before it is imported. The user's log level stays."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ |= {
        "VLLM_BATCH_INVARIANT": str(int(batch_invariant)),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # it would bind two lanes of a sweep to the same core
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_USE_V2_MODEL_RUNNER": "1",  # the runner that `passes` knows
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }


@contextmanager
def _threads_of_a_worker(num_workers: int) -> Iterator[None]:
    """Let the workers that start in the body share this process's threads, unless the user chose their number."""
    if num_workers == 1 or "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // num_workers))
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _give_llvmlite_a_dict() -> None:
    """Let vLLM search numba's modules: an object in them returns a C function for every name, even `__dict__`."""
    from llvmlite.binding import ffi

    ffi.lib._fntab.setdefault("__dict__", {})


def _cache_bytes(model: ModelConfig, performance: PerformanceConfig, shape: Any) -> int:
    """Return the size of the attention cache in bytes: one pass of the largest size, with partly filled blocks."""
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
    if model.trainable != "lora" and not probe_rank:
        return {}
    trains = model.trainable == "lora"
    return {
        "enable_lora": True,
        "max_loras": performance.vllm.max_loras or DEFAULT_SLOTS,
        "max_lora_rank": slot_rank(model.lora.rank if trains else probe_rank),
        "lora_target_modules": lora_targets(shape.model_type, model.lora.target_modules)
        if trains
        else list(LINEAR_LAYERS),
    }
