"""What has gone wrong with this engine before, each provoked: it is refused, or does no harm."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from tests.contract.test_evaluators import MANY_TOKENS, ONE_TOKEN, PROBES, TARGET, Z, one_thread
from tests.contract.test_evaluators_vllm import Case, model_of, start, worker_of
from tests.support.models import tokenizer
from trainers.config import PerformanceConfig
from trainers.directions import direction_values
from trainers.evaluators.base import Example
from trainers.evaluators.vllm.evaluator import VllmEvaluator

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.xdist_group("vllm"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]
__all__ = ["one_thread"]


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory):
    opened = start(model_of(tmp_path_factory.mktemp("model"), Case("llama")))
    yield opened
    opened.close()


def test_packed_weights_are_refused(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm import _custom_ops

        from trainers.evaluators.vllm import worker as vllm_worker

    assert not _custom_ops._supports_onednn, vllm_worker.__doc__
    monkeypatch.setattr(_custom_ops, "_supports_onednn", True)
    with pytest.raises(ValueError, match=r"a packed copy of model\.layers\.0\.self_attn\.qkv_proj\.weight"):
        start(model_of(tmp_path, Case("llama")))


def test_an_engine_with_a_prefix_cache_is_not_used(tmp_path, monkeypatch, evaluator):
    config = evaluator._engine.llm_engine.vllm_config
    assert not config.cache_config.enable_prefix_caching
    assert not config.scheduler_config.async_scheduling
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import vllm

    started, engine = [], vllm.LLM

    def otherwise(**settings):
        started.append(engine(**{**settings, "enable_prefix_caching": True}))
        return started[0]

    monkeypatch.setattr(vllm, "LLM", otherwise)
    with pytest.raises(AssertionError):
        start(model_of(tmp_path, Case("llama")))
    assert started


def test_layers_of_one_shape_move_in_different_directions(evaluator):
    """Looked at where the engine computes: fused, and not as they are exported."""
    model = worker_of(evaluator).model_runner.model
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    evaluator.probe(ONE_TOKEN, [PROBES[2]])
    moves = {name: (tensor - before[name]) / PROBES[2].scale for name, tensor in model.named_parameters()}
    first, second = (moves[f"model.layers.{layer}.self_attn.qkv_proj.weight"] for layer in (0, 1))
    assert not torch.equal(first.sign(), second.sign())
    width = first.shape[1]
    parts = [
        torch.from_numpy(direction_values(Z[1], f"model.layers.0.self_attn.{part}_proj.weight", rows * width))
        for part, rows in (("q", 64), ("k", 32), ("v", 32))
    ]
    torch.testing.assert_close(first.reshape(-1), torch.cat(parts), rtol=0, atol=1e-3)
    evaluator.losses(ONE_TOKEN)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())


def test_engines_of_one_process_do_not_disturb_each_other(evaluator, tmp_path):
    """A second one, with smaller batches, is started, gives the same losses and is stopped."""
    model = model_of(tmp_path, Case("llama"))
    small = VllmEvaluator(model, PerformanceConfig(micro_batch_tokens=8), tokenizer(), num_labels=0, seed=0)
    for examples in (MANY_TOKENS, TARGET):
        np.testing.assert_allclose(small.losses(examples), evaluator.losses(examples), rtol=0, atol=1e-5)
    small.close()
    evaluator.probe(ONE_TOKEN, PROBES)
    assert evaluator.generate(ONE_TOKEN[:1], 2)


def test_a_row_longer_than_a_pass_is_refused_by_the_setting_that_would_help(evaluator, monkeypatch):
    monkeypatch.setattr(evaluator, "_longest", 5)
    with pytest.raises(ValueError, match=r"performance\.micro_batch_tokens: a row is longer than the 5 tokens"):
        evaluator.losses(MANY_TOKENS)


def test_a_prompt_that_fills_the_model_has_no_answer(evaluator):
    full = Example((4,) * 64, ((7,),), 0)
    assert evaluator.generate([full, *ONE_TOKEN], 5) == ["", *evaluator.generate(ONE_TOKEN, 5)]


def test_an_adapter_where_the_engine_has_none_is_refused(tmp_path):
    model = model_of(tmp_path, Case("gpt2", "lora"), target_modules=["c_attn"])
    with pytest.raises(ValueError, match="does not support LoRA"):
        start(model)
