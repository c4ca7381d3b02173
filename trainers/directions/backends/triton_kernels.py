"""The GPU kernel: draws z again in registers and adds it, in one pass over the weights for all directions of a step.

It repeats the specification of `counter` and `gaussian`. Triton's own Philox has the same constants and rounds. All
other operations are those that IEEE 754 rounds in one way only, and the launch forbids fusing them
(`enable_fp_fusion=False`): the bits are those of the other backends.

A tile of Rademacher signs is two-dimensional, [words, 32 bits]: 128 elements share one hash. A tile of normal values is
one row of hashes, each of which gives four consecutive values.
"""
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# Triton compiles the source of these functions; Python never calls them.

import triton
import triton.language as tl

from trainers.directions import gaussian

TILE = 1024  # elements of one program, a multiple of 128

_MINUS_2_LN_2, _RADIANS = tl.constexpr(gaussian.MINUS_2_LN_2), tl.constexpr(gaussian.RADIANS)
_SQRT_HALF_BITS = tl.constexpr(gaussian.SQRT_HALF_BITS)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = (tl.constexpr(value) for value in gaussian.LOG)
_S0, _S1, _S2 = (tl.constexpr(value) for value in gaussian.SIN)
_C0, _C1, _C2, _C3 = (tl.constexpr(value) for value in gaussian.COS)


@triton.jit
def _words(blocks, key):
    """Return the four words of each block, uint32; key points to (64-bit Philox key, two upper counter words)."""
    upper0, upper1 = tl.load(key + 1).to(tl.uint32), tl.load(key + 2).to(tl.uint32)
    c2, c3 = tl.zeros_like(blocks).to(tl.uint32) + upper0, tl.zeros_like(blocks).to(tl.uint32) + upper1
    return tl.philox(
        tl.load(key).to(tl.uint64, bitcast=True), blocks.to(tl.uint32), (blocks >> 32).to(tl.uint32), c2, c3
    )


@triton.jit
def _radius(word):
    bits = (word.to(tl.float32) + 0.5).to(tl.int32, bitcast=True)
    exponent = (bits - _SQRT_HALF_BITS) >> 23
    t = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
    q = (((_L8 * t + _L7) * t + _L6) * t + _L5) * t + _L4
    q = (((q * t + _L3) * t + _L2) * t + _L1) * t + _L0
    return tl.sqrt_rn(q * t + (exponent - 32).to(tl.float32) * _MINUS_2_LN_2)


@triton.jit
def _cos_sin(word):
    quarter = (word + 0x20000000) >> 30
    a = (word - (quarter << 30)).to(tl.int32, bitcast=True).to(tl.float32) * _RADIANS
    aa = a * a
    sine = a + (a * aa) * ((_S2 * aa + _S1) * aa + _S0)
    cosine = 1.0 + aa * (((_C3 * aa + _C2) * aa + _C1) * aa + _C0)
    odd = (quarter & 1) == 1
    swapped_cosine, swapped_sine = tl.where(odd, sine, cosine), tl.where(odd, cosine, sine)
    cosine = tl.where(((quarter + 1) & 2) == 2, -swapped_cosine, swapped_cosine)
    return cosine, tl.where((quarter & 2) == 2, -swapped_sine, swapped_sine)


@triton.jit
def _in_order(first, second, third, fourth):
    """Return four rows as one: first[0], second[0], third[0], fourth[0], first[1], …"""
    return tl.interleave(tl.interleave(first, third), tl.interleave(second, fourth))


@triton.jit
def _values(start, key, GAUSSIAN: tl.constexpr, SIZE: tl.constexpr):
    """Return z of a tile: [SIZE] normal values, or [SIZE / 32, 32] signs."""
    if GAUSSIAN:
        w0, w1, w2, w3 = _words(start // 4 + tl.arange(0, SIZE // 4), key)
        r0, r1 = _radius(w0), _radius(w2)
        cos0, sin0 = _cos_sin(w1)
        cos1, sin1 = _cos_sin(w3)
        z = _in_order(r0 * cos0, r0 * sin0, r1 * cos1, r1 * sin1)
    else:
        w0, w1, w2, w3 = _words(start // 128 + tl.arange(0, SIZE // 128), key)
        words = _in_order(w0, w1, w2, w3)
        bits = (words[:, None] >> tl.arange(0, 32)[None, :].to(tl.uint32)) & 1
        z = 2.0 * bits.to(tl.float32) - 1.0
    return z


@triton.jit
def _bfloat16(values):
    """Round to the nearest, ties to even, in integers: a plain cast rounds differently on some devices."""
    bits = values.to(tl.uint32, bitcast=True)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    rounded = tl.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC0, rounded)
    return rounded.to(tl.uint16).to(tl.bfloat16, bitcast=True)


@triton.jit
def one_pass(
    live, master, keys, factors, numel, num_terms, GAUSSIAN: tl.constexpr, WRITES: tl.constexpr, SIZE: tl.constexpr
):
    """Add terms to master, and where it WRITES, live ← master + the last term, which is not added.

    keys: int64 [terms, 3], factors: float32 [terms], in order; each product and each sum is rounded. A bfloat16 master
    is only read.
    """
    start = tl.program_id(0).to(tl.int64) * SIZE
    if GAUSSIAN:
        places = start + tl.arange(0, SIZE)
    else:
        places = start + tl.arange(0, SIZE // 32)[:, None] * 32 + tl.arange(0, 32)[None, :]
    inside = places < numel
    values = tl.load(master + places, mask=inside, other=0.0).to(tl.float32)
    num_added = num_terms - 1 if WRITES else num_terms
    for k in range(num_added):
        values = values + tl.load(factors + k) * _values(start, keys + 3 * k, GAUSSIAN, SIZE)
    if num_added > 0:
        tl.store(master + places, values, mask=inside)
    if WRITES:
        moved = values + tl.load(factors + num_added) * _values(start, keys + 3 * num_added, GAUSSIAN, SIZE)
        if live.dtype.element_ty == tl.bfloat16:
            moved = _bfloat16(moved)
        tl.store(live + places, moved.to(live.dtype.element_ty), mask=inside)
