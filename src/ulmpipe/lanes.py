"""Vectors of sixteen numbers for numba kernels, where the compiler's own vectorisation is not to be relied on.

A kernel loads, combines and stores whole vectors; LLVM turns each into one AVX-512 register or several smaller
ones, on any processor. In short loops over small arrays this is up to ten times as fast as what numba makes of
the same loop over scalars: it cannot prove that the arrays do not overlap, and prefers 256-bit registers.

Kernels work with a `pointer` to an array's data, which costs nothing to hand on and, unlike an array, takes no
index from its end. The array has to outlive it: kernels get all theirs, `aligned`, as arguments. `load` and
`store` take a pointer to float32 or float64 and the index of the first of the sixteen; nothing is checked. `+`,
`-`, `*` and `/` combine vectors with each other or with scalars; a product and the sum it goes into may be fused.
numba's cache on disk does not notice changes in this file.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import lower_builtin, models, register_model

LANES = 16

_IR_TYPES = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_SUFFIX = {types.float32: f"v{LANES}f32", types.float64: f"v{LANES}f64"}
intrinsic: Callable[[Callable[..., Any]], Any] = numba_intrinsic  # mypy sees what it makes as untyped
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


class _Vector(types.Type):
    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype} x {LANES})")


_SINGLE, _DOUBLE = _Vector(types.float32), _Vector(types.float64)
_OF = {types.float32: _SINGLE, types.float64: _DOUBLE}


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: _Vector) -> None:
        super().__init__(manager, vector, _ir_type(vector))


def _ir_type(vector: _Vector) -> ir.VectorType:
    return ir.VectorType(_IR_TYPES[vector.dtype], LANES)


def _spread(builder: Any, value: Any, kind: ir.VectorType) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES))


def _define_operator(function: Callable[..., Any], instruction: str) -> None:
    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            vectors = {argument for argument in args if isinstance(argument, _Vector)}
            if len(args) != 2 or len(vectors) != 1:
                return None
            (vector,) = vectors
            if all(a == vector or isinstance(a, (types.Float, types.Integer)) for a in args):
                return signature(vector, *(a if a == vector else vector.dtype for a in args))
            return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = _ir_type(sig.return_type)
        operands = [
            value if isinstance(of, _Vector) else _spread(builder, value, kind)
            for value, of in zip(args, sig.args, strict=True)
        ]
        return getattr(builder, instruction)(*operands, flags=("contract",))

    for vector in (_SINGLE, _DOUBLE):
        lower_builtin(function, vector, vector)(lower)
        lower_builtin(function, vector, vector.dtype)(lower)
        lower_builtin(function, vector.dtype, vector)(lower)


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define_operator(_function, _instruction)


@intrinsic
def pointer(_context, array):  # type: ignore[no-untyped-def]
    """The address of a contiguous array's first number; indexed from 0 in memory's order."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


