"""Block-local directions: what a block is, draws by public shares, an estimate without bias, and bits that agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainers.directions import Direction, direction_values
from trainers.directions.apply import add_directions, add_rounded, write_perturbed
from trainers.directions.blocks import FLOOR, blocks_of, drawn, learned_shares, shares_by_size
from trainers.directions.counter import uniform_of_step
from trainers.directions.frames import raw_direction, scaled
from trainers.directions.rounding import Rounding
from trainers.evaluators.parameters import Parameters

SHAPES = {"embed.weight": (9, 4), "layers.0.a": (4, 4), "layers.0.b": (4,), "layers.10.a": (3, 4), "norm": (4,)}
COUNTS = {name: int(np.prod(shape)) for name, shape in SHAPES.items()}
BLOCKS = blocks_of(COUNTS)


def tensors(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}


def z_of(direction: Direction) -> np.ndarray:
    return np.concatenate([direction_values(direction, name, shape) for name, shape in SHAPES.items()])


def test_a_block_is_a_layer_or_what_stands_before_or_behind_the_layers():
    assert [block.names for block in BLOCKS] == [
        ("embed.weight",),
        ("layers.0.a", "layers.0.b"),
        ("layers.10.a",),
        ("norm",),
    ]
    assert [block.count for block in BLOCKS] == [36, 20, 12, 4]
    adapter = blocks_of({f"base_model.model.h.{n}.attn.{of}.weight": 2 for n in (3, 4) for of in ("lora_A", "lora_B")})
    assert [block.count for block in adapter] == [4, 4]
    assert len(blocks_of({"a": 1, "b": 2})) == 1


def test_a_block_local_direction_is_the_whole_one_in_its_block_and_0_elsewhere():
    whole, local = (z_of(Direction(1, 2, 3, "gaussian", block=block)) for block in (None, BLOCKS[1]))
    assert np.array_equal(local[36:56], whole[36:56])
    assert not local[:36].any()
    assert not local[56:].any()


def test_every_block_has_its_share_of_the_draws():
    """Over 6000 steps of three directions; each share within 4.5 standard deviations of independent draws."""
    shares = shares_by_size(BLOCKS)
    numbers = np.array([drawn(1, step, shares, 3) for step in range(6000)])
    counts = np.bincount(numbers.ravel(), minlength=4) / numbers.size
    assert np.all(np.abs(counts - shares) < 4.5 * np.sqrt(0.25 / numbers.size))
    assert np.allclose(np.array(shares) / shares[3], [3.0, np.sqrt(5), np.sqrt(3), 1.0])
    of_each_step = np.stack([(numbers == number).sum(axis=1) for number in range(4)], axis=1)
    assert np.all(np.abs(of_each_step - 3 * np.array(shares)) < 1)  # ⌊Kp⌋ or ⌈Kp⌉


def test_the_draw_is_public_uniform_and_new_at_each_step():
    values = np.array([uniform_of_step(7, step) for step in range(4000)])
    assert np.all((values >= 0) & (values < 1))
    assert abs(values.mean() - 0.5) < 4.5 / np.sqrt(12 * 4000)
    assert len(set(values)) == 4000
    assert uniform_of_step(7, 3) == uniform_of_step(7, 3) != uniform_of_step(8, 3)
    with pytest.raises(ValueError, match="seed"):
        uniform_of_step(-1, 0)


@pytest.mark.parametrize(
    ("law", "power"), [("gaussian", 0.5), ("sphere", 0.5), ("low-rank", 0.5), ("gaussian", 0.0), ("gaussian", 1.0)]
)
def test_the_estimate_has_no_bias_and_another_scale_has(law, power):
    """The mean of (1/K) Σ z ⟨z, ∇⟩ over 400 steps is ∇; with the scale 1/p^power for another power it is not."""
    shares, gradient = shares_by_size(BLOCKS), np.random.default_rng(0).standard_normal(72)
    parameters, total, steps, K = Parameters(tensors()), np.zeros(72), 400, 4
    for step in range(steps):
        numbers = drawn(3, step, shares, K)
        raw = [raw_direction(law, 3, step, k, int(law == "low-rank"), BLOCKS[n]) for k, n in enumerate(numbers)]
        for (z, scale), number in zip(scaled(law, raw, parameters), numbers, strict=True):
            moved = z_of(z) * scale / shares[number] ** power
            total += moved * (moved @ gradient) / K / steps
    error = np.linalg.norm(total - gradient) / np.linalg.norm(gradient)
    assert (error < 0.4) == (power == 0.5)


def test_shares_follow_the_energy_that_releases_showed_and_keep_a_floor():
    by_size = shares_by_size(BLOCKS)
    shares = learned_shares(BLOCKS, [0.0, 500.0, 0.0, -3.0], [50.0] * 4)
    assert sum(shares) == pytest.approx(1.0)
    assert shares[1] > 0.6 > 2 * by_size[1]
    assert all(share >= FLOOR * least for share, least in zip(shares, by_size, strict=True))
    assert learned_shares(BLOCKS, [5.0] * 4, [5.0] * 4) == pytest.approx(by_size)
    assert learned_shares(BLOCKS, [0.0] * 4, [0.0] * 4) == by_size
    assert learned_shares(BLOCKS, [-9.0, 1.0, 1.0, 1.0], [5.0] * 4) == by_size  # noise alone was seen
    assert shares[3] < learned_shares(BLOCKS, [0.0, 500.0, 0.0, -3.0], [1.0] * 4)[3]  # fewer observations say less


@pytest.mark.parametrize("kind", ["gaussian", "rademacher", "low-rank"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_update_moves_each_block_by_its_own_terms(kind, dtype):
    terms = [
        (Direction(1, 0, k, kind, int(kind == "low-rank"), block), 0.1 * (k + 1))  # pyright: ignore[reportArgumentType]
        for k, block in enumerate([BLOCKS[1], None, BLOCKS[1], BLOCKS[3]])
    ]
    moved, expected = tensors(dtype), tensors(dtype)
    add = add_directions if dtype == torch.float32 else lambda of, terms: add_rounded(of, terms, Rounding(1, 0))
    add(moved, terms)
    for name, tensor in expected.items():
        add({name: tensor}, [(z, c) for z, c in terms if z.block is None or name in z.block.names])
    assert all(torch.equal(moved[name], expected[name]) for name in SHAPES)


def test_a_probe_outside_of_its_block_is_refused():
    with pytest.raises(ValueError, match="local to a block"):
        write_perturbed(tensors(), tensors(), Direction(1, 0, 0, "gaussian", block=BLOCKS[0]), 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_live_weights_are_those_of_the_probe_whatever_came_before(dtype):
    """Probes of blocks, of everything, updates, pulls, momentum and resets in random order, against a fresh θ."""
    random = np.random.default_rng(0)
    of = Parameters(tensors(dtype), tensors(dtype), seed=4)
    history: list[tuple] = []
    for step in range(60):
        block = [None, *BLOCKS][random.integers(5)]
        z, action = Direction(1, step, 0, "gaussian", block=block), random.integers(6)
        if action == 0:
            of.add([(z, 0.1), (Direction(1, step, 1, "rademacher", block=BLOCKS[step % 4]), 0.2)])
            history.append(("add", step, block))
        elif action == 1 and step % 3 == 0:
            of.add([(z, 0.1)], momentum=0.5)
            history.append(("momentum", step, block))
        elif action == 2 and step % 3 == 0:
            of.pull(0.25)
            history.append(("pull",))
        elif action == 3 and step % 5 == 0:
            of.reset()
            history = []
        elif action == 4:
            of.settle()
            fresh = replayed(history, dtype)
            assert all(torch.equal(of._live[name], fresh[name]) for name in SHAPES)
        else:
            of.perturb(z, 0.05)
            theta = replayed(history, dtype)
            for name, tensor in theta.items():
                expected = tensor.clone()
                if z.moves(name):
                    write_perturbed({name: expected}, {name: tensor}, z, 0.05)
                assert torch.equal(of._live[name], expected), (step, name)


def replayed(history: list[tuple], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    fresh = Parameters(tensors(dtype), tensors(dtype), seed=4)
    for name, *rest in history:
        if name == "pull":
            fresh.pull(0.25)
            continue
        step, block = rest
        z = Direction(1, step, 0, "gaussian", block=block)
        if name == "momentum":
            fresh.add([(z, 0.1)], momentum=0.5)
        else:
            fresh.add([(z, 0.1), (Direction(1, step, 1, "rademacher", block=BLOCKS[step % 4]), 0.2)])
    return {name: tensor.clone() for name, tensor in fresh.theta().items()}
