"""Both backends against the numpy specification, bit for bit, and what the public functions refuse."""

import numpy as np
import pytest
import torch

from trainers.directions import Direction, direction_values
from trainers.directions.apply import _backend, add_directions, checked_terms, write_perturbed
from trainers.directions.backends import cpu as apply_cpu
from trainers.directions.backends import cpu_kernels as kernels_cpu
from trainers.directions.backends import torch_ops as apply_torch

SIZES = [1, 3, 4, 5, 31, 32, 33, 127, 128, 129, 1025, 8191, 8192, 8193, 70_001, 200_003]
DIRECTION_KINDS = ["gaussian", "rademacher"]
NAME = "model.layers.0.mlp.up_proj.weight"
BACKENDS = {"cpu": apply_cpu, "torch": apply_torch}


def direction(kind: str, index: int = 0) -> Direction:
    return Direction(seed=3, step=5, index=index, kind=kind)  # pyright: ignore[reportArgumentType]


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(shape[0])) * 0.02


def terms_of(kinds: list[str]) -> list[tuple[Direction, float]]:
    return [(direction(kind, index), 0.3 / (3 + index)) for index, kind in enumerate(kinds)]


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    kind = torch.int32 if left.dtype == torch.float32 else torch.int16
    return left.dtype == right.dtype and torch.equal(left.view(kind), right.view(kind))


def specified(master: torch.Tensor, terms: list[tuple[Direction, float]], name: str = NAME) -> torch.Tensor:
    """Return master + Σ c·z as the specification says: a product, a sum, each rounded, in order."""
    values = master.numpy().reshape(-1).copy()
    for term, coefficient in terms:
        values = values + np.float32(coefficient) * direction_values(term, name, values.size)
    return torch.from_numpy(values).view(master.shape)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", DIRECTION_KINDS)
