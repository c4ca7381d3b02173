"""The hash, its layout, its keys, and golden values, so that the specification can never drift silently."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.directions import Direction, counter, direction_values, uniform_values

GAUSSIAN = Direction(seed=17, step=4, index=2, kind="gaussian")
RADEMACHER = Direction(seed=17, step=4, index=2, kind="rademacher")
NAME = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("counters", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counters, key, expected):
    outputs = counter.philox(*np.array([*counters, *key], np.uint64).reshape(6, 1))
    assert tuple(int(word[0]) for word in outputs) == expected


def test_words_count_blocks_in_the_two_lower_words_of_the_counter():
    block = 0x243F6A88 | 0x85A308D3 << 32
    stream = counter.Stream(key0=0xA4093822, key1=0x299F31D0, upper0=0x13198A2E, upper1=0x03707344)
    drawn = counter.words(stream, block, 1)
    assert (drawn.dtype, drawn.shape) == (np.uint32, (1, 4))
    assert tuple(drawn[0]) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def test_blocks_are_counted_with_64_bits():
    stream = counter.Stream(1, 2, 3, 4)
    across = counter.words(stream, 2**32 - 2, 4)
    assert len(np.unique(across)) == 16
    np.testing.assert_array_equal(across[2:], counter.words(stream, 2**32, 2))
    assert not np.array_equal(across[2:], counter.words(stream, 0, 2))


def test_rademacher_element_is_its_bit():
    values = direction_values(RADEMACHER, NAME, 1000)
    words = counter.words(counter.stream(RADEMACHER, NAME), 0, 8)
    for i in (0, 1, 31, 32, 127, 128, 500, 999):
        bit = int(words[i // 128, i % 128 // 32]) >> (i % 32) & 1
        assert values[i] == (1 if bit else -1)


def test_gaussian_element_is_box_muller_of_its_pair():
    values = direction_values(GAUSSIAN, NAME, 1001)
    words = counter.words(counter.stream(GAUSSIAN, NAME), 0, 251).astype(np.float64)
    for block in (0, 1, 77, 250):
        for pair in range(2):
            radius = np.sqrt(-2 * np.log((words[block, 2 * pair] + 0.5) / 2**32))
            angle = 2 * np.pi * words[block, 2 * pair + 1] / 2**32
            expected = np.array([radius * np.cos(angle), radius * np.sin(angle)])
            got = values[4 * block + 2 * pair :][:2]
            np.testing.assert_allclose(got, expected[: len(got)], atol=2e-6)


@pytest.mark.parametrize("direction", [GAUSSIAN, RADEMACHER])
def test_a_shorter_tensor_is_a_prefix(direction):
    values = direction_values(direction, NAME, 1031)
    for numel in (0, 1, 5, 127, 128, 129, 1030):
        np.testing.assert_array_equal(direction_values(direction, NAME, numel), values[:numel])


def test_golden_rademacher():
    values = direction_values(RADEMACHER, NAME, 10_000)
    assert values.dtype == np.float32
    assert np.packbits(values[:64] > 0, bitorder="little").tobytes().hex() == "0a51cfa69153c513"
    assert hashlib.sha256(values.astype(np.int8).tobytes()).hexdigest()[:16] == "22881624e194c446"


def test_golden_gaussian():
    values = direction_values(GAUSSIAN, NAME, 10_000)
    assert values.dtype == np.float32
    expected = [-1.07660, 0.06681, -0.74344, -0.38176, -0.41849, -0.72592, 0.67739, -0.15125]
    np.testing.assert_allclose(values[:8], expected, atol=1e-5)
    # Only IEEE operations enter, so the bits are the same wherever numpy runs.
    assert hashlib.sha256(values.tobytes()).hexdigest()[:16] == "25093c41c88f8dbd"


def test_golden_uniform():
    values = uniform_values(17, NAME, 10_000, 0.25)
    np.testing.assert_allclose(values[:4], [0.22126262, 0.14741747, 0.12301971, 0.14882292], atol=1e-7)
    assert hashlib.sha256(values.tobytes()).hexdigest()[:16] == "6535984c2f705e30"


def test_every_part_of_the_key_changes_the_stream():
    streams = {
        counter.stream(Direction(seed, step, index, kind), name)
        for seed in (0, 1)
        for step in (0, 1)
        for index in (0, 1)
        for kind in ("gaussian", "rademacher")
        for name in ("a", "b")
    }
    assert len(streams) == 32
    assert len({part for stream in streams for part in stream}) == 4 * 32


def test_fields_cannot_run_into_each_other():
    keys = [(1, 11, 1, "a"), (11, 1, 1, "a"), (1, 1, 11, "a"), (1, 1, 1, "1a"), (1, 1, 1, "a"), (1, 1, 1, "1:a")]
    streams = {counter.stream(Direction(seed, step, index, "gaussian"), name) for seed, step, index, name in keys}
    assert len(streams) == len(keys)


@given(st.lists(st.text(), max_size=4))
def test_the_encoding_can_be_decoded_so_it_is_unambiguous(fields):
    rest, decoded = counter._encode(*fields), []
    while rest:
        length, rest = rest.split(b":", 1)
        decoded.append(rest[: int(length)].decode())
        rest = rest[int(length) :]
    assert decoded == fields


@pytest.mark.parametrize("bad", [-1, 1.0, True, "1", None, np.int64(1)])
@pytest.mark.parametrize("field", ["seed", "step", "index"])
def test_direction_refuses_what_is_no_public_key(field, bad):
    with pytest.raises(ValueError, match=f"{field} must be an integer >= 0"):
        Direction(**({"seed": 0, "step": 0, "index": 0, "kind": "gaussian"} | {field: bad}))


def test_direction_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="gaussian, rademacher, low-rank, activation, public-gradient; got 'normal'"):
        Direction(0, 0, 0, "normal")  # pyright: ignore[reportArgumentType]


def test_uniform_values_fill_the_open_interval_evenly():
    values = uniform_values(3, "lora_A", 400_000, 0.5).astype(np.float64)
    assert np.abs(values).max() < 0.5
    assert np.abs(values).max() > 0.4999
    assert abs(values.mean()) < 5 * 0.5 / np.sqrt(3 * values.size)  # 5 standard deviations: false alarm 6e-7
    counts = np.histogram(values, bins=50, range=(-0.5, 0.5))[0]
    chi_square = ((counts - 8000) ** 2 / 8000).sum()
    assert chi_square < 110  # 49 degrees of freedom: false alarm 1e-6


def test_uniform_values_are_symmetric_and_never_zero():
    odd = uniform_values(3, "lora_A", 4096, 1.0).astype(np.float64) * 2**24
    assert np.all(odd % 2 == 1)


def test_uniform_values_round_once():
    bound = 0.1
    values = uniform_values(3, "lora_A", 4096, bound)
    scaled = uniform_values(3, "lora_A", 4096, 1.0).astype(np.float64) * float(np.float32(bound))
    np.testing.assert_array_equal(values, scaled.astype(np.float32))
    assert not np.array_equal(values, uniform_values(3, "lora_B", 4096, bound))
    assert not np.array_equal(values, uniform_values(4, "lora_A", 4096, bound))
    assert not uniform_values(3, "lora_A", 8, 0.0).any()


@pytest.mark.parametrize("bound", [-1.0, float("nan"), float("inf")])
def test_uniform_values_refuse_a_bound_that_is_none(bound):
    with pytest.raises(ValueError, match="finite bound >= 0"):
        uniform_values(0, "a", 4, bound)


def test_importing_the_package_loads_neither_torch_nor_numba():
    code = "import sys, trainers.directions; sys.exit(bool({'torch', 'numba', 'scipy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
