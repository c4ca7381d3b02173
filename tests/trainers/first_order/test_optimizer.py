import pytest
import torch

from trainers.first_order.optimizer import Optimizer


def gradients(count):
    draw = torch.Generator().manual_seed(3)
    return [
        {"w": torch.randn(4, 3, generator=draw).double(), "b": torch.randn(3, generator=draw)} for _ in range(count)
    ]


def start():
    return {"w": torch.ones(4, 3), "b": torch.full((3,), -2.0)}


def reference(rule, **settings):
    theta = {name: torch.nn.Parameter(tensor) for name, tensor in start().items()}
    optimizer = rule(theta.values(), **settings)
    for gradient in gradients(6):
        for name, parameter in theta.items():
            parameter.grad = gradient[name].float()
        optimizer.step()
    return theta


@pytest.mark.parametrize(
    ("rule", "settings", "wanted"),
    [
        ("sgd", {}, (torch.optim.SGD, {"lr": 0.1})),
        ("sgd", {"momentum": 0.9}, (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})),
        ("adamw", {"weight_decay": 0.3}, (torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.3})),
    ],
)
def test_the_rules_are_torchs(rule, settings, wanted):
    optimizer = Optimizer(rule, start(), **settings)
    for gradient in gradients(6):
        optimizer.step(gradient, 0.1)
    expected = reference(wanted[0], **wanted[1])
    for name, tensor in optimizer.theta.items():
        torch.testing.assert_close(tensor, expected[name].data)


def test_decay_is_decoupled_from_the_gradient():
    optimizer = Optimizer("sgd", start(), weight_decay=0.5)
    optimizer.step({"w": torch.zeros(4, 3), "b": torch.zeros(3)}, 0.1)
    torch.testing.assert_close(optimizer.theta["w"], torch.full((4, 3), 0.95))


@pytest.mark.parametrize(("rule", "settings"), [("sgd", {"momentum": 0.9}), ("adamw", {"weight_decay": 0.1})])
def test_a_restored_state_goes_on_with_the_same_bits(rule, settings):
    through, first = Optimizer(rule, start(), **settings), Optimizer(rule, start(), **settings)
    steps = gradients(8)
    for gradient in steps:
        through.step(gradient, 0.01)
    for gradient in steps[:5]:
        first.step(gradient, 0.01)
    second = Optimizer(rule, start(), **settings)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    for gradient in steps[5:]:
        second.step(gradient, 0.01)
    assert all(torch.equal(second.theta[name], tensor) for name, tensor in through.theta.items())


def test_the_starting_values_are_left_alone():
    theta = start()
    Optimizer("sgd", theta).step({"w": torch.ones(4, 3), "b": torch.ones(3)}, 1.0)
    assert torch.equal(theta["w"], torch.ones(4, 3))
