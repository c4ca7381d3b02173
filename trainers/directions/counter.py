"""The definition of a public random direction: a pure function of (seed, step, index, kind, name, flat index).

Zeroth-order steps never store a direction; they draw it again when they need it. A direction is therefore a counter
hash (Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and not the state of a
generator: any element can be computed anywhere, in any order. This module is the executable specification in numpy.
`backends.cpu_kernels` compiles it, `backends.torch_ops` repeats it in torch, and the tests compare their bits with it.
Directions are public: anyone who has the release log can draw them, so nothing secret may come from here.

Layout of one tensor, in its own C order, with words[b] the four 32-bit words of block b:
    Rademacher  element i is bit i % 32 of words[i // 128][i % 128 // 32]; 1 means +1, 0 means -1.
    Gaussian    elements 4b, 4b+1 are `box_muller(words[b][0], words[b][1])`, 4b+2, 4b+3 that of words 2 and 3.
    Low-rank    of a tensor with m rows and n = numel / m columns: (Σ_r U_ir V_jr) / √rank, with U [m, rank] and
                V [n, rank] Gaussian under keys of their own; a tensor with less than two dimensions is Gaussian.
Two kinds lie in a public basis (`basis`): this file draws their coordinates only.
A direction may be local to a block of parameters (`blocks`): elsewhere it is 0.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from trainers.directions.gaussian import box_muller

Kind = Literal["gaussian", "rademacher", "low-rank", "activation", "public-gradient"]
DIRECTION_KINDS: tuple[str, ...] = get_args(Kind)
KINDS_IN_A_BASIS = ("activation", "public-gradient")
_RANKED = ("low-rank", *KINDS_IN_A_BASIS)
BITS_PER_BLOCK = 128
WORDS_PER_BLOCK = 4
NUM_ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85

_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
_WEYL_0, _WEYL_1 = np.uint64(WEYL[0]), np.uint64(WEYL[1])


class Block(NamedTuple):
    """Parameters that move together: their names, and how many numbers they hold."""

    names: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class Direction:
    """One public direction over the parameters of a model; ValueError for other values than these.

    Args:
        seed: public key of the run, at least 0.
        step: training step, at least 0.
        index: number of the direction among the K of its step, at least 0.
        kind: "gaussian" (independent N(0, 1) values), "rademacher" (independent signs), "low-rank" (variance 1, and
            of the given rank in each matrix), or one of `KINDS_IN_A_BASIS`.
        rank: of low-rank directions and of those in a basis, at least 1; 0 for the others.
        block: the only parameters that it moves; None for all. No part of the key of its values.
    """

    seed: int
    step: int
    index: int
    kind: Kind
    rank: int = 0
    block: Block | None = None

    def __post_init__(self) -> None:
        for field in ("seed", "step", "index"):
            _check_natural(field, getattr(self, field))
        if self.kind not in DIRECTION_KINDS:
            raise ValueError(f"Direction kind must be one of {', '.join(DIRECTION_KINDS)}; got {self.kind!r}.")
        _check_natural("rank", self.rank)
        if (self.kind in _RANKED) != (self.rank > 0):
            raise ValueError(
                f"Direction rank is at least 1 for {', '.join(_RANKED)}, and 0 otherwise; got {self.rank}, {self.kind}."
            )

    def moves(self, name: str) -> bool:
        """Return whether z is anything but 0 for this parameter."""
        return self.block is None or name in self.block.names

    @property
    def is_low_rank(self) -> bool:
        return self.kind == "low-rank"

    @property
    def is_in_a_basis(self) -> bool:
        return self.kind in KINDS_IN_A_BASIS


WeightedDirections = Sequence[tuple[Direction, float]]
"""(direction, coefficient) pairs; the sum of coefficient · z is taken in their order."""
Float32Directions = Sequence[tuple[Direction, np.float32]]
"""The same with coefficients that are checked to be finite and rounded to float32."""


class Stream(NamedTuple):
    """The key of one tensor's random words: 64-bit Philox key and two upper words of the counter, in 32-bit parts."""

    key0: int
    key1: int
    upper0: int
    upper1: int


def stream(direction: Direction, name: str) -> Stream:
    """Return the stream of a parameter by its Hugging Face name. Different names, steps and indices never share one."""
    return _hash_stream(
        "dpzo.direction.v1", direction.kind, str(direction.seed), str(direction.step), str(direction.index), name
    )


def rounding_stream(seed: int, update: int, name: str) -> Stream:
    """Return the stream of the bits by which an update rounds a parameter (`rounding`). No direction shares it."""
    _check_natural("seed", seed)
    return _hash_stream("dpzo.rounding.v1", str(seed), str(update), name)


def _encode(*fields: str) -> bytes:
    """Return the fields with their lengths, so that different lists of fields give different bytes."""
    return b"".join(b"%d:%b" % (len(part), part) for part in (field.encode() for field in fields))


def _hash_stream(*fields: str) -> Stream:
    digest = hashlib.blake2b(_encode(*fields), digest_size=16).digest()
    return Stream(*(int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8, 12)))


