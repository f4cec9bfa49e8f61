"""Speckle moved by known amounts is found to have moved by them."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.registration import estimate_drift, estimate_shift, shift_map

CARRIER = 0.5  # cycles a pixel: two-way phase at λ/4 pixels


def moved_speckle(rng, shifts, *, shape=(80, 80), noise=0.1, margin=12):
    """Complex band-limited speckle at each shift: new tissue enters, the carrier turns, the noise is new."""
    full = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    z, x = np.fft.fftfreq(full[0])[:, None], np.fft.fftfreq(full[1])[None, :]
    band = np.exp(-2 * np.pi**2 * ((1.6 * z) ** 2 + (2.0 * x) ** 2))
    spectrum = band * np.fft.fft2(rng.normal(size=full) + 1j * rng.normal(size=full))
    images = []
    for dz, dx in shifts:
        image = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (z * dz + x * dx)))[
            margin:-margin, margin:-margin
        ]
        image = image / np.sqrt(np.mean(np.abs(image) ** 2)) * np.exp(-2j * np.pi * CARRIER * dz)
        receiver = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)
        images.append(image + noise * receiver)
    return np.array(images)


def errors(rng, n, **options):
    found = []
    for _ in range(n):
        shift = rng.uniform(-5, 5, 2)
        fixed, moving = moved_speckle(rng, [(0, 0), shift], **options)
        found.append(np.array(estimate_shift(fixed, moving)) - shift)
    return np.sqrt(np.mean(np.square(found), axis=0))


@pytest.mark.parametrize(("noise", "limit"), [(0.0, 0.02), (0.1, 0.03), (0.3, 0.1)])
def test_shifts_up_to_five_pixels_are_found_to_a_tenth(noise, limit):
    error = errors(np.random.default_rng(0), 20, noise=noise)
    print(f"noise {noise}: RMS error {error.round(4)} px")
    assert np.all(error < limit)


def test_a_narrow_field_is_registered_too():
    assert np.all(errors(np.random.default_rng(1), 20, shape=(40, 64)) < 0.1)


def test_the_sign_is_that_of_the_displacement():
    image = np.zeros((40, 50))
    image[15:19, 20:26] = 1.0
    moving = shift_map(image, (3, -2))
    assert estimate_shift(image, moving) == pytest.approx((3, -2), abs=0.05)
    assert estimate_shift(moving, image) == pytest.approx((-3, 2), abs=0.05)
    assert estimate_shift(image, image) == pytest.approx((0, 0), abs=1e-9)


def test_the_envelope_alone_counts_whatever_the_carrier_does():
    rng = np.random.default_rng(2)
    fixed, moving = moved_speckle(rng, [(0, 0), (1.3, -0.7)])
    turned = moving * np.exp(1j * np.linspace(0, 40, 80))[:, None]
    assert estimate_shift(fixed, turned) == estimate_shift(fixed, moving)


def test_drift_is_measured_from_the_first_block():
    rng = np.random.default_rng(3)
    true = np.concatenate([np.zeros((1, 2)), np.cumsum(rng.uniform(-1, 1, (6, 2)), axis=0)])
    found = estimate_drift(moved_speckle(rng, true))
    assert np.all(found[0] == 0)
    assert np.sqrt(np.mean((found - true) ** 2)) < 0.03
    assert np.abs(true).max() > 0.5


def test_a_ruined_first_block_does_not_spoil_the_others():
    rng = np.random.default_rng(4)
    true = np.array([[0.0, 0.0], [1.0, -1.5], [2.0, 0.5], [1.5, 1.0], [0.5, 2.0]])
    images = moved_speckle(rng, true)
    images[0] += 3 * moved_speckle(rng, [(0, 0)])[0]
    found = estimate_drift(images)
    relative = (found[1:] - found[1]) - (true[1:] - true[1])
    assert np.abs(relative).max() < 0.1


def test_one_block_has_no_drift():
    assert estimate_drift(np.ones((1, 20, 20))).tolist() == [[0.0, 0.0]]


def test_a_moved_map_does_not_wrap():
    image = np.arange(1, 13).reshape(3, 4)
    np.testing.assert_array_equal(shift_map(image, (1, -2)), [[0, 0, 0, 0], [3, 4, 0, 0], [7, 8, 0, 0]])
    np.testing.assert_array_equal(shift_map(image, (0, 0)), image)
    for far in ((3, 0), (0, -4), (50, 50), (-50, 1)):
        assert not shift_map(image, far).any()
    assert shift_map(image > 5, (1, 1)).dtype == bool


@pytest.mark.parametrize(
    "images",
    [
        (np.ones((5, 5)), np.ones((5, 6))),
        (np.ones((5, 5)), np.eye(5)),
        (np.eye(5), np.full((5, 5), np.nan)),
    ],
)
def test_images_that_cannot_be_registered_are_refused(images):
    with pytest.raises(InputError):
        estimate_shift(*images)
