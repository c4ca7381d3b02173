"""Gradients of units against one-at-a-time autograd on the plain library model."""

import logging

import numpy as np
import pytest
import torch
from opacus.grad_sample.grad_sample_module import GradSampleHooks
from torch.nn.functional import cross_entropy

import trainers.first_order.gradients as gradients_module
from tests.trainers.first_order.conftest import CLASSES, ONE_TOKEN, UNEQUAL_OPTIONS, examples_of
from trainers.evaluators.base import Example
from trainers.first_order.gradients import UnitGradients
from trainers.first_order.proof import open_gradients

HOOKED = ["llama", "llama-tied", "gpt2", "bert"]
KINDS = [(name, trainable) for name in [*HOOKED, "opt"] for trainable in ("full", "lora")]
KINDS += [(name, "all-linear") for name in ("llama", "gpt2", "bert")]


def flat(gradient: dict[str, torch.Tensor], unit: int = 0) -> np.ndarray:
    return np.concatenate([tensor[unit].double().numpy().ravel() for _, tensor in sorted(gradient.items())])


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert np.linalg.norm(wanted) > 0
    assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted)


def library_gradient(evaluator, example: Example) -> dict[str, torch.Tensor]:
    """The gradient of one example, unpadded, by the library's own forward pass."""
    with evaluator.differentiable() as (model, trained):
        if not example.option_ids:
            loss = cross_entropy(
                model(input_ids=torch.tensor([example.prompt_ids])).logits, torch.tensor([example.label])
            )
        else:
            scores = []
            for option in example.option_ids:
                ids = torch.tensor([[*example.prompt_ids, *option]])
                places = model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]
                share_place = all(len(one) == 1 for one in example.option_ids)  # then logits are compared
                values = places if share_place else places.log_softmax(-1)
                scores.append(values.gather(1, torch.tensor(option)[:, None]).mean())
            stacked = torch.stack(scores)
            loss = -stacked[0] if len(scores) == 1 else stacked.logsumexp(0) - stacked[example.label]
        found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return {
        name: (torch.zeros_like(parameter) if one is None else one)[None]
        for (name, parameter), one in zip(trained.items(), found, strict=True)
    }


@pytest.mark.parametrize(("architecture", "trainable"), KINDS)
def test_a_gradient_is_the_examples_own(evaluator_of, architecture, trainable):
    evaluator, examples = evaluator_of(architecture, trainable), examples_of(architecture)
    gradients = open_gradients(evaluator, examples, max_tokens=4096, private=True)
    assert gradients.by_opacus == (architecture in HOOKED or trainable == "lora")
    total = np.zeros(evaluator.parameter_count)
    number = 0
    for one_pass in gradients([[example] for example in examples]):
        for unit in range(len(next(iter(one_pass.values())))):
            total += flat(one_pass, unit)
            number += 1
    assert number == len(examples)
    references = [flat(library_gradient(evaluator, example)) for example in examples]
    assert_close(total, sum(references))
    if gradients.by_opacus:
        together = gradients.together([[example] for example in examples])
        for unit, wanted in enumerate(references):
            assert_close(flat(together, unit), wanted)


@pytest.mark.parametrize("architecture", ["llama-tied", "bert"])
def test_a_units_gradient_is_the_mean_of_its_examples(evaluator_of, architecture):
    evaluator, examples = evaluator_of(architecture), examples_of(architecture)
    gradients = UnitGradients(evaluator, 4096)
    unit_of_three = gradients.together([examples[:3], examples[3:4]])
    alone = [flat(library_gradient(evaluator, example)) for example in examples[:4]]
    assert_close(flat(unit_of_three, 0), sum(alone[:3]) / 3)
    assert_close(flat(unit_of_three, 1), alone[3])
    (total,) = gradients.total([examples[:3], examples[3:4]])
    assert_close(flat(total), sum(alone[:3]) / 3 + alone[3])


@pytest.mark.parametrize(
    ("architecture", "examples"), [("llama", ONE_TOKEN), ("gpt2", UNEQUAL_OPTIONS), ("bert", CLASSES)]
)
def test_the_loss_is_that_of_the_zeroth_order_methods(evaluator_of, architecture, examples):
    evaluator = evaluator_of(architecture)
    with evaluator.differentiable():
        _, losses = evaluator.row_losses(examples)
    assert np.allclose(losses.detach().numpy(), evaluator.losses(examples), rtol=0, atol=1e-5)


