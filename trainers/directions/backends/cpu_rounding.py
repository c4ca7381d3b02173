"""CPU kernels for a bfloat16 master: a tile is widened to float32 in a core's cache, moved there, and rounded back.

A bfloat16 master is passed as uint16, since numba lacks bfloat16. numba's disk cache watches this file only: touch it
after an edit of `cpu_kernels`.
"""

import numpy as np

from trainers.directions.backends.cpu_kernels import (
    _NORMALS,
    TILE,
    _add,
    _hash_blocks,
    compiled,
    store_half,
)

_F32, _U16, _U32 = np.float32, np.uint16, np.uint32
_ROUNDED = 2 * _NORMALS  # elements whose bits fit in the buffer of words


@compiled
def _widen(tile_bits, source):
    """Write the float32 bits of bfloat16 values."""
    for i in range(source.size):
        tile_bits[i] = _U32(source[i]) << _U32(16)


@compiled
def _store_rounded(out, bits, first, stream, words):
    """out[i] = float32 bits[i] rounded by the stream's bits of elements first, first+1, …; first is a multiple of 8."""
    for start in range(0, out.size, _ROUNDED):
        part, part_bits = out[start : start + _ROUNDED], bits[start : start + _ROUNDED]
        _hash_blocks((first + start) // 8, (part.size + 7) // 8, stream, words)
        for i in range(part.size):
            half = (words[i >> 1] >> _U32(16 * (i & 1))) & _U32(0xFFFF)
            is_nan = (part_bits[i] & _U32(0x7FFFFFFF)) > _U32(0x7F800000)
            part[i] = _U32(0x7FC0) if is_nan else _U32(part_bits[i] + half) >> _U32(16)


@compiled
def add_rounded(start, stop, master, streams, are_gaussian, coefficients, rounding):
    """master[start:stop] += every coefficient · z in turn, then rounded once; start a multiple of 128."""
    words, normals, tile = np.empty(_NORMALS, _U32), np.empty(_NORMALS, _F32), np.empty(TILE, _F32)
    bits = tile.view(_U32)
    for first in range(start, stop, TILE):
        part = master[first : min(first + TILE, stop)]
        _widen(bits, part)
        _add(tile[: part.size], first, streams, are_gaussian, coefficients, words, normals)
        _store_rounded(part, bits, first, rounding, words)


# Each kernel that writes live takes terms (streams, are_gaussian, factors) and only reads master.


@compiled
def write_float32(start, stop, live, master, streams, are_gaussian, factors):
    words, normals = np.empty(_NORMALS, _U32), np.empty(_NORMALS, _F32)
    for first in range(start, stop, TILE):
        tile = live[first : min(first + TILE, stop)]
        _widen(tile.view(_U32), master[first : first + tile.size])
        _add(tile, first, streams, are_gaussian, factors, words, normals)


@compiled
def write_half(start, stop, live, master, streams, are_gaussian, factors, is_bfloat16):
    words, normals, tile = np.empty(_NORMALS, _U32), np.empty(_NORMALS, _F32), np.empty(TILE, _F32)
    for first in range(start, stop, TILE):
        out = live[first : min(first + TILE, stop)]
        _widen(tile.view(_U32), master[first : first + out.size])
        _add(tile[: out.size], first, streams, are_gaussian, factors, words, normals)
        store_half(out, tile.view(_U32), is_bfloat16)
