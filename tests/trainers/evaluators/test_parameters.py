"""θ moves when an update is added, whenever memory sees it: a waiting update changes no bit and no reader misses it."""

import numpy as np
import pytest
import torch

from tests.support.rounding import rounded, rounding_bits
from trainers.directions import Direction, apply, direction_values
from trainers.directions.backends import torch_ops as apply_torch
from trainers.directions.rounding import Rounding
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
        apply.add_directions(master, terms)

    num_steps = 70 if num_directions == 1 else 12
    for step in range(num_steps):
        stepwise.add(update(step, num_directions))
        stepwise.settle()
    monkeypatch.setattr(parameters, "add_directions", counted)
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


def opened_in_bfloat16(dtype: torch.dtype = torch.bfloat16) -> Parameters:
    exact = {name: tensor.bfloat16() for name, tensor in opened()._live.items()}
    return Parameters({name: tensor.to(dtype, copy=True) for name, tensor in exact.items()}, exact, seed=9)


def stored(values: dict[str, np.ndarray], move: int) -> dict[str, np.ndarray]:
    """Return float32 values as move number `move` rounds them."""
    return {name: rounded(of, rounding_bits(Rounding(9, move), name, of.size)) for name, of in values.items()}


def added(values: dict[str, np.ndarray], terms: list[tuple[Direction, float]]) -> dict[str, np.ndarray]:
    """Return values + Σ c·z, each product and sum rounded to float32."""
    for direction, coefficient in terms:
        values = {
            name: of + np.float32(coefficient) * direction_values(direction, name, of.size)
            for name, of in values.items()
        }
    return values


def flat(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.float().numpy().reshape(-1) for name, tensor in tensors.items()}


def is_theta(of: Parameters, expected: dict[str, np.ndarray]) -> bool:
    theta = flat(of.theta())
    return all(np.array_equal(theta[name], values) for name, values in expected.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_bfloat16_master_is_rounded_by_itself_in_each_update(dtype):
    """Whether probes come between the updates or not, and whatever the model computes in."""
    probed, replayed = opened_in_bfloat16(dtype), opened_in_bfloat16(dtype)
    expected = flat(probed.theta())
    assert all(tensor.dtype == torch.bfloat16 for tensor in probed.theta().values())
    for step in range(5):
        probed.perturb(*term(step))
        probed.add(update(step))
        probed.settle()
        replayed.add(update(step))
        expected = stored(added(expected, update(step)), step)
    assert is_theta(probed, expected)
    assert probed.digest() == replayed.digest()
    assert all(np.array_equal(live.float().numpy().reshape(-1), expected[name]) for name, live in probed._live.items())
    replayed.reset()
    replayed.add(update(0))  # counted anew
    assert is_theta(replayed, stored(added(flat(opened_in_bfloat16().theta()), update(0)), 0))


def test_a_velocity_is_float32_and_a_pull_is_rounded_by_bits_of_its_own():
    theta, terms = opened_in_bfloat16(), update(0)
    base = flat(theta.theta())
    theta.add(terms, momentum=0.5)
    velocity = added({name: np.zeros_like(values) for name, values in base.items()}, terms)
    once = stored({name: base[name] + velocity[name] for name in base}, 0)
    assert is_theta(theta, once)
    theta.pull(0.3)
    share = np.float32(0.3)
    pulled = stored({name: once[name] - (once[name] - base[name]) * share for name in base}, 1)
    assert is_theta(theta, pulled)
    theta.add(update(1), momentum=0.5)
    velocity = added({name: values * np.float32(0.5) for name, values in velocity.items()}, update(1))
    assert is_theta(theta, stored({name: pulled[name] + velocity[name] for name in base}, 2))


def test_a_mask_over_a_bfloat16_master_moves_what_it_keeps():
    theta = opened_in_bfloat16()
    base = flat(theta.theta())
    theta.restrict([], keep=0.2)
    theta.add(update(0))
    moved, found = stored(added(base, update(0)), 0), flat(theta.theta())
    kept = {name: np.isin(np.arange(of.size), theta._kept[name].numpy()) for name, of in base.items()}  # pyright: ignore[reportOptionalSubscript]
    assert all(np.array_equal(found[name], np.where(kept[name], moved[name], of)) for name, of in base.items())
    assert sum(flags.sum() for flags in kept.values()) == theta.count


def test_the_same_tiny_update_again_and_again_moves_by_its_sum():
    """With the same bits in each one most elements would never move, and the others far too much."""
    theta, num_steps, far = opened_in_bfloat16(), 400, 1e-4
    base, z = flat(theta.theta()), Direction(1, 0, 0, "rademacher")
    for _ in range(num_steps):
        theta.add([(z, far)])
    name = "layer.weight"
    along = (flat(theta.theta())[name] - base[name]) * direction_values(z, name, base[name].size)
    large = np.abs(base[name]) > 0.5  # half a unit in the last place there is ten times the update, or more
    deviation = np.sqrt(num_steps * far * 2.0**-6)  # of steps of up to 2**-6, at most
    assert abs(along[large].mean() - num_steps * far) < 5 * deviation / np.sqrt(large.sum())
    assert along[large].std() < deviation


def test_what_a_bfloat16_master_remembers_is_saved(tmp_path):
    theta, other = opened_in_bfloat16(), opened_in_bfloat16(torch.float32)
    theta.add(update(0))
    theta.pull(0.1)
    theta.save(tmp_path / "saved", {})
    other.load(tmp_path / "saved")
    for each in (theta, other):
        each.add(update(1))
    assert theta.digest() == other.digest()
    assert all(tensor.dtype == torch.bfloat16 for tensor in other.theta().values())
