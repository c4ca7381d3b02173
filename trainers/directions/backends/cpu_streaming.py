"""Three instructions that numba lacks: a store past the caches, a prefetch and a fence.

A core that writes weights through its caches first reads the old ones from memory; a non-temporal store does not, and
memory bounds a write of the weights. LLVM splits the vectors for narrower machines, and emits a plain store for an
architecture without such an instruction. numba's disk cache watches `cpu_kernels.py` only: touch that file after an
edit of this one.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

ALIGNMENT = 64  # bytes; where target must begin, so that each row of 32 float32 fills whole cache lines
_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_ROW_I32, _ROW_F32 = ir.VectorType(_I32, 32), ir.VectorType(ir.FloatType(), 32)
_SHIFTS = ir.Constant(_ROW_I32, [31 - bit for bit in range(32)])
_SIGN = ir.Constant(_ROW_I32, [0x80000000] * 32)


def _intrinsic(function: Callable) -> Any:
    return intrinsic(function)


@_intrinsic
def stream_row(_context, target, source, start, word, magnitude_bits):
    """Write target[start + b] = source[start + b] ± magnitude, + where bit b < 32 of the word is set, past the caches.

    target, source: float32 arrays in C order; target begins at a multiple of ALIGNMENT bytes, start is one of 32.
    """

    def generate(context, builder, signature, arguments):
        target, source, start, word, bits = arguments
        signs = builder.and_(builder.shl(_splat(builder, builder.not_(word)), _SHIFTS), _SIGN)
        step = builder.bitcast(builder.xor(_splat(builder, bits), signs), _ROW_F32)
        row = _pointer(context, builder, signature.args[1], source, start, _ROW_F32)
        total = builder.fadd(builder.load(row, align=4), step)
        row = _pointer(context, builder, signature.args[0], target, start, _ROW_F32)
        store = builder.store(total, row, align=ALIGNMENT)
        store.set_metadata("nontemporal", builder.module.add_metadata([_I32(1)]))
        return context.get_dummy_value()

    return types.void(target, source, start, word, magnitude_bits), generate


@_intrinsic
def prefetch(_context, array, index):
    """Request the cache line of array[index], which may lie beyond the end of the array."""

    def generate(context, builder, signature, arguments):
        array, index = arguments
        line = _pointer(context, builder, signature.args[0], array, index, _I8)
        kind = ir.FunctionType(ir.VoidType(), [line.type, _I32, _I32, _I32])
        request = builder.module.declare_intrinsic("llvm.prefetch", [line.type], kind)
        builder.call(request, [line, _I32(0), _I32(3), _I32(1)])  # to read, keep in all levels, data
        return context.get_dummy_value()

    return types.void(array, index), generate


@_intrinsic
def fence(_context):
    """Make the stores of `stream_row` visible before any later store: they are ordered weakly, even on x86."""

    def generate(context, builder, _signature, _arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


def _pointer(context, builder, array_type, array, index, pointee):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), pointee.as_pointer())


def _splat(builder, value):
    """Repeat a 32-bit value 32 times."""
    nothing = ir.Constant(_ROW_I32, ir.Undefined)
    first = builder.insert_element(nothing, value, _I32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(_ROW_I32, [0] * 32))
