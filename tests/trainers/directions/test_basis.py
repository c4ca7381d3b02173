"""Directions in a public basis: what they are, and that their bits are those of the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainers.config import method
from trainers.directions import Direction
from trainers.directions.apply import add_directions
from trainers.directions.basis import Basis, add_in_basis, weighted_sum, write_in_basis
from trainers.directions.counter import KINDS_IN_A_BASIS, basis_coordinates, direction_values
from trainers.directions.rounding import Rounding

NAME, BIAS = "layer.weight", "layer.bias"
U = Direction(7, 3, 0, "activation", 2), Direction(7, 3, 1, "activation", 2)
A = Direction(7, 3, 0, "public-gradient", 3), Direction(7, 3, 1, "public-gradient", 3)


def test_the_configuration_knows_the_kinds_that_need_a_basis():
    assert method.KINDS_IN_A_BASIS == KINDS_IN_A_BASIS


def basis_of(*shape: int, dtype: torch.dtype = torch.float32) -> Basis:
    return Basis({NAME: torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)})


def test_an_activation_direction_is_u_times_v_transposed():
    basis, tensor = basis_of(5, 2), torch.zeros(4, 5)
    moved = weighted_sum([(U[0], 0.5), (U[1], -2.0)], NAME, tensor, basis)
    factors = 0.5 * basis_coordinates(U[0], NAME, 4) - np.float32(2.0) * basis_coordinates(U[1], NAME, 4)
    v = basis.parts[NAME].numpy()
    exact = factors[:, :1] * v[:, 0] + factors[:, 1:] * v[:, 1]
    assert np.array_equal(moved.numpy(), exact)
    assert np.linalg.matrix_rank(moved.numpy()) == 2


def test_a_public_gradient_direction_has_the_same_coordinates_in_all_tensors():
    parts = {name: torch.eye(3).view(3, 3) for name in ("one", "two")}
    moved = {name: weighted_sum([(A[0], 1.0)], name, torch.zeros(3), Basis(parts)) for name in parts}
    assert torch.equal(moved["one"], moved["two"])
    assert np.array_equal(moved["one"].numpy(), basis_coordinates(A[0], "", 1)[0])


def test_coordinates_are_standard_normal_and_differ_by_step_index_and_name():
    values = basis_coordinates(Direction(1, 0, 0, "activation", 8), NAME, 4000)
    assert values.shape == (4000, 8)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1.0) < 0.02
    others = [
        Direction(1, 1, 0, "activation", 8),
        Direction(1, 0, 1, "activation", 8),
        Direction(2, 0, 0, "activation", 8),
    ]
    others_values = [
        *(basis_coordinates(z, NAME, 4000) for z in others),
        basis_coordinates(Direction(1, 0, 0, "activation", 8), BIAS, 4000),
    ]
    assert all(abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.02 for other in others_values)


def test_a_tensor_without_a_basis_gets_independent_values():
    moved = weighted_sum([(U[0], 0.5)], BIAS, torch.zeros(6), basis_of(5, 2))
    assert np.array_equal(moved.numpy(), np.float32(0.5) * direction_values(U[0], BIAS, 6))


def test_a_probe_and_an_update_move_by_the_same_values():
    basis, master = basis_of(5, 2), torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    live, added = {NAME: torch.empty(4, 5)}, {NAME: master.clone()}
    write_in_basis(live, {NAME: master}, [(U[0], 0.25)], basis)
    add_in_basis(added, [(U[0], 0.25)], basis)
    assert torch.equal(live[NAME], added[NAME])
    assert not torch.equal(live[NAME], master)


def test_a_bfloat16_master_is_rounded_by_public_bits():
    basis, master = basis_of(5, 2), {NAME: torch.ones(4, 5).bfloat16()}
    again = {NAME: master[NAME].clone()}
    for each in (master, again):
        add_in_basis(each, [(U[0], 1e-3)], basis, Rounding(1, 0))
    assert torch.equal(master[NAME], again[NAME])
    assert master[NAME].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("direction", "shape"), [(U[0], (5, 3)), (U[0], (4, 2)), (A[0], (2, 4, 5)), (A[0], (3, 5, 4))], ids=str
)
def test_a_basis_of_another_shape_is_refused(direction, shape):
    with pytest.raises(ValueError, match=r"^the public basis of layer\.weight has the shape"):
        weighted_sum([(direction, 1.0)], NAME, torch.zeros(4, 5), basis_of(*shape))


def test_a_direction_in_a_basis_is_never_drawn_without_it():
    with pytest.raises(ValueError, match="needs that basis"):
        add_directions({NAME: torch.zeros(4, 5)}, [(U[0], 1.0)])


def test_the_digest_is_that_of_names_types_shapes_and_bits():
    bases = [
        basis_of(4, 2),
        basis_of(2, 4),
        basis_of(4, 2, dtype=torch.bfloat16),
        Basis({"x": basis_of(4, 2).parts[NAME]}),
    ]
    assert len({basis.digest() for basis in bases}) == 4
    assert basis_of(4, 2).digest() == bases[0].digest()


@pytest.mark.parametrize(("kind", "rank"), [("activation", 0), ("public-gradient", 0), ("gaussian", 1)])
def test_a_direction_has_a_rank_exactly_where_its_kind_needs_one(kind, rank):
    with pytest.raises(ValueError, match="rank is at least 1"):
        Direction(1, 0, 0, kind, rank)


@pytest.mark.parametrize("shape", [(4, 5), (700, 300), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_has_the_bits_of_the_definition(shape, dtype):
    generator = torch.Generator().manual_seed(4)
    rank = min(2, shape[1])
    basis = Basis({NAME: torch.randn(shape[1], rank, generator=generator)})
    master = torch.randn(shape, generator=generator).to(dtype)
    terms = [(Direction(1, 2, k, "activation", rank), 0.1 * (k + 1)) for k in range(3)]
    live = {NAME: torch.empty(shape)}
    write_in_basis(live, {NAME: master}, terms, basis)
    assert torch.equal(live[NAME], weighted_sum(terms, NAME, master, basis).add_(master))
    half = {NAME: torch.empty(shape, dtype=torch.bfloat16)}
    write_in_basis(half, {NAME: master}, terms, basis)
    assert torch.equal(half[NAME], live[NAME].bfloat16())
