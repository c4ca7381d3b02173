"""θ moves when an update is added, whenever memory sees it: a waiting update changes no bit and no reader misses it."""

import numpy as np
import pytest
import torch

from trainers.directions import Direction, apply, apply_torch, direction_values
from trainers.evaluators import parameters
from trainers.evaluators.parameters import Parameters

SHAPES = {"layer.weight": (70, 33), "head.weight": (5, 128), "head.bias": (5,), "scale": ()}
SCALE = 1e-2


def opened(dtype: torch.dtype = torch.float32) -> Parameters:
    generator = torch.Generator().manual_seed(0)
    return Parameters({name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()})


def term(step: int, index: int = 0, kind: str = "rademacher") -> tuple[Direction, float]:
    return Direction(1, step, index, kind), 0.1 / (1 + step + index)  # pyright: ignore[reportArgumentType]


def update(step: int, num_directions: int = 3) -> list[tuple[Direction, float]]:
    return [term(step, index, ("gaussian", "rademacher")[index % 2]) for index in range(num_directions)]


def specified(terms: list[tuple[Direction, float]], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Return the base weights + Σ c·z in the order of terms, each product and sum rounded, then in the given type."""
    theta = {}
    for name, tensor in opened(dtype)._live.items():
        values = tensor.float().numpy().reshape(-1).copy()
        for direction, coefficient in terms:
            values = values + np.float32(coefficient) * direction_values(direction, name, values.size)
        theta[name] = torch.from_numpy(values).view(tensor.shape).to(dtype)
    return theta


def live_is(of: Parameters, expected: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(of._live[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_of_two_probes_and_an_update_have_the_bits_of_the_specification(dtype):
    theta, moved = opened(dtype), []
    for step in range(3):
        for sign in (1, -1):
            direction, _ = term(step)
            theta.perturb(direction, sign * SCALE)
            if dtype == torch.float32:
                assert live_is(theta, specified([*moved, (direction, sign * SCALE)]))
        theta.add(update(step))
        moved += update(step)
    theta.settle()
    assert live_is(theta, specified(moved, dtype))


@pytest.mark.parametrize("reader", ["settle", "digest", "perturb"])
def test_every_reader_sees_a_waiting_update(reader):
    theta, base = opened(), opened().digest()
    theta.add(update(0))
    if reader == "digest":
        assert theta.digest() != base
    elif reader == "perturb":
        theta.perturb(Direction(2, 0, 0, "gaussian"), 0.0)
    theta.settle()
    assert live_is(theta, specified(update(0)))
    assert theta.count == sum(torch.Size(shape).numel() for shape in SHAPES.values())


@pytest.mark.parametrize(("num_directions", "num_passes"), [(1, 3), (5, 2), (parameters.MAX_WAITING + 1, 12)])
def test_a_replay_moves_the_master_few_times_and_to_the_same_bits(num_directions, num_passes, monkeypatch):
    stepwise, replayed, sizes = opened(), opened(), []

    def counted(master, terms):
        sizes.append(len(terms))
        apply.add_to_all(master, terms)

    num_steps = 70 if num_directions == 1 else 12
    for step in range(num_steps):
        stepwise.add(update(step, num_directions))
        stepwise.settle()
    monkeypatch.setattr(parameters, "add_to_all", counted)
    for step in range(num_steps):
        replayed.add(update(step, num_directions))
    assert replayed.digest() == stepwise.digest()
    sizes = [size for size in sizes if size]
    assert sum(sizes) == num_steps * num_directions
    assert len(sizes) == num_passes
    assert max(sizes) <= max(parameters.MAX_WAITING, num_directions)


def test_reset_drops_a_waiting_update_and_one_that_was_made():
    theta, base = opened(), opened().digest()
    theta.add(update(0))
    theta.reset()
    assert theta.digest() == base
    theta.add(update(0))
    theta.settle()
    theta.add(update(1))
    theta.reset()
    assert theta.digest() == base
    theta.settle()
    assert live_is(theta, specified([]))
    theta.add(update(1))
    theta.settle()
    assert live_is(theta, specified(update(1)))  # the base itself never moved


def test_the_base_is_shared_until_the_first_update():
    theta = opened()
    theta.perturb(*term(0))
    assert theta._master is theta._base
    theta.add(update(0))
    assert all(theta._master[name].data_ptr() != tensor.data_ptr() for name, tensor in theta._base.items())


def test_an_update_that_is_refused_is_refused_at_once_and_moves_nothing():
    theta = opened()
    theta.add(update(0))
    for bad in (float("nan"), 1e39):
        with pytest.raises(ValueError, match="coefficient of a direction must be a finite float32"):
            theta.add([*update(1), (Direction(1, 1, 9, "gaussian"), bad)])
    theta.settle()
    assert live_is(theta, specified(update(0)))


def test_a_refused_probe_leaves_the_waiting_update_to_the_next():
    theta = opened()
    theta.add(update(0))
    with pytest.raises(ValueError, match="scale of a direction must be a finite float32"):
        theta.perturb(Direction(1, 1, 0, "gaussian"), float("inf"))
    theta.settle()
    assert live_is(theta, specified(update(0)))


def test_an_update_of_no_terms_moves_nothing():
    theta, base = opened(), opened().digest()
    theta.add([])
    assert theta.digest() == base


def test_an_update_made_in_inference_mode_is_read_outside_of_it_on_every_backend(monkeypatch):
    monkeypatch.setattr(apply, "_backend", lambda _: apply_torch)
    theta, expected = opened(), opened()
    with torch.inference_mode():
        theta.add(update(0))
    digest = theta.digest()
    monkeypatch.undo()
    expected.add(update(0))
    assert digest == expected.digest()


def test_half_precision_begins_from_the_weights_that_it_was_rounded_from():
    exact = opened()._live
    theta = Parameters({name: tensor.to(torch.bfloat16) for name, tensor in exact.items()}, exact)
    assert theta.digest() == opened().digest()
    direction, scale = Direction(1, 0, 0, "rademacher"), 1e-3
    for step in range(4):  # ten thousand times smaller than bfloat16 resolves: only the master can gather them
        theta.perturb(direction, scale)
        theta.perturb(direction, -scale)
        theta.add([(Direction(1, step, 0, "rademacher"), 1e-6)])
    theta.settle()
    moved = [(Direction(1, step, 0, "rademacher"), 1e-6) for step in range(4)]
    assert live_is(theta, {name: tensor.to(torch.bfloat16) for name, tensor in specified(moved).items()})
    assert all(torch.equal(theta.theta()[name], tensor) for name, tensor in specified(moved).items())
