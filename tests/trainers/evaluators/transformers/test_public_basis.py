"""Bases from public rows on real models: what they span, for each kind of layer, and what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.models import save_model, tokenizer
from trainers.config import LoraConfig, ModelConfig, PerformanceConfig
from trainers.directions import Direction
from trainers.evaluators.base import Example, Probe
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.evaluators.transformers.public_basis import input_basis

PUBLIC = [Example((2, 8 + n % 5, 10, 4 + n % 7, 5)[: 3 + n % 3], ((7,), (6,)), n % 2) for n in range(12)]
FIXED_A = {"init": "activation", "train": "b"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), "llama")


def opened(path: Path, trainable: str = "all-linear", dtype: str = "float32", **lora: Any) -> TransformersEvaluator:
    values = {"path": str(path), "trainable": trainable, "dtype": dtype, "lora": LoraConfig(rank=2, **lora)}
    model = ModelConfig.model_validate(values)
    return TransformersEvaluator(model, PerformanceConfig(), tokenizer(), num_labels=0, seed=0)


def energy_held(inputs_TN: torch.Tensor, basis_NR: torch.Tensor) -> float:
    return float(((inputs_TN @ basis_NR) ** 2).sum() / (inputs_TN**2).sum())


@pytest.mark.parametrize("rank", [1, 3])
def test_a_basis_holds_as_much_energy_as_the_exact_one(rank):
    generator = torch.Generator().manual_seed(3)
    layer = torch.nn.Linear(20, 4)
    spectrum = 0.6 ** torch.arange(20)
    batches = [torch.randn(50, 20, generator=generator) * spectrum + 0.2 for _ in range(3)]
    basis = input_basis({"w": layer}, batches, layer, rank).parts["w"]
    inputs = torch.cat(batches)
    exact = torch.linalg.svd(inputs.double(), full_matrices=False)[2][:rank].T.float()
    assert torch.allclose(basis.T @ basis, torch.eye(rank), atol=1e-5)
    assert energy_held(inputs, basis) > 0.9999 * energy_held(inputs, exact)


def test_padding_is_no_input():
    layer, tokens = torch.nn.Linear(3, 2), torch.tensor([[[1.0, 0, 0], [0, 9, 9]], [[2.0, 0, 0], [0, 9, 9]]])
    batch = SimpleNamespace(attention_mask_RL=torch.tensor([[1, 0], [1, 0]]), inputs=tokens)
    basis = input_basis({"w": layer}, [batch], lambda of: layer(of.inputs), 1).parts["w"]
    assert torch.allclose(basis.abs(), torch.tensor([[1.0], [0], [0]]))


def test_every_linear_layer_has_a_basis_of_its_inputs(llama):
    evaluator = opened(llama)
    basis = evaluator.activation_basis(PUBLIC, 2)
    shapes = {name: tuple(tensor.shape) for name, tensor in evaluator.parameters.theta().items()}
    assert {name: (part.shape[0], part.shape[1]) for name, part in basis.parts.items()} == {
        name: (shape[1], 2) for name, shape in shapes.items()
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_moves_a_layer_by_rank_r_in_the_span_of_its_inputs(llama, dtype):
    evaluator, direction = opened(llama, dtype=dtype), Direction(1, 0, 0, "activation", 2)
    before = {name: tensor.clone() for name, tensor in evaluator.parameters.theta().items()}
    basis = evaluator.activation_basis(PUBLIC, 2)
    evaluator.use_basis(basis)
    digest = evaluator.state_digest()
    losses_PB = evaluator.probe(PUBLIC, [Probe(direction, sign * 1e-2) for sign in (1.0, -1.0)])
    assert (losses_PB[0] != losses_PB[1]).any()
    assert evaluator.state_digest() == digest
    evaluator.apply([(direction, 0.1)])
    for name, tensor in evaluator.parameters.theta().items():
        moved = (tensor - before[name]).double()
        vectors = basis.parts[name].double()
        assert torch.linalg.matrix_rank(moved, atol=1e-4) == 2
        assert torch.allclose(moved @ vectors @ vectors.T, moved, atol=1e-5)
    evaluator.reset()
    assert evaluator.state_digest() == digest


def test_an_adapter_with_a_fixed_a_trains_b_alone(llama, tmp_path):
    evaluator = opened(llama, "lora", **FIXED_A)
    assert all(".lora_B." in name for name in evaluator.parameters.theta())
    basis = evaluator.activation_basis(PUBLIC, 2)
    evaluator.use_basis(basis)
    evaluator.apply([(Direction(1, 0, 0, "gaussian"), 0.1)])
    evaluator.export(tmp_path)
    from peft.utils import load_peft_weights

    saved = load_peft_weights(str(tmp_path), device="cpu")
    assert {name for name in saved if ".lora_A." in name} == set(basis.parts)
    assert all(torch.equal(saved[name], part.T) for name, part in basis.parts.items())


def test_b_alone_trains_over_a_random_a_as_well(llama):
    evaluator = opened(llama, "lora", train="b")
    losses = evaluator.losses(PUBLIC)
    evaluator.apply([(Direction(1, 0, 0, "gaussian"), 0.1)])
    assert (evaluator.losses(PUBLIC) != losses).any()


def test_gradients_are_those_of_the_mean_loss_of_each_batch(llama):
    evaluator = opened(llama, "full")
    basis = evaluator.gradient_basis([PUBLIC[:6], PUBLIC[6:]])
    squares = sum(part.double().square().flatten(1).sum(1) for part in basis.parts.values())
    assert np.allclose(squares, [1.0, 1.0], atol=0.02)  # bfloat16
    evaluator.use_basis(basis)
    slope = np.diff(evaluator.probe(PUBLIC[:6], _along(evaluator, basis, 0)), axis=0).mean()
    assert slope < 0  # against the first gradient the first batch's loss falls


def _along(evaluator, basis, number: int) -> list[Probe]:
    """Return probes on both sides of θ along the first of two gradients, as mixes of the directions of a step."""
    from trainers.directions.basis import Basis
    from trainers.directions.counter import basis_coordinates

    direction = Direction(1, 0, 0, "public-gradient", 1)
    evaluator.use_basis(Basis({name: part[number : number + 1] for name, part in basis.parts.items()}))
    sign = float(np.sign(basis_coordinates(direction, "", 1)[0, 0]))
    return [Probe(direction, sign * 1e-2), Probe(direction, -sign * 1e-2)]


def test_a_rank_above_a_layers_width_is_refused(llama):
    with pytest.raises(ValueError, match=r"^the rank 65 of the activation basis is above the 64 inputs of"):
        opened(llama).activation_basis(PUBLIC, 65)


def test_layers_that_keep_inputs_first_are_refused(tmp_path):
    evaluator = opened(save_model(tmp_path, "gpt2"))
    with pytest.raises(ValueError, match="as GPT-2's are"):
        evaluator.activation_basis(PUBLIC, 1)


def test_inputs_that_are_no_numbers_are_refused():
    layer = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"^data\.public: the inputs of w are not finite"):
        input_basis({"w": layer}, [torch.full((4, 3), torch.inf)], partial(layer), 1)
