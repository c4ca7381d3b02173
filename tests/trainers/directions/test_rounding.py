"""Stochastic rounding: right in the mean, what nearest rounding would lose is kept, and the same bits everywhere."""

import numpy as np
import pytest
import torch

from tests.support.rounding import rounded, rounding_bits
from trainers.directions import Direction, direction_values
from trainers.directions.apply import add_rounded, write_perturbed
from trainers.directions.backends import cpu as apply_cpu
from trainers.directions.backends import torch_rounding as rounding_torch
from trainers.directions.rounding import Rounding
from trainers.directions.sparse import add_kept

SIZES = [1, 7, 8, 9, 127, 2049, 8191, 8193, 300_007]
DIRECTION_KINDS = ["gaussian", "rademacher"]
NAME = "model.layers.0.mlp.up_proj.weight"
BACKENDS = {"cpu": apply_cpu, "torch": rounding_torch}
ULP = 2.0**-7  # of a bfloat16 in [1, 2)
FINITE = [1.001, -1.001, 1.99999, 3e-5, -7.5e-39, 1e-40, 2.0**-133, 6.1e4, 1.5 * 2**100]


def weights(numel: int) -> torch.Tensor:
    return (torch.randn(numel, generator=torch.Generator().manual_seed(numel)) * 0.02).bfloat16()


def terms_of(kinds: list[str]) -> list[tuple[Direction, np.float32]]:
    return [(Direction(3, 5, k, kind), np.float32(0.3 / (3 + k))) for k, kind in enumerate(kinds)]  # pyright: ignore[reportArgumentType]


def moved(master: torch.Tensor, terms: list[tuple[Direction, np.float32]]) -> np.ndarray:
    """Return master + Σ c·z in float32, as the specification says."""
    values = master.float().numpy().reshape(-1).copy()
    for term, coefficient in terms:
        values = values + coefficient * direction_values(term, NAME, tuple(master.shape))
    return values


def specified(master: torch.Tensor, terms: list[tuple[Direction, np.float32]], rounding: Rounding) -> torch.Tensor:
    values = rounded(moved(master, terms), rounding_bits(rounding, NAME, master.numel()))
    return torch.from_numpy(values).view(master.shape).bfloat16()


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and torch.equal(left.view(torch.int16), right.view(torch.int16))


@pytest.mark.parametrize("value", FINITE)
def test_the_mean_over_all_bits_is_the_value_exactly(value):
    values = np.full(2**16, value, np.float32)
    found = rounded(values, np.arange(2**16, dtype=np.uint32)).astype(np.float64)
    assert found.mean() == np.float64(np.float32(value))
    below, above = np.unique(found) if len(np.unique(found)) == 2 else (found[0], found[0])
    assert below <= np.float32(value) <= above
    assert same_bits(torch.from_numpy(found).float(), torch.from_numpy(found).bfloat16().float())


@pytest.mark.parametrize("value", [0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -(2.0**-133)])
def test_what_bfloat16_can_say_is_left_alone(value):
    values = np.full(2**16, value, np.float32)
    found = rounded(values, np.arange(2**16, dtype=np.uint32))
    np.testing.assert_array_equal(found, values)
    assert (np.signbit(found) == np.signbit(values)).all()


def test_a_nan_of_any_payload_stays_one():
    payloads = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], np.uint32).view(np.float32)
    assert np.isnan(rounded(payloads, np.full(3, 0xFFFF, np.uint32))).all()
    target = torch.zeros(3, dtype=torch.bfloat16)
    rounding_torch.store(target, torch.from_numpy(payloads), Rounding(1, 0), NAME)
    assert target.isnan().all()
    for backend in BACKENDS.values():
        master = torch.tensor([0x7FFF, -1, 0x7F81] * 100, dtype=torch.int16).view(torch.bfloat16)
        backend.add_rounded([(NAME, master)], terms_of(DIRECTION_KINDS), Rounding(1, 0))
        assert (master.view(torch.int16) == 0x7FC0).all()  # one of them, so that all machines agree


def test_the_mean_of_many_roundings_is_the_value():
    """A normal mean of 16 bits misses by 5 standard errors once in 1.7 million runs; the bits are fixed anyway."""
    value, numel, updates = np.float32(1.0 + 0.3 * ULP), 1000, 400
    values = np.full(numel, value)
    found = np.array([rounded(values, rounding_bits(Rounding(5, n), NAME, numel)) for n in range(updates)])
    error = (found.astype(np.float64) - value) / ULP
    deviation = np.sqrt(0.3 * 0.7)
    assert abs(error.mean()) < 5 * deviation / np.sqrt(error.size)
    assert np.abs(error.mean(axis=0)).max() < 5 * deviation / np.sqrt(updates)  # of each element over the updates
    assert np.abs(error.mean(axis=1)).max() < 5 * deviation / np.sqrt(numel)  # of each update over the elements


