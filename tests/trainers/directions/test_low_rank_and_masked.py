"""Low-rank directions, directions on a mask, norms and the sphere: the same bits everywhere."""

import numpy as np
import pytest
import torch

from trainers.directions import Direction, direction_values
from trainers.directions.apply import add_directions, write_perturbed
from trainers.directions.backends import torch_ops as apply_torch
from trainers.directions.counter import low_rank_factors
from trainers.directions.frames import raw_direction, scaled
from trainers.directions.norms import UNITS, squared_norms
from trainers.directions.sparse import add_kept, values_at, write_kept

SHAPES = [(7,), (33, 77), (5, 4, 9), (1, 3), (300, 1000), ()]
DIRECTIONS = [
    Direction(3, 5, 1, "gaussian"),
    Direction(3, 5, 1, "rademacher"),
    Direction(3, 5, 1, "low-rank", 1),
    Direction(3, 5, 1, "low-rank", 3),
]
TENSORS = {"a": torch.zeros(33, 77), "b": torch.zeros(5)}


def seen_as(direction: Direction, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(direction_values(direction, "w", shape)).view(shape)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda z: f"{z.kind}{z.rank or ''}")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_way_to_draw_gives_the_bits_of_the_specification(direction, shape):
    expected, generator = seen_as(direction, shape), np.random.default_rng(0)
    added, live = torch.zeros(shape), torch.empty(shape)
    add_directions({"w": added}, [(direction, 1.0)])
    assert torch.equal(added, expected)
    write_perturbed({"w": live}, {"w": torch.ones(shape)}, direction, 0.5)
    assert torch.equal(live, 1 + 0.5 * expected)
    kept = torch.from_numpy(np.flatnonzero(generator.random(expected.numel()) < 0.3))
    for at in (values_at, apply_torch.values_at):
        assert torch.equal(at(direction, "w", shape, kept), expected.reshape(-1)[kept])


@pytest.mark.parametrize("shape", [(70, 100), (3, 1000), (9, 4, 32)], ids=str)
def test_chunks_cut_rows_where_they_like(shape, monkeypatch):
    """Rows shorter than a chunk and longer, with an end inside of one."""
    monkeypatch.setattr(apply_torch, "CHUNK", 256)
    for rank in (1, 3):
        direction, values = Direction(3, 5, 1, "low-rank", rank), torch.zeros(shape)
        add_directions({"w": values}, [(direction, 1.0)])
        assert torch.equal(values, seen_as(direction, shape))


@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda z: f"{z.kind}{z.rank or ''}")
def test_a_mask_writes_and_moves_what_it_keeps_and_nothing_else(direction):
    master, kept = {"w": torch.randn(40, 30)}, {"w": torch.arange(0, 1200, 7)}
    live, before = {"w": torch.full((40, 30), 9.0)}, master["w"].clone()
    z = seen_as(direction, (40, 30)).reshape(-1)
    write_kept(live, master, kept, [(direction, 0.25)])
    off = torch.ones(1200, dtype=torch.bool)
    off[kept["w"]] = False
    assert (live["w"].view(-1)[off] == 9).all()
    assert torch.equal(live["w"].view(-1)[~off], before.view(-1)[~off] + 0.25 * z[~off])
    assert torch.equal(master["w"], before)
    add_kept(master, kept, [(direction, 0.25), (direction, 0.5)])
    assert torch.equal(master["w"].view(-1)[off], before.view(-1)[off])
    assert torch.equal(master["w"].view(-1)[~off], (before.view(-1)[~off] + 0.25 * z[~off]) + 0.5 * z[~off])


def test_a_low_rank_direction_has_its_rank_and_the_variance_of_the_others():
    direction = Direction(1, 2, 3, "low-rank", 4)
    z = seen_as(direction, (400, 300)).numpy().astype(float)
    left, right = low_rank_factors(direction, "w", (400, 300))
    assert np.linalg.matrix_rank(z, tol=1e-3) == 4
    np.testing.assert_allclose(z, left.astype(float) @ right.T / 2, atol=1e-5)
    energies = [
        (direction_values(Direction(1, 2, k, "low-rank", 4), "w", (40, 30)).astype(float) ** 2).mean()
        for k in range(400)
    ]
    assert abs(np.mean(energies) - 1) < 5 * np.std(energies) / 20  # false alarm 6e-7


def test_factors_differ_by_side_name_and_key():
    one = Direction(1, 2, 3, "low-rank", 2)
    left, right = low_rank_factors(one, "w", (50, 50))
    others = [right, low_rank_factors(one, "v", (50, 50))[0]]
    others += [low_rank_factors(Direction(1, 2, k, "low-rank", 2), "w", (50, 50))[0] for k in (0, 4)]
    assert all(not np.array_equal(left, other) for other in others)


@pytest.mark.parametrize(("kind", "rank"), [("low-rank", 0), ("gaussian", 1), ("low-rank", -1)])
def test_a_rank_belongs_to_low_rank_directions_alone(kind, rank):
    with pytest.raises(ValueError, match="rank"):
        Direction(0, 0, 0, kind, rank)


def exact(directions: list[Direction]) -> np.ndarray:
    z = np.stack([np.concatenate([direction_values(d, n, t.shape) for n, t in TENSORS.items()]) for d in directions])
    squares = np.trunc(z.astype(float) ** 2 * UNITS)
    return np.array([sum(int(value) for value in row) / UNITS for row in squares])


def test_squared_norms_are_those_of_the_specification_on_every_path(monkeypatch):
    directions = [
        raw_direction("gaussian", 3, 5, 0, 1),
        raw_direction("rademacher", 3, 5, 1, 1),
        raw_direction("gaussian", 3, 5, 2, 1),
    ]
    expected = exact(directions)
    everywhere = {name: torch.arange(tensor.numel()) for name, tensor in TENSORS.items()}
    np.testing.assert_array_equal(squared_norms(TENSORS, directions), expected)
    np.testing.assert_array_equal(squared_norms(dict(reversed(TENSORS.items())), directions), expected)
    np.testing.assert_array_equal(squared_norms(TENSORS, directions, everywhere), expected)
    monkeypatch.setattr("trainers.directions.norms._CHUNK", 1024)
    np.testing.assert_array_equal(squared_norms(TENSORS, directions), expected)


class Space:
    count = 33 * 77 + 5

    def squared_norms(self, directions):
        return squared_norms(TENSORS, directions)


def vectors(law: str, num: int) -> np.ndarray:
    directions = [raw_direction(law, 3, 5, k, 1) for k in range(num)]  # pyright: ignore[reportArgumentType]
    rows = []
    for term in scaled(law, directions, Space()):  # pyright: ignore[reportArgumentType]
        moved = {name: torch.zeros_like(tensor) for name, tensor in TENSORS.items()}
        add_directions(moved, [term])
        rows.append(np.concatenate([tensor.numpy().ravel() for tensor in moved.values()]).astype(float))
    return np.stack(rows)


def test_the_sphere_has_radius_root_d_over_all_parameters_together():
    z = vectors("sphere", 3)
    np.testing.assert_allclose((z**2).sum(axis=1), Space.count, rtol=1e-6)
    of_one_tensor = (z[:, :2541] ** 2).sum(axis=1)
    assert np.ptp(of_one_tensor) > 0.01  # each tensor by itself is not on a sphere