def test_write_perturbed_has_the_bits_of_the_specification(kind, dtype, backend):
    for size in SIZES:
        master = weights(size)
        before = master.clone()
        live = torch.full_like(master, torch.nan, dtype=dtype)
        BACKENDS[backend].write_perturbed([(NAME, live, master)], direction(kind), np.float32(1e-3), ())
        assert same_bits(live, specified(master, [(direction(kind), 1e-3)]).to(dtype)), size
        assert same_bits(master, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kinds", [["gaussian"], ["rademacher"], ["rademacher", "gaussian", "rademacher", "gaussian"]])
def test_add_directions_has_the_bits_of_the_specification(kinds, backend):
    terms = terms_of(kinds)
    for size in SIZES:
        master = weights(size)
        expected = specified(master, terms)
        BACKENDS[backend].add_directions([(NAME, master)], checked_terms(terms))
        assert same_bits(master, expected), size


@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_meet_without_a_seam(backend, monkeypatch):
    master = weights(1500, 100)
    terms = terms_of(["gaussian", "rademacher"])
    expected = specified(master, terms)
    monkeypatch.setattr(BACKENDS[backend], "CHUNK", 128 * 7)
    monkeypatch.setattr(apply_cpu, "MIN_PARALLEL", 0)
    BACKENDS[backend].add_directions([(NAME, master)], checked_terms(terms))
    assert same_bits(master, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", DIRECTION_KINDS)
@pytest.mark.parametrize(
    "kinds", [["gaussian"], ["rademacher"], ["rademacher"] * 5, ["gaussian", "rademacher"] * 2 + ["gaussian"]]
)
def test_an_update_in_the_pass_of_a_write_has_the_bits_of_an_update_before_it(kinds, kind, dtype, backend, monkeypatch):
    monkeypatch.setattr(apply_cpu, "MIN_STREAMED", 0)
    update, scale = checked_terms(terms_of(kinds)), np.float32(1e-3)
    for size in [1, 129, 8193, 40_003]:
        master = weights(size)
        moved = specified(master, terms_of(kinds))
        live = torch.full_like(master, torch.nan, dtype=dtype)
        BACKENDS[backend].write_perturbed([(NAME, live, master)], direction(kind, 9), scale, update)
        assert same_bits(master, moved), size
        assert same_bits(live, specified(moved, [(direction(kind, 9), 1e-3)]).to(dtype)), size


@pytest.mark.parametrize("offset", [0, 1, 4, 8, 16])
def test_weights_streamed_past_the_caches_have_the_same_bits_and_touch_nothing_else(offset, monkeypatch):
    master = weights(apply_cpu.MIN_STREAMED + 77)
    storage = torch.full((master.numel() + 64,), 7.0)
    live = storage[offset : offset + master.numel()]
    monkeypatch.setattr(apply_cpu, "CHUNK", 128 * 1001)
    streamed = apply_cpu._writer(live, master, direction("rademacher")) is kernels_cpu.stream_float32
    assert streamed == (offset % 16 == 0)  # torch aligns a storage to 64 bytes
    write_perturbed({NAME: live}, {NAME: master}, direction("rademacher"), 1e-3)
    assert same_bits(live, specified(master, [(direction("rademacher"), 1e-3)]))
    assert (storage[:offset] == 7).all()
    assert (storage[offset + master.numel() :] == 7).all()


def test_only_large_float32_weights_are_streamed():
    large, small = torch.empty(apply_cpu.MIN_STREAMED), torch.empty(apply_cpu.MIN_STREAMED - 1)
    assert apply_cpu._writer(large, large, direction("rademacher")) is kernels_cpu.stream_float32
    assert apply_cpu._writer(small, small, direction("rademacher")) is kernels_cpu.write_float32
    assert apply_cpu._writer(large, large, direction("gaussian")) is kernels_cpu.write_float32
    assert apply_cpu._writer(large.half(), large, direction("rademacher")) is kernels_cpu.write_half


@pytest.mark.parametrize("kind", DIRECTION_KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_to_half_precision_is_that_of_torch_at_its_edges(dtype, kind):
    bits = torch.arange(0, 2**31, 8_191, dtype=torch.int64).to(torch.int32)  # every exponent, subnormal to NaN
    halfway = torch.tensor([0x3F808000, 0x3F818000, 0x3F801000, 0x3F803000, 0x477FEFFF, 0x477FF000, 0x33000000, 1])
    positive = torch.cat([bits, halfway.to(torch.int32)]).view(torch.float32)
    master = torch.cat([positive, -positive])
    live = torch.empty_like(master, dtype=dtype)
    write_perturbed({NAME: live}, {NAME: master}, direction(kind), 0.0)
    with np.errstate(invalid="ignore"):  # signalling NaNs are among the masters
        expected = specified(master, [(direction(kind), 0.0)]).to(dtype)
    numbers = ~expected.isnan()
    assert live[~numbers].isnan().all()
    assert same_bits(live[numbers], expected[numbers])


def test_shapes_keep_their_c_order_and_names_their_own_direction():
    flat, square = weights(2500), weights(2500).view(50, 50)
    live = {name: torch.empty_like(square) for name in ("a", "b")}
    for name, tensor in live.items():
        write_perturbed({name: tensor}, {name: square}, direction("gaussian"), 0.5)
    one = torch.empty_like(flat)
    write_perturbed({"a": one}, {"a": flat}, direction("gaussian"), 0.5)
    assert same_bits(live["a"].view(-1), one)
    correlation = torch.corrcoef(torch.stack([(live[name] - square).view(-1) for name in ("a", "b")]))[0, 1]
    assert abs(correlation) < 5 / 50  # 5 standard deviations of 2,500 elements: false alarm 6e-7


def test_views_in_the_middle_of_a_storage_touch_nothing_else():
    storage = torch.zeros(10_000)
    write_perturbed({NAME: storage[37:5037]}, {NAME: weights(5000)}, direction("rademacher"), 1.0)
    assert storage[37:5037].abs().min() > 0
    assert not storage[:37].any()
    assert not storage[5037:].any()
    add_directions({NAME: storage[6000:6001]}, [(direction("rademacher"), 1.0)])
    assert storage[5037:].abs().sum() == 1


def test_empty_and_zero_dimensional_tensors():
    write_perturbed({NAME: torch.empty(0)}, {NAME: torch.empty(0)}, direction("gaussian"), 1.0)
    add_directions({NAME: torch.empty(3, 0)}, [(direction("gaussian"), 1.0)])
    scalar = torch.tensor(1.0)
    add_directions({NAME: scalar}, [])
    assert scalar == 1
    write_perturbed({NAME: scalar}, {NAME: torch.tensor(2.0)}, direction("rademacher"), 0.5)
    assert scalar in (1.5, 2.5)


def test_parameters_that_require_gradients_are_written_in_place():
    parameter = torch.nn.Parameter(torch.zeros(300))
    write_perturbed({NAME: parameter}, {NAME: weights(300)}, direction("gaussian"), 1.0)
    assert parameter.detach().abs().max() > 1
    add_directions({NAME: parameter}, [(direction("gaussian"), 1.0)])
    assert parameter.is_leaf


def test_a_probe_in_half_precision_leaves_no_drift():
    master = weights(10_000)
    live = master.to(torch.bfloat16)
    for step in range(50):
        for sign in (1, -1):
            write_perturbed({NAME: live}, {NAME: master}, direction("gaussian", step), sign * 1e-3)
    write_perturbed({NAME: live}, {NAME: master}, direction("gaussian"), 0.0)
    assert torch.equal(live, master.to(torch.bfloat16))


def test_scales_are_rounded_to_float32_first():
    master = weights(1000)
    exact, nearest = torch.empty(1000), torch.empty(1000)
    write_perturbed({NAME: exact}, {NAME: master}, direction("gaussian"), 0.1)
    write_perturbed({NAME: nearest}, {NAME: master}, direction("gaussian"), float(np.float32(0.1)))
    assert same_bits(exact, nearest)


def test_other_devices_use_torch(monkeypatch):
    """And a GPU without Triton; what a GPU with it uses stands in test_triton.py."""
    monkeypatch.setattr("trainers.directions.apply.find_spec", lambda name: None)
    choose = _backend.__wrapped__  # not what an earlier call chose
    assert choose("cpu") is apply_cpu
    assert choose("mps") is choose("cuda") is apply_torch


@pytest.mark.parametrize(
    ("live", "master", "message"),
    [
        (torch.zeros(4), torch.zeros(4, dtype=torch.float16), "master must be a contiguous float32 or bfloat16"),
        (torch.zeros(4), torch.zeros(8)[::2], "master must be a contiguous float32"),
        (torch.zeros(5), torch.zeros(4), r"shape \(4,\) on cpu; got torch.float32 \(5,\)"),
        (torch.zeros(4, dtype=torch.float64), torch.zeros(4), "got torch.float64"),
        (torch.zeros(4, device="meta"), torch.zeros(4), "on cpu; got .* on meta"),
        (torch.zeros(8)[::2], torch.zeros(4), "live must be contiguous"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(live, master, message):
    with pytest.raises(ValueError, match=message):
        write_perturbed({NAME: live}, {NAME: master}, direction("gaussian"), 1.0)


def test_a_live_tensor_that_is_the_master_is_refused():
    master = torch.zeros(4)
    with pytest.raises(ValueError, match="share memory"):
        write_perturbed({NAME: master}, {NAME: master}, direction("gaussian"), 1.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39])
def test_factors_that_are_no_finite_float32_are_refused_before_anything_moves(bad):
    master = torch.ones(4)
    with pytest.raises(ValueError, match="scale of a direction must be a finite float32"):
        write_perturbed({NAME: torch.zeros(4)}, {NAME: master}, direction("gaussian"), bad)
    with pytest.raises(ValueError, match="coefficient of a direction must be a finite float32"):
        add_directions({NAME: master}, [(direction("gaussian"), 1.0), (direction("gaussian", 1), bad)])
    with pytest.raises(ValueError, match="coefficient of a direction must be a finite float32"):
        write_perturbed(
            {NAME: torch.zeros(4)}, {NAME: master}, direction("gaussian"), 1.0, [(direction("gaussian"), bad)]
        )
    with pytest.raises(ValueError, match="scale of a direction must be a finite float32"):
        write_perturbed(
            {NAME: torch.zeros(4)}, {NAME: master}, direction("gaussian"), bad, [(direction("gaussian"), 1.0)]
        )
    assert torch.equal(master, torch.ones(4))