def test_no_two_streams_are_alike():
    several = [Rounding(1, 0), Rounding(1, 1), Rounding(2, 0)]
    bits = [rounding_bits(rounding, name, 4000) / 2.0**16 - 0.5 for rounding in several for name in ("a", "b")]
    correlations = np.corrcoef(np.array([*bits, np.roll(bits[0], 1)]))
    assert np.abs(correlations - np.eye(len(correlations))).max() < 6 / np.sqrt(4000)
    assert rounding_bits(Rounding(1, 0), "a", 40_000).max() > 0xFFF0
    assert (rounding_bits(Rounding(1, 0), "a", 11) == rounding_bits(Rounding(1, 0), "a", 40)[:11]).all()


def test_updates_far_below_a_bfloat16_add_up_where_nearest_rounding_loses_all():
    num_steps, numel = 1000, 2000
    direction = Direction(1, 0, 0, "rademacher")
    signs = torch.from_numpy(direction_values(direction, NAME, numel))
    master, nearest = torch.full((numel,), 1.5).bfloat16(), torch.full((numel,), 1.5).bfloat16()
    for step in range(num_steps):
        add_rounded({NAME: master}, [(direction, 0.02 * ULP)], Rounding(1, step))
        nearest = (nearest.float() + 0.02 * ULP * signs).bfloat16()
    assert (nearest == 1.5).all()
    steps = ((master.float() - 1.5) * signs / ULP).numpy()
    expected = 0.02 * num_steps  # units in the last place; each step is a coin of probability 0.02
    deviation = np.sqrt(num_steps * 0.02 * 0.98)
    assert abs(steps.mean() - expected) < 5 * deviation / np.sqrt(numel)
    assert 0.9 * deviation < steps.std() < 1.1 * deviation  # the same bits in every step would move few, and far


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kinds", [["gaussian"], ["rademacher"], ["rademacher", "gaussian", "rademacher"]])
def test_an_update_has_the_bits_of_the_specification(kinds, backend):
    terms, rounding = terms_of(kinds), Rounding(2**40, 7)
    for size in SIZES:
        master = weights(size)
        expected = specified(master, terms, rounding)
        BACKENDS[backend].add_rounded([(NAME, master)], terms, rounding)
        assert same_bits(master, expected), size


@pytest.mark.parametrize("shape", [(33, 77), (5,), (), (0,)])
def test_low_rank_directions_and_odd_shapes(shape):
    terms, rounding = [(Direction(3, 5, 1, "low-rank", 2), np.float32(0.1))], Rounding(1, 2)
    master = weights(int(np.prod(shape))).view(shape)
    expected, before = specified(master, terms, rounding), master.clone()
    add_rounded({NAME: master}, [], rounding)
    assert same_bits(master, before)
    add_rounded({NAME: master}, terms, rounding)
    assert same_bits(master, expected)


def test_elements_of_a_mask_are_rounded_by_the_bits_of_their_places():
    terms, rounding = terms_of(DIRECTION_KINDS), Rounding(4, 1)
    master, indices = weights(70_001), torch.arange(3, 70_001, 7)
    expected = master.clone()
    expected[indices] = specified(master, terms, rounding)[indices]
    add_kept({NAME: master}, {NAME: indices}, terms, rounding)
    assert same_bits(master, expected)


def test_whole_tensors_are_stored_by_the_same_bits(monkeypatch):
    monkeypatch.setattr("trainers.directions.backends.torch_ops.CHUNK", 1 << 10)
    values = torch.randn(5003)
    target = torch.empty(5003, dtype=torch.bfloat16)
    rounding_torch.store(target, values, Rounding(4, 1), NAME)
    bits = rounding_bits(Rounding(4, 1), NAME, 5003)
    assert same_bits(target, torch.from_numpy(rounded(values.numpy(), bits)).bfloat16())


@pytest.mark.parametrize("device", ["cpu", "mps"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", DIRECTION_KINDS)
def test_a_probe_reads_a_bfloat16_master(kind, dtype, device, monkeypatch):
    from trainers.directions import apply

    backend = apply._backend(device)
    monkeypatch.setattr(apply, "_backend", lambda _: backend)
    ((direction, _),) = terms_of([kind])
    for size in SIZES:
        master, live = weights(size), torch.full((size,), torch.nan, dtype=dtype)
        before = master.clone()
        write_perturbed({NAME: live}, {NAME: master}, direction, 1e-3)
        assert torch.equal(live, torch.from_numpy(moved(master, [(direction, np.float32(1e-3))])).to(dtype)), size
        assert same_bits(master, before)


def test_masters_of_the_wrong_type_are_refused_before_anything_moves():
    half, terms = torch.ones(4).bfloat16(), terms_of(DIRECTION_KINDS)
    with pytest.raises(ValueError, match="must be a contiguous bfloat16 tensor here"):
        add_rounded({"a": half, "b": torch.ones(4)}, terms, Rounding(1, 0))
    with pytest.raises(ValueError, match="must be a contiguous float32 tensor here"):
        write_perturbed({"a": torch.zeros(4)}, {"a": half}, terms[0][0], 1.0, terms)
    with pytest.raises(ValueError, match="coefficient of a direction must be a finite float32"):
        add_rounded({"a": half}, [*terms, (terms[0][0], float("nan"))], Rounding(1, 0))
    assert (half == 1).all()
