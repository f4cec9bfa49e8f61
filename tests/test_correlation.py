"""Correlation maps: against the formula written out, and |chi| < 1 against the worst inputs we can think of."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmpipe.correlation import as_channels, correlation_map, remove_carrier, unit_images
from ulmpipe.errors import InputError


def random_images(rng, shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def written_out(iq, psf, *, regularization):
    """The docstring's formula, pixel by pixel in float64."""
    half_z, half_x = psf.shape[0] // 2, psf.shape[1] // 2
    numerator, energy = np.zeros(iq.shape, complex), np.zeros(iq.shape)
    for frame, z, x in np.ndindex(iq.shape):
        for u, v in np.ndindex(psf.shape):
            at = z + u - half_z, x + v - half_x
            if 0 <= at[0] < iq.shape[1] and 0 <= at[1] < iq.shape[2]:
                value = complex(iq[frame, at[0], at[1]])
                numerator[frame, z, x] += value * np.conj(complex(psf[u, v]))
                energy[frame, z, x] += abs(value) ** 2
    total = np.sum(np.abs(psf.astype(complex)) ** 2)
    return numerator / np.sqrt(total * (energy + regularization**2 * energy.mean()))


@pytest.mark.parametrize("psf_shape", [(3, 5), (9, 9), (1, 1), (7, 15)])
@pytest.mark.parametrize("regularization", [0.0, 0.3])
def test_it_is_the_normalised_cross_correlation(psf_shape, regularization):
    rng = np.random.default_rng(0)
    iq, psf = random_images(rng, (2, 6, 11)) * 1e4, random_images(rng, psf_shape) * 1e-3
    chi = correlation_map(iq, psf, regularization=regularization)
    assert chi.dtype == np.complex64
    np.testing.assert_allclose(chi, written_out(iq, psf, regularization=regularization), atol=5e-5)


def test_a_copy_of_the_psf_correlates_to_one_and_carries_its_phase():
    rng = np.random.default_rng(1)
    psf = random_images(rng, (9, 9))
    iq = np.zeros((1, 30, 30), np.complex64)
    iq[0, 8:17, 10:19] = 250 * np.exp(0.7j) * psf
    chi = correlation_map(iq, psf, regularization=0.0)[0]
    assert np.abs(chi[12, 14]) == pytest.approx(1, abs=1e-4)
    assert np.angle(chi[12, 14]) == pytest.approx(0.7, abs=1e-4)
    assert np.unravel_index(np.abs(chi).argmax(), chi.shape) == (12, 14)


def test_the_regularization_silences_what_is_far_below_the_mean():
    rng = np.random.default_rng(2)
    psf = random_images(rng, (5, 5))
    iq = random_images(rng, (4, 20, 20)) * 1e-3
    iq[2, 5:10, 5:10] += 10 * psf
    loud = np.abs(correlation_map(iq, psf, regularization=0.0))
    quiet = np.abs(correlation_map(iq, psf, regularization=0.1))
    assert np.median(loud[0]) > 20 * np.median(quiet[0])
    assert quiet[2, 7, 7] > 0.95


ADVERSARIES = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["random", "psf", "constant", "one pixel", "psf among giants"]),
    st.sampled_from([1e-44, 1e-30, 1e-12, 1.0, 1e12, 1e37]),
    st.sampled_from([(1, 1), (1, 3), (3, 1), (9, 9), (21, 15)]),
    st.sampled_from([0.0, 1e-6, 0.1]),
)


@settings(max_examples=150, deadline=None)
@given(ADVERSARIES)
def test_the_modulus_stays_below_one_whatever_the_images(adversary):
    seed, kind, amplitude, psf_shape, regularization = adversary
    rng = np.random.default_rng(seed)
    psf = random_images(rng, psf_shape)
    iq = random_images(rng, (2, 23, 19))
    if kind == "constant":
        iq[:], psf = 1 + 1j, np.ones(psf_shape, np.complex64)
    elif kind == "one pixel":
        iq[:] = 0
        iq[1, rng.integers(23), rng.integers(19)] = 1
    elif kind.startswith("psf"):
        iq[:] = 0
        iq[0, : psf_shape[0], : psf_shape[1]] = psf * np.exp(2j * np.pi * rng.uniform())
        if kind == "psf among giants":
            iq[1] = 1e20
    iq = (iq / np.abs(iq.view(np.float32)).max() * np.float32(amplitude)).astype(np.complex64)
    chi = correlation_map(iq, psf, regularization=regularization)
    assert np.isfinite(chi).all()
    assert np.abs(chi.astype(complex)).max() < 1


def test_empty_images_correlate_to_zero():
    psf = np.ones((3, 3), np.complex64)
    for regularization in (0.0, 0.1):
        assert not correlation_map(
            np.zeros((2, 8, 8), np.complex64), psf, regularization=regularization
        ).any()
    assert correlation_map(np.zeros((0, 8, 8), np.complex64), psf, regularization=0.1).shape == (0, 8, 8)


def test_the_map_does_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(4)
    iq, psf = random_images(rng, (37, 33, 29)), random_images(rng, (9, 9))
    threads = numba.get_num_threads()
    together = correlation_map(iq, psf, regularization=0.1)
    try:
        numba.set_num_threads(1)
        single = correlation_map(iq, psf, regularization=0.1)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(together, single)