def philox(c0, c1, c2, c3, key0, key1):  # arrays here, scalars where numba compiles it
    """Philox4x32-10 on 32-bit words held in uint64: counter words, key words → four output words."""
    for _ in range(NUM_ROUNDS):
        product0 = _MULTIPLIER_0 * c0
        product1 = _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT_32) ^ c1 ^ key0,
            product1 & _LOW_32,
            (product0 >> _SHIFT_32) ^ c3 ^ key1,
            product0 & _LOW_32,
        )
        key0 = (key0 + _WEYL_0) & _LOW_32
        key1 = (key1 + _WEYL_1) & _LOW_32
    return c0, c1, c2, c3


def words(stream: Stream, first_block: int, num_blocks: int) -> np.ndarray:
    """Return the words of blocks first_block, first_block+1, …: uint32, shape (num_blocks, 4)."""
    block = np.arange(first_block, first_block + num_blocks, dtype=np.uint64)
    key0, key1, upper0, upper1 = (np.uint64(part) for part in stream)
    counter = block & _LOW_32, block >> _SHIFT_32, np.full_like(block, upper0), np.full_like(block, upper1)
    return np.stack(philox(*counter, key0, key1), axis=-1).astype(np.uint32)


def direction_values(direction: Direction, name: str, shape: int | Sequence[int]) -> np.ndarray:
    """Return z of one parameter of a shape (or number of elements), flat in C order: float32, shape (numel,)."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    numel = math.prod(sizes)
    if not direction.moves(name):
        return np.zeros(numel, np.float32)
    if direction.is_low_rank and len(sizes) > 1:
        left, right = low_rank_factors(direction, name, sizes)
        values = left[:, :1] * right[:, :1].T
        for r in range(1, direction.rank):
            values = values + left[:, r : r + 1] * right[:, r : r + 1].T
        return (values * low_rank_scale(direction)).reshape(-1)
    if direction.kind == "rademacher":
        drawn = words(stream(direction, name), 0, -(-numel // BITS_PER_BLOCK))
        bits = (drawn[:, :, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
        return np.where(bits == 1, np.float32(1), np.float32(-1)).reshape(-1)[:numel]
    return _normal_values(stream(direction, name), numel)


def low_rank_factors(direction: Direction, name: str, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the factors U [rows, rank] and V [columns, rank] of one tensor, float32."""
    sizes = {"left": shape[0], "right": math.prod(shape[1:])}
    key = (str(direction.seed), str(direction.step), str(direction.index), str(direction.rank), name)
    left, right = (
        _normal_values(_hash_stream("dpzo.low-rank.v1", side, *key), size * direction.rank).reshape(-1, direction.rank)
        for side, size in sizes.items()
    )
    return left, right


def basis_coordinates(direction: Direction, name: str, rows: int) -> np.ndarray:
    """Return the coordinates of a direction in a public basis, independent N(0, 1) values: float32 [rows, rank]."""
    key = (str(direction.seed), str(direction.step), str(direction.index), str(direction.rank), name)
    return _normal_values(_hash_stream("dpzo.basis.v1", direction.kind, *key), rows * direction.rank).reshape(rows, -1)


def low_rank_scale(direction: Direction) -> np.float32:
    """Return 1 / √rank, the last factor of U Vᵀ / √rank."""
    return np.float32(1.0 / math.sqrt(direction.rank))


def _normal_values(key: Stream, numel: int) -> np.ndarray:
    pairs = words(key, 0, -(-numel // WORDS_PER_BLOCK)).reshape(-1, 2)
    return np.stack(box_muller(pairs[:, 0], pairs[:, 1]), axis=-1).reshape(-1)[:numel]


def uniform_of_step(seed: int, step: int) -> float:
    """Return a public number that is uniform on the multiples of 2⁻⁵³ in [0, 1), one for each step."""
    _check_natural("seed", seed)
    high, low, *_ = map(int, words(_hash_stream("dpzo.blocks.v1", str(seed), str(step)), 0, 1)[0])
    return ((high << 21) | (low >> 11)) * 2.0**-53


def uniform_values(seed: int, name: str, numel: int, bound: float) -> np.ndarray:
    """Return values uniform on (-bound, bound), the public start of a LoRA A matrix: float32, shape (numel,).

    Element i is bound · (2w + 1 - 2²⁴) / 2²⁴, where w is the upper 24 bits of word i % 4 of block i // 4. It is
    symmetric about 0, and rounded once, in the last product. Bound is rounded to float32 first. ValueError if seed is
    no integer >= 0, or bound is not finite or below 0.
    """
    _check_natural("seed", seed)
    if not (math.isfinite(bound) and bound >= 0):
        raise ValueError(f"uniform_values needs a finite bound >= 0; got {bound!r}.")
    drawn = words(_hash_stream("dpzo.init.v1", str(seed), name), 0, -(-numel // WORDS_PER_BLOCK)).reshape(-1)[:numel]
    odd = 2 * (drawn >> np.uint32(8)).astype(np.int32) + np.int32(1 - 2**24)
    return np.float32(bound) * (odd.astype(np.float32) * np.float32(2.0**-24))


def _check_natural(field: str, value: object) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"{field} must be an integer >= 0, because it is part of a public key; got {value!r}.")