def _address(builder: Any, data: Any, index: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


@intrinsic
def load(_context, data, index):  # type: ignore[no-untyped-def]
    """Sixteen values from `index` on."""
    vector = _OF[data.dtype]

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        kind = _ir_type(vector)
        value = builder.load(_address(builder, args[0], at, kind), typ=kind)
        value.align = data.dtype.bitwidth // 8
        return value

    return vector(data, index), generate


@intrinsic
def store(_context, data, index, vector):  # type: ignore[no-untyped-def]
    """Write a vector, from `index` on."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        pointer = _address(builder, args[0], at, _ir_type(vector))
        builder.store(args[2], pointer).align = data.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.none(data, index, vector), generate


@intrinsic
def spread(_context, value):  # type: ignore[no-untyped-def]
    """A vector of sixteen times the same float32 or float64."""
    vector = _OF[value]
    return vector(value), lambda context, builder, sig, args: _spread(builder, args[0], _ir_type(vector))


@intrinsic
def narrow(_context, vector):  # type: ignore[no-untyped-def]
    """Float64 lanes as float32."""
    return _SINGLE(vector), lambda context, builder, sig, args: builder.fptrunc(args[0], _ir_type(_SINGLE))


def _library(name: str, vector: _Vector, n_arguments: int) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = _ir_type(vector)
        full_name = f"llvm.{name}.{_SUFFIX[vector.dtype]}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * n_arguments), full_name
        )
        return builder.call(function, args)

    return generate


@intrinsic
def square_root(_context, vector):  # type: ignore[no-untyped-def]
    """√ of every lane."""
    return vector(vector), _library("sqrt", vector, 1)


@intrinsic
def nearest_integer(_context, vector):  # type: ignore[no-untyped-def]
    """Every lane rounded to the nearest whole number."""
    return vector(vector), _library("rint", vector, 1)


@intrinsic
def floor(_context, vector):  # type: ignore[no-untyped-def]
    """Every lane rounded down to a whole number."""
    return vector(vector), _library("floor", vector, 1)


@intrinsic
def smaller(_context, one, other):  # type: ignore[no-untyped-def]
    """The smaller of two, lane by lane; a number, not NaN."""
    return one(one, other), _library("minnum", one, 2)


@intrinsic
def at_most(_context, one, other):  # type: ignore[no-untyped-def]
    """1.0 in lanes where one is at most the other, else 0.0; float32."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.uitofp(builder.fcmp_ordered("<=", *args), _ir_type(_SINGLE))

    return _SINGLE(one, other), generate


@intrinsic
def larger(_context, one, other):  # type: ignore[no-untyped-def]
    """The larger of two, lane by lane; a number, not NaN."""
    return one(one, other), _library("maxnum", one, 2)


@intrinsic
def total(_context, vector):  # type: ignore[no-untyped-def]
    """Sum of the sixteen lanes, pairwise."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        scalar = _IR_TYPES[vector.dtype]
        name = f"llvm.vector.reduce.fadd.{_SUFFIX[vector.dtype]}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(scalar, [scalar, _ir_type(vector)]), name
        )
        return builder.call(function, [ir.Constant(scalar, 0.0), args[0]], fastmath=("reassoc",))

    return vector.dtype(vector), generate


@intrinsic
def power_of_two(_context, vector):  # type: ignore[no-untyped-def]
    """2 to the power of every lane, whole numbers from -126 to 127 in float32."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        whole = ir.VectorType(_INT32, LANES)
        exponent = builder.add(builder.fptosi(args[0], whole), ir.Constant(whole, [127] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(whole, [23] * LANES)), _ir_type(_SINGLE))

    return _SINGLE(vector), generate


@intrinsic
def transpose(_context, source, source_at, source_step, target, target_at, target_step):  # type: ignore[no-untyped-def]
    """Copy a 16 × 16 matrix transposed, from rows `source_step` apart to rows `target_step` apart; float32."""
    arguments = source, source_at, source_step, target, target_at, target_step
    return types.none(*arguments), _transposition(past_cache=False)


@intrinsic
def transpose_past_cache(_context, source, source_at, source_step, target, target_at, target_step):  # type: ignore[no-untyped-def]
    """The same to rows that begin on cache lines and are not soon read: straight to memory, without reading it."""
    arguments = source, source_at, source_step, target, target_at, target_step
    return types.none(*arguments), _transposition(past_cache=True)


def _transposition(*, past_cache: bool) -> Callable[..., Any]:
    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        kind = _ir_type(_SINGLE)
        whole = [
            context.cast(builder, value, of, types.intp)
            for value, of in zip(args, sig.args, strict=True)
            if isinstance(of, types.Integer)
        ]
        from_at, from_step, to_at, to_step = whole
        rows = []
        for row in range(LANES):
            index = builder.add(from_at, builder.mul(from_step, ir.Constant(_INT64, row)))
            rows.append(builder.load(_address(builder, args[0], index, kind), typ=kind))
            rows[-1].align = 4
        # log2(16) exchanges of halves between rows that are 8, 4, 2 and 1 apart
        for distance in (8, 4, 2, 1):
            kept = [lane for lane in range(LANES) if not lane & distance]
            low, high = [0] * LANES, [0] * LANES
            for lane in kept:
                low[lane], low[lane | distance] = lane, LANES + lane
                high[lane], high[lane | distance] = lane | distance, LANES + (lane | distance)
            masks = [ir.Constant(ir.VectorType(_INT32, LANES), mask) for mask in (low, high)]
            for row in kept:
                pair = rows[row], rows[row | distance]
                rows[row], rows[row | distance] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        for row in range(LANES):
            index = builder.add(to_at, builder.mul(to_step, ir.Constant(_INT64, row)))
            stored = builder.store(rows[row], _address(builder, args[3], index, kind))
            stored.align = 64 if past_cache else 4
            if past_cache:
                one = builder.module.add_metadata([ir.Constant(_INT32, 1)])
                stored.set_metadata("nontemporal", one)
        return context.get_dummy_value()

    return generate


@numba.njit(nogil=True, error_model="numpy")
def sine_cosine(turns):  # type: ignore[no-untyped-def]
    """Sine and cosine of 2π turns for |turns| ≤ ½, by Taylor polynomials of the half angle; error 1e-7."""
    x = turns * np.float32(math.pi)
    s = x * x
    sine = s * np.float32(1 / 6227020800) + np.float32(-1 / 39916800)
    sine = s * (s * (s * (s * sine + np.float32(1 / 362880)) + np.float32(-1 / 5040)) + np.float32(1 / 120))
    sine = x + x * (s * (sine + np.float32(-1 / 6)))
    cosine = s * np.float32(1 / 479001600) + np.float32(-1 / 3628800)
    cosine = s * (s * (s * cosine + np.float32(1 / 40320)) + np.float32(-1 / 720)) + np.float32(1 / 24)
    cosine = np.float32(1) + s * (s * cosine - np.float32(0.5))
    twice = sine + sine
    return twice * cosine, np.float32(1) - twice * sine
