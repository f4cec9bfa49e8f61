"""Vectors of sixteen numbers in numba kernels: every operation against NumPy's."""

from __future__ import annotations

from types import FunctionType

import numba
import numpy as np
import pytest

from ulmpipe.lanes import (
    LANES,
    at_most,
    floor,
    larger,
    load,
    narrow,
    nearest_integer,
    pointer,
    power_of_two,
    sine_cosine,
    smaller,
    spread,
    square_root,
    store,
    total,
    transpose,
    transpose_past_cache,
)
from ulmpipe.memory import aligned, aligned_copy


def values(dtype: str, seed: int = 0) -> np.ndarray:
    return (3 * np.random.default_rng(seed).standard_normal(LANES)).astype(dtype)


def apply(function, *arrays: np.ndarray) -> np.ndarray:
    """What a function of vectors makes of arrays of sixteen."""
    one, other = arrays[0], arrays[-1]
    compiled = numba.njit(function) if isinstance(function, FunctionType) else function  # or an intrinsic

    @numba.njit
    def kernel(one, other, result):
        store(pointer(result), 0, compiled(load(pointer(one), 0), load(pointer(other), 0)))

    result = np.full(LANES, np.nan, one.dtype)
    kernel(one, other, result)
    return result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda a, b: a + b, lambda a, b: a + b),
        (lambda a, b: a - b, lambda a, b: a - b),
        (lambda a, b: a * b, lambda a, b: a * b),
        (lambda a, b: a / b, lambda a, b: a / b),
        (lambda a, b: 2.0 * a - b / 4.0 + 1, lambda a, b: 2 * a - b / 4 + 1),
        (lambda a, _: square_root(a * a), lambda a, _: np.abs(a)),
        (lambda a, _: nearest_integer(a), lambda a, _: np.rint(a)),
        (lambda a, _: floor(a), lambda a, _: np.floor(a)),
        (larger, np.maximum),
        (smaller, np.minimum),
        (lambda a, _: a + spread(total(a)), lambda a, _: a + a.sum()),
    ],
)
def test_arithmetic_is_numpy_s(dtype, function, expected) -> None:
    one, other = values(dtype), values(dtype, 1)
    tolerance = 2e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(
        apply(function, one, other), expected(one, other), rtol=tolerance, atol=tolerance
    )


def test_comparison_gives_ones_and_zeros_and_nan_is_no_match() -> None:
    one, other = values("float32"), values("float32", 1)
    other[3], one[5] = one[3], np.nan
    np.testing.assert_array_equal(apply(at_most, one, other), (one <= other).astype("float32"))


def test_the_larger_and_the_smaller_of_a_number_and_nan_is_the_number() -> None:
    one, other = np.full(LANES, np.nan, "float32"), values("float32")
    np.testing.assert_array_equal(apply(larger, one, other), other)
    np.testing.assert_array_equal(apply(smaller, one, other), other)


def test_double_precision_is_narrowed_and_powers_of_two_are_exact() -> None:
    @numba.njit
    def kernel(double, result):
        store(pointer(result), 0, narrow(load(pointer(double), 0)))
        store(pointer(result), LANES, power_of_two(narrow(nearest_integer(load(pointer(double), 0)))))

    double, result = 10 * values("float64"), np.zeros(2 * LANES, "float32")
    kernel(double, result)
    np.testing.assert_array_equal(result[:LANES], double.astype("float32"))
    np.testing.assert_array_equal(result[LANES:], 2.0 ** np.rint(double))


def test_sine_and_cosine_of_turns() -> None:
    @numba.njit
    def kernel(turns, result):
        sine, cosine = sine_cosine(load(pointer(turns), 0))
        store(pointer(result), 0, sine)
        store(pointer(result), LANES, cosine)

    for start in np.linspace(-0.5, 0.5 - 1 / LANES, 40):
        turns = (start + np.arange(LANES) / LANES**2).astype("float32")
        result = np.zeros(2 * LANES, "float32")
        kernel(turns, result)
        exact = 2 * np.pi * turns.astype(float)
        np.testing.assert_allclose(result, np.concatenate([np.sin(exact), np.cos(exact)]), atol=3e-7)


@pytest.mark.parametrize("way", [transpose, transpose_past_cache])
def test_a_matrix_is_transposed_between_rows_of_any_distance(way) -> None:
    @numba.njit
    def kernel(source, target):
        way(pointer(source), 3, 21, pointer(target), 16, 48)

    source, target = aligned(400, np.float32), aligned(16 + 16 * 48, np.float32)
    source[:] = np.arange(400)
    target[:] = -1
    kernel(source, target)
    matrix = np.lib.stride_tricks.as_strided(source[3:], (16, 16), (4 * 21, 4))
    rows = np.lib.stride_tricks.as_strided(target[16:], (16, 16), (4 * 48, 4))
    np.testing.assert_array_equal(rows, matrix.T)
    assert (target == -1).sum() == target.size - 256


def test_aligned_memory_begins_on_a_cache_line() -> None:
    for size in (1, 7, 1000):
        assert aligned((size, 3), np.complex64).ctypes.data % 64 == 0
        copy = aligned_copy(np.arange(size))
        assert copy.ctypes.data % 64 == 0
        np.testing.assert_array_equal(copy, np.arange(size))
