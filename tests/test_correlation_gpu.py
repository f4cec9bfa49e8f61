"""Correlation maps, clutter filter and a whole image on a GPU against the CPU: the host as a GPU, and the real one."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe
from ulmpipe.beamforming import Grid
from ulmpipe.clutter import svd_filter
from ulmpipe.correlation import as_channels, correlation_map, remove_carrier, unit_images
from ulmpipe.device import to_host
from ulmpipe.errors import InputError
from ulmpipe.imaging import simulate_image


def random_images(*shape):
    rng = np.random.default_rng(0)
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


@pytest.mark.parametrize("psf_shape", [(9, 9), (1, 1), (7, 15), (21, 3)])
@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 70, 45), (1, 5, 9)])
def test_the_maps_agree(gpu, shape, psf_shape):
    images, psf = 1e6 * random_images(*shape), random_images(*psf_shape)
    for regularization in (0.0, 0.7):
        expected = correlation_map(images, psf, regularization=regularization)
        found = correlation_map(gpu.asarray(images), psf, regularization=regularization)
        assert isinstance(found, gpu.ndarray)
        np.testing.assert_allclose(to_host(found), expected, atol=3e-6)
        assert np.abs(to_host(found)).max() < 1


def test_the_unit_images_agree(gpu):
    images = 1e6 * random_images(70, 9, 7)
    found = unit_images(gpu.asarray(images), window=4)
    assert isinstance(found, gpu.ndarray)
    np.testing.assert_allclose(to_host(found), unit_images(images, window=4), rtol=1e-6)


def test_a_copy_of_the_psf_stays_below_one(gpu):
    psf = random_images(9, 9)
    images = np.zeros((2, 40, 40), np.complex64)
    images[0, 3:12, 20:29] = 1e-18 * psf
    found = np.abs(to_host(correlation_map(gpu.asarray(images), psf, regularization=0.0)))
    assert 1 - 1e-4 < found.max() < 1
    assert (found[1] == 0).all()


def test_what_is_not_finite_and_what_does_not_fit_is_refused(gpu):
    images = random_images(2, 8, 8)
    with pytest.raises(InputError, match="at most"):
        correlation_map(gpu.asarray(images), random_images(81, 81), regularization=1.0)
    images[0, 0, 0] = np.nan
    for refuse in (lambda x: correlation_map(x, images[1, :3, :3], regularization=1.0), clutter_free):
        with pytest.raises(InputError, match="finite"):
            refuse(gpu.asarray(images))


def clutter_free(images):
    return svd_filter(images, n_removed=1)


@pytest.mark.parametrize("n_removed", [0, 2])
def test_the_clutter_filters_agree(gpu, n_removed):
    images = random_images(24, 10, 12)
    images += 1e3 * random_images(24, 1, 1) * random_images(1, 10, 12)
    images += 50 * random_images(25, 1, 1)[1:] * random_images(2, 10, 12)[1:]
    found = svd_filter(gpu.asarray(images), n_removed=n_removed)
    assert isinstance(found, gpu.ndarray)
    expected = svd_filter(images, n_removed=n_removed)
    assert np.linalg.norm(to_host(found) - expected) < 1e-3 * np.linalg.norm(expected)


AXIS = 25e-6 * np.arange(-16, 16)
IMAGE = {
    "positions": np.random.default_rng(1).uniform(-0.3e-3, 0.3e-3, (5, 3, 4, 3)) + np.array([0, 0, 8e-3]),
    "reflectivity": np.ones(4),
    "grid": Grid(x=AXIS, z=8e-3 + AXIS),
    "probe": named_probe("L22-14v", n_elements=48),
    "transmit": PlaneWaves(angles=(-0.02, 0.0, 0.02), transmit_frequency=15e6, n_cycles=3),
    "start_time": 9e-6,
    "n_samples": 72,
    "sampling_frequency": 15.625e6,
    "demodulation_frequency": 15.625e6,
    "speed_of_sound": 1540.0,
    "attenuation": 0.0,
    "f_number": 0.0,
    "apodization": "rectangular",
    "lens_correction": False,
    "oversampling": 4,
}


def test_a_whole_image_stays_on_the_gpu_until_it_is_wanted(gpu):
    maps = []
    for backend in ("gpu", "cpu"):
        iq = simulate_image(**IMAGE, backend=backend)
        assert isinstance(iq, gpu.ndarray) == (backend == "gpu")
        maps.append(
            correlation_map(
                remove_carrier(iq, 8e-3 + AXIS, wavenumber=6e4), random_images(9, 9), regularization=1.0
            )
        )
    np.testing.assert_allclose(to_host(as_channels(maps[0])), as_channels(maps[1]), atol=1e-3)


def test_a_backend_that_does_not_beamform_is_refused_before_anything_is_simulated():
    with pytest.raises(InputError, match="backend: 'reference'"):
        simulate_image(**IMAGE, backend="reference")
