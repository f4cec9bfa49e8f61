"""|chi| < 1 for images and point spread functions of any finite values, chosen by hypothesis to break it."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ulmpipe.correlation import correlation_map

LARGEST = float(np.finfo(np.float32).max)
# Any finite float32, subnormals included; and magnitudes drawn evenly over all of its range.
NUMBERS = st.one_of(
    st.floats(-LARGEST, LARGEST, width=32),
    st.builds(lambda sign, exponent: sign * 2.0**exponent, st.sampled_from([-1, 1]), st.integers(-149, 127)),
    st.sampled_from([0.0, 1.0, -1.0]),
)
REGULARIZATION = st.one_of(st.just(0.0), st.floats(0, 1e6), st.sampled_from([1e-30, 1e12]))


def complex_arrays(shapes, numbers) -> st.SearchStrategy:
    """Arrays of complex64 whose parts are any `numbers`."""
    parts = shapes.flatmap(lambda shape: arrays.arrays(np.float32, (*shape, 2), elements=numbers))
    return parts.map(lambda array: np.ascontiguousarray(array).view(np.complex64)[..., 0])


IMAGES = complex_arrays(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), NUMBERS)
ODD = st.sampled_from([1, 3, 5, 7])
# A modulus above float32's range is refused, so parts here are at most half of it.
FUNCTIONS = complex_arrays(
    st.tuples(ODD, ODD), NUMBERS.filter(lambda value: abs(value) <= LARGEST / 2)
).filter(lambda function: function.any())


def assert_below_one(iq: np.ndarray, function: np.ndarray, regularization: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chi = correlation_map(iq, function, regularization=regularization)
    assert np.isfinite(chi).all()
    assert np.abs(chi.astype(complex)).max() < 1


@settings(max_examples=400, deadline=None)
@given(IMAGES, FUNCTIONS, REGULARIZATION)
@example(np.full((1, 1, 1), 1e-45, np.complex64), np.full((1, 1), 1e-45, np.complex64), 0.0)
@example(np.full((1, 3, 3), LARGEST * (1 + 1j), np.complex64), np.ones((3, 3), np.complex64), 0.0)
@example(np.full((1, 7, 7), 1 / 3 + 1j / 7, np.complex64), np.full((7, 7), 1 / 3 + 1j / 7, np.complex64), 0.0)
def test_the_modulus_is_below_one_for_any_finite_numbers(iq, function, regularization) -> None:
    assert_below_one(iq, function, regularization)


@settings(max_examples=300, deadline=None)
@given(FUNCTIONS, st.integers(-140, 120), st.floats(0, 2 * np.pi), st.integers(0, 2**32 - 1))
def test_a_copy_of_the_function_at_any_scale_among_others_of_any_scale(
    function, exponent, phase, seed
) -> None:
    # The worst case of Cauchy and Schwarz: the image is the function itself, times a constant.
    rng = np.random.default_rng(seed)
    height, width = function.shape
    unit = function / max(np.abs(function.view(np.float32)).max(), np.finfo(np.float32).tiny)
    iq = np.zeros((2, height + 8, width + 8), np.complex64)
    iq[0, 4 : 4 + height, 4 : 4 + width] = unit * np.exp(1j * phase) * 2.0**exponent
    iq[1] = 2.0 ** rng.integers(-148, 126, iq[1].shape)
    assert_below_one(iq, function, 0.0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(3, 3), (9, 9), (15, 7), (31, 31)]))
def test_a_copy_of_the_function_reaches_but_does_not_pass_one(seed, shape) -> None:
    rng = np.random.default_rng(seed)
    function = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    function *= 2.0 ** rng.integers(-30, 30, shape).astype(np.float32)
    modulus = np.abs(correlation_map(function[None], function, regularization=0.0)[0].astype(complex))
    assert 1 - 1e-3 < modulus[shape[0] // 2, shape[1] // 2] < 1
    assert modulus.max() < 1