def test_an_example_that_is_not_finite_leaves_the_others_alone(evaluator_of):
    evaluator = evaluator_of("llama")
    theta = {name: tensor.clone() for name, tensor in evaluator.parameters.theta().items()}
    clean = UnitGradients(evaluator, 4096).together([[one] for one in ONE_TOKEN])
    theta["model.embed_tokens.weight"][12] = torch.nan  # the token 12 stands in the last example alone
    evaluator.parameters.assign(theta)
    found = UnitGradients(evaluator, 4096).together([[one] for one in ONE_TOKEN])
    assert not np.isfinite(flat(found, 3)).all()
    for unit in range(3):
        assert_close(flat(found, unit), flat(clean, unit))


@pytest.mark.parametrize(("architecture", "trainable"), [("llama", "full"), ("opt", "full"), ("gpt2", "lora")])
def test_the_model_is_afterwards_as_it_was(evaluator_of, architecture, trainable):
    evaluator, examples = evaluator_of(architecture, trainable), examples_of(architecture)
    before, digest = evaluator.losses(examples), evaluator.state_digest()
    gradients = open_gradients(evaluator, examples, max_tokens=4096, private=True)
    list(gradients([[one] for one in examples]))
    assert np.array_equal(evaluator.losses(examples), before)
    assert evaluator.state_digest() == digest
    model = evaluator._model
    assert not any(module.training or module._backward_hooks for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(getattr(parameter, "grad_sample", None) is None for parameter in model.parameters())


def test_hooks_that_are_wrong_are_not_believed(evaluator_of, monkeypatch, caplog):
    """A layer's gradients handed to the next row: right in sum, wrong for every row."""
    evaluator = evaluator_of("bert")
    true_sampler = GradSampleHooks.GRAD_SAMPLERS[torch.nn.LayerNorm]

    def shifted(layer, activations, backprops):
        return {p: g.roll(1, dims=0) for p, g in true_sampler(layer, activations, backprops).items()}

    monkeypatch.setitem(GradSampleHooks.GRAD_SAMPLERS, torch.nn.LayerNorm, shifted)
    with caplog.at_level(logging.WARNING):
        gradients = open_gradients(evaluator, CLASSES, max_tokens=4096, private=True)
    assert not gradients.by_opacus
    assert "one example at a time" in caplog.text


def test_a_model_without_a_gradient_is_refused(evaluator_of):
    evaluator = evaluator_of("llama")
    evaluator.parameters.assign({n: torch.full_like(t, torch.nan) for n, t in evaluator.parameters.theta().items()})
    with pytest.raises(ValueError, match="zero or not finite"):
        open_gradients(evaluator, ONE_TOKEN, max_tokens=4096, private=True)


def test_passes_are_bounded_in_tokens_and_bytes_and_lose_no_unit(evaluator_of, monkeypatch):
    evaluator = evaluator_of("gpt2")
    units = [[one] for one in [*ONE_TOKEN, *UNEQUAL_OPTIONS] * 3]
    seen: list[int] = []
    true = type(evaluator).row_losses

    def watch(self, batch):
        rows, losses = true(self, batch)
        seen.append(len(rows) * len(rows[0].ids))
        return rows, losses

    monkeypatch.setattr(type(evaluator), "row_losses", watch)
    passes = list(UnitGradients(evaluator, 24)(units))
    assert sum(len(one["transformer.wpe.weight"]) for one in passes) == len(units)
    assert len(passes) > 3
    assert max(seen) <= 24
    monkeypatch.setattr(gradients_module, "GRADIENT_BYTES", 4 * evaluator.parameter_count * 3)
    assert len(list(UnitGradients(evaluator, 4096)(units))) >= len(units) / 3


def test_a_missing_library_is_named(evaluator_of, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "opacus.grad_sample.grad_sample_module", None)
    with pytest.raises(ValueError, match=r"pip install 'dpzo\[first-order\]'"):
        open_gradients(evaluator_of("gpt2"), ONE_TOKEN, max_tokens=4096, private=True)
    assert open_gradients(evaluator_of("gpt2"), ONE_TOKEN, max_tokens=4096, private=False) is not None