def test_without_the_carrier_a_bubble_has_one_phase_and_it_tells_its_depth():
    wavenumber, depth = 2 * np.pi * 14e6 / 1540, 8.003e-3
    z = 8e-3 + np.arange(-4, 5) * 25e-6
    analytic = np.exp(2j * wavenumber * (z - depth))[None, :, None].astype(np.complex64)
    phase = np.angle(remove_carrier(analytic, z, wavenumber=wavenumber))
    expected = np.angle(np.exp(-2j * wavenumber * depth))
    np.testing.assert_allclose(phase, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("iq", "psf", "regularization", "message"),
    [
        (np.ones((4, 4)), np.ones((3, 3)), 0.1, "expected .frame, z, x."),
        (np.ones((1, 4, 4)), np.ones((4, 3)), 0.1, "odd sides"),
        (np.ones((1, 4, 4)), np.zeros((3, 3)), 0.1, "non-zero"),
        (np.ones((1, 4, 4)), np.ones((3, 3)), -0.1, "regularization: -0.1"),
        (np.full((1, 4, 4), np.nan), np.ones((3, 3)), 0.1, "finite"),
    ],
)
def test_a_bad_input_is_named(iq, psf, regularization, message):
    with pytest.raises(InputError, match=message):
        correlation_map(iq.astype(np.complex64), psf.astype(np.complex64), regularization=regularization)


@pytest.mark.parametrize("scale", [1.0, 3e-30, 2e30])
def test_unit_images_have_a_root_mean_square_of_one_whatever_their_scale(scale):
    """Squares of such float32 values would vanish or overflow."""
    iq = random_images(np.random.default_rng(5), (70, 7, 9))
    unit = unit_images((iq * scale).astype(np.complex64), window=9)
    assert unit.dtype == np.complex64
    expected = iq / np.sqrt(np.mean(np.abs(iq.astype(complex)) ** 2))
    np.testing.assert_allclose(unit, expected, rtol=1e-5)
    assert np.isfinite(as_channels(unit)).all()


def test_pixels_that_a_motion_or_a_mask_left_empty_do_not_make_the_others_brighter():
    inner = random_images(np.random.default_rng(6), (5, 8, 10))
    masked = np.pad(inner, ((0, 0), (4, 4), (4, 4)))
    unit = unit_images(inner, window=18)
    np.testing.assert_allclose(unit_images(masked, window=18)[:, 4:-4, 4:-4], unit, rtol=1e-6)
    of_other_order = np.asfortranarray(inner)
    np.testing.assert_array_equal(unit_images(of_other_order, window=18), unit)


@pytest.mark.parametrize("window", [1, 4, 5, 8, 30])
def test_the_scale_of_a_pixel_is_that_of_the_window_around_it_moved_into_the_field(window):
    iq = random_images(np.random.default_rng(7), (3, 8, 11))
    iq[:, :, 6:] *= 30
    iq[:, 2:5, 1:4] = 0
    found = unit_images(iq, window=window)
    for z, x in np.ndindex(8, 11):
        first_z = min(max(z - window // 2, 0), max(8 - window, 0))
        first_x = min(max(x - window // 2, 0), max(11 - window, 0))
        around = iq[:, first_z : first_z + window, first_x : first_x + window].astype(complex)
        filled = around[around != 0]
        mean_square = np.mean(np.abs(filled) ** 2) if filled.size else 1.0
        np.testing.assert_allclose(found[:, z, x], iq[:, z, x] / np.sqrt(mean_square), rtol=1e-5)


def test_what_fades_with_depth_comes_back_on_one_scale():
    """By 40 dB over 320 pixels: a network then sees about what it would have seen without."""
    iq = random_images(np.random.default_rng(8), (20, 320, 48))
    faded = iq * np.logspace(0, -2, 320)[:, None].astype(np.float32)
    expected, found = (unit_images(each, window=48) for each in (iq, faded))
    ratio = np.sqrt(np.mean(np.abs(found) ** 2, axis=(0, 2)) / np.mean(np.abs(expected) ** 2, axis=(0, 2)))
    assert np.all(np.abs(20 * np.log10(ratio[24:-24])) < 1.0)
    assert np.all(np.abs(20 * np.log10(ratio)) < 4.0)


def test_what_is_far_weaker_than_the_field_is_not_raised_to_its_scale():
    iq = random_images(np.random.default_rng(9), (20, 64, 16))
    iq[:, 32:] *= 1e-7
    field = np.sqrt(np.mean(np.abs(iq) ** 2))
    found = unit_images(iq, window=16)
    np.testing.assert_allclose(found[:, 48:], iq[:, 48:] / (0.01 * field), rtol=1e-4)
    assert np.sqrt(np.mean(np.abs(found[:, :24]) ** 2)) == pytest.approx(1, rel=0.02)


def test_unit_images_of_nothing_are_nothing_and_those_that_are_not_finite_are_refused():
    nothing = np.zeros((2, 4, 4), np.complex64)
    assert not unit_images(nothing, window=4).any()
    nothing[1, 2, 2] = np.inf
    with pytest.raises(InputError, match="largest value inf, expected finite values"):
        unit_images(nothing, window=4)
    with pytest.raises(InputError, match="window: 0 pixels, expected 1 or more"):
        unit_images(nothing, window=0)


def test_a_depth_axis_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="one depth for each row"):
        remove_carrier(np.ones((2, 5, 7), np.complex64), np.zeros(7), wavenumber=1.0)
