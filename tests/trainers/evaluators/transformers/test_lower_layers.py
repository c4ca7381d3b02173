"""Layers that no probe moves are read once for all probes of a batch, and no bit of a loss changes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.models import MASK_ID, save_model, tokenizer
from trainers.config import LoraConfig, ModelConfig, PerformanceConfig
from trainers.directions import Direction
from trainers.evaluators.base import Example, Probe
from trainers.evaluators.transformers import evaluator as module
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.evaluators.transformers.lower_layers import LowerLayers

PROMPTS = [(2, 10, 11, 4, 5), (2, 8, 9, 10, 12, 11, 4, 5), (2, 4, 5)]
EXAMPLES = {
    "causal-lm": [Example(prompt, ((7,), (6,)), n % 2) for n, prompt in enumerate(PROMPTS)],
    "masked-lm": [Example((*p, MASK_ID, 3), ((7,), (6,)), n % 2, mask_place=len(p)) for n, p in enumerate(PROMPTS)],
    "sequence-classification": [Example(prompt, (), n % 2) for n, prompt in enumerate(PROMPTS)],
}
PROBES = [Probe(Direction(1, 0, k, "gaussian"), sign * 1e-2) for k in range(2) for sign in (1.0, -1.0)]
KINDS = [("llama", "causal-lm"), ("opt", "causal-lm"), ("gpt2", "causal-lm"), ("bert", "sequence-classification")]
KINDS += [("roberta", "masked-lm")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    return {name: str(save_model(tmp_path_factory.mktemp(name), name, head)) for name, head in KINDS}


def opened(path: str, head: str, **values: Any) -> TransformersEvaluator:
    targets = {"lora": LoraConfig(rank=2, target_modules=["query"])} if head != "causal-lm" else {}
    model = ModelConfig.model_validate({"path": path, "head": head, "layers": "last-1"} | targets | values)
    return TransformersEvaluator(model, PerformanceConfig(micro_batch_tokens=12), tokenizer(), num_labels=2, seed=0)


def count_reads(evaluator: TransformersEvaluator) -> list[int]:
    """Return a list that grows by the number of each layer that computes."""
    stack = evaluator._lower._layers[: evaluator._starts[None]]
    reads: list[int] = []
    for number, layer in enumerate(stack):
        for child in list(layer.children())[:1]:
            child.register_forward_hook(lambda *_, number=number: reads.append(number))
    return reads


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_losses_have_the_bits_of_whole_forward_passes(folders, kind, dtype):
    name, head = kind
    evaluator = opened(folders[name], head, dtype=dtype)
    assert evaluator._starts == {None: 1}
    once_PB = evaluator.probe(EXAMPLES[head], PROBES)
    evaluator._starts = {None: 0}
    assert np.array_equal(once_PB, evaluator.probe(EXAMPLES[head], PROBES))
    assert len({*once_PB[:, 0]}) > 1


def test_lower_layers_compute_once_a_batch(folders):
    evaluator = opened(folders["llama"], "causal-lm")
    reads = count_reads(evaluator)
    num_passes = len(evaluator.prepare(EXAMPLES["causal-lm"]))
    assert num_passes > 1
    evaluator.probe(EXAMPLES["causal-lm"], PROBES)
    assert len(reads) == num_passes
    evaluator.probe(EXAMPLES["causal-lm"], PROBES)  # nothing is kept from batch to batch
    assert len(reads) == 2 * num_passes
    evaluator.losses(EXAMPLES["causal-lm"])
    assert len(reads) == 3 * num_passes


def block_local(evaluator: TransformersEvaluator) -> list[Probe]:
    """Return a probe on each side of θ in each block, and one probe of all parameters, in no order of the layers."""
    blocks = evaluator.parameters.blocks()
    directions = [Direction(1, 0, k, "gaussian", block=block) for k, block in enumerate([*blocks[1:], None, blocks[0]])]
    return [Probe(z, sign * 1e-2) for z in directions for sign in (1.0, -1.0)]


@pytest.mark.parametrize(
    ("kind", "trainable"), [*((kind, "full") for kind in KINDS), (KINDS[0], "lora"), (KINDS[3], "lora")], ids=str
)
def test_block_local_probes_have_the_bits_of_whole_forward_passes(folders, kind, trainable):
    name, head = kind
    evaluator = opened(folders[name], head, layers="all", trainable=trainable)
    if trainable == "lora":
        evaluator.apply([(Direction(2, 0, 0, "gaussian"), 0.5)])
    digest, probes = evaluator.state_digest(), block_local(evaluator)
    once_PB = evaluator.probe(EXAMPLES[head], probes)
    starts = [evaluator._starts[block] for block in evaluator.parameters.blocks()]
    has_block_behind = name != "opt" and (trainable, head) != ("lora", "causal-lm")
    assert {*starts} == ({0, 1, 2} if has_block_behind else {0, 1})
    evaluator._starts = dict.fromkeys(evaluator._starts, 0)
    assert np.array_equal(once_PB, evaluator.probe(EXAMPLES[head], probes))
    assert len({*once_PB[:, 0]}) == len(probes)
    assert evaluator.state_digest() == digest


def test_a_block_local_step_reads_each_layer_below_a_block_once(folders):
    evaluator = opened(folders["llama"], "causal-lm", layers="all")
    probes = [probe for probe in block_local(evaluator) if probe.direction.block is not None]
    evaluator.probe(EXAMPLES["causal-lm"], probes)  # the starts are checked
    evaluator._starts[None] = 2
    reads = count_reads(evaluator)
    evaluator.probe(EXAMPLES["causal-lm"], probes)
    # the first pass behind the layers reads both; then both of layer 1; both of layer 0; both of the embeddings
    passes = len(evaluator.prepare(EXAMPLES["causal-lm"]))
    assert [reads.count(number) / passes for number in (0, 1)] == [5, 7]


@pytest.mark.parametrize("fails", [False, True])
def test_no_state_of_a_batch_outlives_it(fails):
    """Another pass may get the number in memory, `id`, of one that is gone."""
    layer, inputs = torch.nn.Linear(1, 1), [torch.ones(1)]
    lower, batch = LowerLayers([layer]), object()

    def forward(_: object) -> torch.Tensor:
        return layer(inputs[0])

    with pytest.raises(RuntimeError) if fails else nullcontext(), lower.read_once([1]):
        lower.read(batch, forward, 1)
        inputs[0] = 2 * inputs[0]
        assert lower.read(batch, forward, 1).equal(lower.read(batch, lambda _: layer(torch.ones(1)), 1))  # kept in it
        if fails:
            raise RuntimeError
    assert lower.read(batch, forward, 1).equal(layer(inputs[0]))
    assert "forward" not in vars(layer)


@pytest.mark.parametrize("trainable", ["all-linear", "lora"])
def test_what_trains_within_the_layers_does_not_matter(folders, trainable):
    evaluator = opened(folders["llama"], "causal-lm", trainable=trainable, lora=LoraConfig(rank=2))
    if trainable == "lora":
        evaluator.apply([(Direction(2, 0, 0, "gaussian"), 0.5)])
    once_PB = evaluator.probe(EXAMPLES["causal-lm"], PROBES)
    evaluator._starts = {None: 0}
    assert np.array_equal(once_PB, evaluator.probe(EXAMPLES["causal-lm"], PROBES))


def test_a_model_whose_lower_layers_move_is_read_whole(folders, monkeypatch, caplog):
    """As where an architecture computes with moved weights below the stack's moved layers."""
    monkeypatch.setattr(module, "lowest_layer", lambda stack, names: 2)
    evaluator = opened(folders["llama"], "causal-lm")
    assert evaluator._starts == {None: 0}
    assert "the lower layers of this model are read again for each probe" in caplog.text
