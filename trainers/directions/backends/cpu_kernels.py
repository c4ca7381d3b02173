"""CPU kernels: draw z again in a core's cache and add it, in one pass over the weights.

Memory bounds a pass over a large model, so nothing of a tensor's size is made: tiles of a few thousand elements are
hashed, turned into values and added while they are in the first-level cache. numba compiles the specification itself
(`philox`, `radius`, `cos_sin`) without fast-math. LLVM vectorises it, and every operation rounds as IEEE 754 says: the
bits do not depend on threads, chunks, vector width or process.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from trainers.directions import counter, gaussian
from trainers.directions.backends.cpu_streaming import fence, prefetch, stream_row

TILE = 8192  # elements; the weights of a tile fit in a first-level cache with room for words and values
_NORMALS = 1024  # Gaussian elements drawn before they are added

_F32, _U32, _U64 = np.float32, np.uint32, np.uint64
_LOW_32 = _U64(0xFFFFFFFF)


def compiled(function: Callable, **options: Any) -> Any:
    """Compile with a disk cache, or without one if home and installation are read-only."""
    try:
        return njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:
        return njit(nogil=True, **options)(function)


_philox = compiled(counter.philox, inline="always")
_radius = compiled(gaussian.radius)
_cos_sin = compiled(gaussian.cos_sin)


@compiled
def _hash_blocks(first_block, num_blocks, stream, words):
    """Write the words of num_blocks blocks one after the other."""
    key0, key1, upper0, upper1 = stream[0], stream[1], stream[2], stream[3]
    for b in range(num_blocks):
        block = _U64(first_block) + _U64(b)
        w0, w1, w2, w3 = _philox(block & _LOW_32, block >> _U64(32), upper0, upper1, key0, key1)
        words[4 * b] = w0
        words[4 * b + 1] = w1
        words[4 * b + 2] = w2
        words[4 * b + 3] = w3


@compiled
def _signed(magnitude_bits, word, bit):
    """Return ±magnitude, + where the bit of the word is set, by writing the sign bit: no branch, so it vectorises."""
    sign = _U32(~word << _U32(31 - bit)) & _U32(0x80000000)
    return _U32(magnitude_bits ^ sign).view(_F32)


@compiled
def _add_rademacher(values, first, stream, coefficient, words):
    """values[i] += ±coefficient for elements first, first+1, …; first is a multiple of 128."""
    _hash_blocks(first // 128, (values.size + 127) // 128, stream, words)
    bits = _F32(coefficient).view(_U32)
    rows = values[: values.size // 32 * 32].reshape(-1, 32)
    for row in range(rows.shape[0]):
        for bit in range(32):
            rows[row, bit] += _signed(bits, words[row], bit)
    for i in range(rows.size, values.size):
        values[i] += _signed(bits, words[i // 32], i % 32)


@compiled
def _write_rademacher(target, source, first, stream, coefficient, words):
    """target[i] = source[i] ± coefficient. LLVM vectorises this loop only if the two arrays cannot be the same."""
    _hash_blocks(first // 128, (target.size + 127) // 128, stream, words)
    bits = _F32(coefficient).view(_U32)
    rows = target[: target.size // 32 * 32].reshape(-1, 32)
    source_rows = source[: rows.size].reshape(-1, 32)
    for row in range(rows.shape[0]):
        for bit in range(32):
            rows[row, bit] = source_rows[row, bit] + _signed(bits, words[row], bit)
    for i in range(rows.size, target.size):
        target[i] = source[i] + _signed(bits, words[i // 32], i % 32)


@compiled
def _add_gaussian(values, first, stream, coefficient, words, normals):
    """values[i] += coefficient · z_i, both operations rounded; first is a multiple of 4."""
    for start in range(0, values.size, _NORMALS):
        part = values[start : start + _NORMALS]
        num_blocks = (part.size + 3) // 4
        _hash_blocks((first + start) // 4, num_blocks, stream, words)
        for pair in range(2 * num_blocks):
            r = _radius(words[2 * pair])
            cosine, sine = _cos_sin(words[2 * pair + 1])
            normals[2 * pair] = r * cosine
            normals[2 * pair + 1] = r * sine
        for i in range(part.size):
            part[i] += coefficient * normals[i]


@compiled
def _add(values, first, streams, are_gaussian, coefficients, words, normals):
    """values[i] += every coefficient · z_i in turn; first is a multiple of 128."""
    for k in range(coefficients.size):
        if are_gaussian[k]:
            _add_gaussian(values, first, streams[k], coefficients[k], words, normals)
        else:
            _add_rademacher(values, first, streams[k], coefficients[k], words)


@compiled
def _write(target, source, first, streams, are_gaussian, factors, words, normals):
    """Add all terms but the last to source and write target = source + the last, for one tile."""
    _add(source, first, streams[:-1], are_gaussian[:-1], factors[:-1], words, normals)
    if are_gaussian[-1]:
        for i in range(target.size):
            target[i] = source[i]
        _add_gaussian(target, first, streams[-1], factors[-1], words, normals)
    else:
        _write_rademacher(target, source, first, streams[-1], factors[-1], words)


# Each kernel that writes live takes terms (streams, are_gaussian, factors): all but the last are added to master first.


@compiled
def stream_float32(start, stop, live, master, streams, are_gaussian, factors):
    """Write what write_float32 writes, past the caches. live is aligned, and the last term is Rademacher."""
    words, normals = np.empty(_NORMALS, _U32), np.empty(_NORMALS, _F32)
    bits = _F32(factors[-1]).view(_U32)
    for first in range(start, stop, TILE):
        end = min(first + TILE, stop)
        _add(master[first:end], first, streams[:-1], are_gaussian[:-1], factors[:-1], words, normals)
        _hash_blocks(first // 128, (end - first + 127) // 128, streams[-1], words)
        whole = end - (end - first) % 32
        for row in range(first, whole, 32):
            stream_row(live, master, row, words[(row - first) // 32], bits)
            prefetch(master, row + TILE)  # the next tile: memory is read while this one is written
            prefetch(master, row + TILE + 16)
        for i in range(whole, end):
            live[i] = master[i] + _signed(bits, words[(i - first) // 32], i % 32)
    fence()


@compiled
def write_float32(start, stop, live, master, streams, are_gaussian, factors):
    """live[start:stop] = master + scale · z, start a multiple of 128."""
    words, normals = np.empty(_NORMALS, _U32), np.empty(_NORMALS, _F32)
    for first in range(start, stop, TILE):
        end = min(first + TILE, stop)
        _write(live[first:end], master[first:end], first, streams, are_gaussian, factors, words, normals)


@compiled
def write_half(start, stop, live, master, streams, are_gaussian, factors, is_bfloat16):
    """Write what write_float32 writes as uint16 bits of bfloat16 or float16, rounded to the nearest, ties to even."""
    words, normals, tile = np.empty(_NORMALS, _U32), np.empty(_NORMALS, _F32), np.empty(TILE, _F32)
    for first in range(start, stop, TILE):
        end = min(first + TILE, stop)
        out = live[first:end]
        _write(tile[: out.size], master[first:end], first, streams, are_gaussian, factors, words, normals)
        store_half(out, tile.view(_U32), is_bfloat16)


@compiled
def store_half(out, bits, is_bfloat16):
    """out[i] = the bits of float32 bits[i] rounded to bfloat16 or float16, to the nearest, ties to even."""
    if not is_bfloat16:
        for i in range(out.size):
            out[i] = _float16_bits(bits[i])
        return
    for i in range(out.size):
        rounded = _U32(bits[i] + _U32(0x7FFF) + ((bits[i] >> _U32(16)) & _U32(1))) >> _U32(16)
        is_nan = (bits[i] & _U32(0x7FFFFFFF)) > _U32(0x7F800000)
        out[i] = _U32(0x7FC0) if is_nan else rounded


@compiled
def _float16_bits(bits):
    """Round the bits of a float32 to those of a float16, in integers: many CPUs have no such type."""
    magnitude = _U32(bits & _U32(0x7FFFFFFF))
    # Below 2^-14 adding 1/2 leaves the rounded float16 mantissa in the last bits: float32 near 1/2 is spaced 2^-24.
    subnormal = _U32(_F32(magnitude.view(_F32) + _F32(0.5)).view(_U32) - _U32(0x3F000000))
    normal = _U32(magnitude - _U32(0x38000000) + _U32(0xFFF) + ((magnitude >> _U32(13)) & _U32(1))) >> _U32(13)
    rounded = subnormal if magnitude < _U32(0x38800000) else normal
    if magnitude >= _U32(0x477FF000):
        rounded = _U32(0x7C00)
    if magnitude > _U32(0x7F800000):
        rounded = _U32(0x7E00)
    return ((bits >> _U32(16)) & _U32(0x8000)) | rounded


@compiled
def add_in_place(start, stop, master, streams, are_gaussian, coefficients):
    """master[start:stop] += every coefficient · z in turn, start a multiple of 128."""
    words, normals = np.empty(_NORMALS, _U32), np.empty(_NORMALS, _F32)
    for first in range(start, stop, TILE):
        tile = master[first : min(first + TILE, stop)]
        _add(tile, first, streams, are_gaussian, coefficients, words, normals)


@compiled
def gather(start, stop, indices, stream, is_gaussian, out):
    """out[start:stop] = the elements of z at the flat indices, each hashed by itself."""
    key0, key1, upper0, upper1 = stream[0], stream[1], stream[2], stream[3]
    for i in range(start, stop):
        index = _U64(indices[i])
        block = index >> _U64(2) if is_gaussian else index >> _U64(7)
        w0, w1, w2, w3 = _philox(block & _LOW_32, block >> _U64(32), upper0, upper1, key0, key1)
        if is_gaussian:
            second = (index & _U64(2)) != _U64(0)
            r = _radius(_U32(w2) if second else _U32(w0))
            cosine, sine = _cos_sin(_U32(w3) if second else _U32(w1))
            out[i] = r * sine if index & _U64(1) else r * cosine
        else:
            lane = (index >> _U64(5)) & _U64(3)
            word = w0 if lane == _U64(0) else w1 if lane == _U64(1) else w2 if lane == _U64(2) else w3
            out[i] = _F32(1.0) if (word >> (index & _U64(31))) & _U64(1) else _F32(-1.0)


@compiled
def squared_norm(start, stop, stream, is_gaussian):
    """Return Σ trunc(z_i² · 2³⁶) over elements start … stop - 1 as int64; start is a multiple of 128."""
    words, normals, values = np.empty(_NORMALS, _U32), np.empty(_NORMALS, _F32), np.empty(_NORMALS, _F32)
    total = np.int64(0)
    for first in range(start, stop, _NORMALS):
        row = values[: min(_NORMALS, stop - first)]
        row[:] = _F32(0)
        if is_gaussian:
            _add_gaussian(row, first, stream, _F32(1.0), words, normals)
        else:
            _add_rademacher(row, first, stream, _F32(1.0), words)
        for i in range(row.size):
            total += np.int64(np.float64(row[i]) * np.float64(row[i]) * 68719476736.0)
    return total
