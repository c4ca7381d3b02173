"""Further families of models on the real vLLM, held to the transformers evaluator.

All of them, in each way to train and on two devices: pytest -m vllm_all.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from tests.contract.test_evaluators import MANY_TOKENS, ONE_TOKEN, OWN_OPTIONS, TARGET, Z, moved, one_thread
from tests.contract.test_evaluators_vllm import LOW_RANK, PROBE_RANK, Case, model_of, start
from tests.support.models import FAMILIES, tokenizer
from trainers.config import PerformanceConfig
from trainers.evaluators.base import Probe
from trainers.evaluators.transformers.evaluator import TransformersEvaluator

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.xdist_group("vllm"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]
__all__ = ["one_thread"]

ALWAYS = [Case("gemma3"), Case("phi3", "all-linear")]  # windows and scaled embeddings; matrices that are stored fused
ALL = [
    Case(family, trainable, tensor_parallel=devices)
    for family in FAMILIES
    for trainable in ("full", "lora", "all-linear")
    for devices in (1, 2)
]
CASES = [*ALWAYS, *(pytest.param(case, marks=pytest.mark.vllm_all) for case in ALL if case not in ALWAYS)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_family_is_read_and_moved_as_by_transformers(case, tmp_path):
    model = model_of(tmp_path / "model", case)
    other = TransformersEvaluator(model, PerformanceConfig(), tokenizer(), num_labels=2, seed=0)
    evaluator = start(model, PROBE_RANK * case.low_rank, tensor_parallel=case.tensor_parallel)
    try:
        kinds = LOW_RANK if case.low_rank else Z
        probes = [Probe(z, sign * 1e-2) for z in kinds for sign in (1.0, -1.0)]
        for each in (evaluator, other):
            moved(each)
        before = evaluator.losses(MANY_TOKENS)
        for examples in (ONE_TOKEN, MANY_TOKENS, OWN_OPTIONS, TARGET):
            np.testing.assert_allclose(evaluator.losses(examples), other.losses(examples), rtol=0, atol=1e-4)
            np.testing.assert_allclose(
                evaluator.probe(examples, probes), other.probe(examples, probes), rtol=0, atol=1e-4
            )
        np.testing.assert_array_equal(evaluator.losses(MANY_TOKENS), before)
        for step in range(50):
            update = [(replace(kinds[1], step=step), 1e-3 * (step - 25))]
            for each in (evaluator, other):
                each.apply(update)
        assert evaluator.state_digest() == other.state_digest()
        assert evaluator.generate(ONE_TOKEN, 8) == other.generate(ONE_TOKEN, 8)
        for name, each in (("vllm", evaluator), ("transformers", other)):
            each.export(tmp_path / name)
        (weights,) = (tmp_path / "vllm").glob("*.safetensors")
        assert weights.read_bytes() == (tmp_path / "transformers" / weights.name).read_bytes()
    finally:
        evaluator.close()
