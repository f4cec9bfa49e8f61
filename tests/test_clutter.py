from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.clutter import svd_filter
from ulmpipe.errors import InputError


def random_images(rng, shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def by_numpy(iq, n_removed):
    matrix = iq.astype(complex).reshape(iq.shape[0], -1)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return ((left[:, n_removed:] * values[n_removed:]) @ right[n_removed:]).reshape(iq.shape)


def with_spectrum(rng, shape, values):
    """Images whose singular values are these."""
    n_frames, n_pixels = shape[0], shape[1] * shape[2]
    left = np.linalg.qr(random_images(rng, (n_frames, len(values))))[0]
    right = np.linalg.qr(random_images(rng, (n_pixels, len(values))))[0]
    return ((left * values) @ right.conj().T).reshape(shape).astype(np.complex64)


@pytest.mark.parametrize("shape", [(40, 12, 11), (30, 4, 5), (16, 100, 100)])
@pytest.mark.parametrize("n_removed", [1, 7])
def test_it_equals_the_full_decomposition_without_its_first_components(shape, n_removed):
    rng = np.random.default_rng(0)
    iq = with_spectrum(rng, shape, np.geomspace(1.0, 0.05, 14))
    filtered, expected = svd_filter(iq, n_removed=n_removed), by_numpy(iq, n_removed)
    assert filtered.dtype == np.complex64
    assert np.linalg.norm(filtered - expected) < 1e-4 * np.linalg.norm(expected)


def test_weak_components_under_strong_tissue_are_told_apart():
    # 60 dB between tissue and the last component removed: a float32 Gram matrix would lose it
    rng = np.random.default_rng(1)
    iq = with_spectrum(rng, (64, 20, 20), np.array([1.0, 0.5, 2e-3, 1e-3, 3e-4, 2e-4]))
    expected = by_numpy(iq, 4)
    assert np.linalg.norm(svd_filter(iq, n_removed=4) - expected) < 5e-3 * np.linalg.norm(expected)


def test_a_moving_bubble_survives_still_tissue():
    rng = np.random.default_rng(2)
    z, x = np.mgrid[:24, :24]
    bubble = np.stack([np.exp(-((z - 12) ** 2 + (x - 24 * frame / 100) ** 2) / 4) for frame in range(100)])
    tissue = 1000 * random_images(rng, (1, 24, 24))
    filtered = svd_filter((bubble + tissue).astype(np.complex64), n_removed=1)
    moving = bubble - bubble.mean(axis=0)  # a still component takes the bubble's own mean with it,
    pattern = tissue[0] / np.linalg.norm(tissue)  # and what looks like tissue
    moving = moving - np.tensordot(moving, pattern.conj(), axes=2)[:, None, None] * pattern
    assert np.linalg.norm(filtered - moving) < 0.005 * np.linalg.norm(moving)
    assert np.linalg.norm(moving) > 0.8 * np.linalg.norm(bubble)


def test_nothing_removed_is_a_copy_and_the_input_is_left_alone():
    iq = random_images(np.random.default_rng(3), (6, 4, 4))
    before = iq.copy()
    untouched = svd_filter(iq, n_removed=0)
    np.testing.assert_array_equal(untouched, before)
    svd_filter(iq, n_removed=3)
    np.testing.assert_array_equal(iq, before)
    assert not np.shares_memory(untouched, iq)


@pytest.mark.parametrize("n_removed", [-1, 6])
def test_a_number_of_components_outside_the_block_is_refused(n_removed):
    with pytest.raises(InputError, match=f"n_removed: {n_removed}"):
        svd_filter(np.ones((6, 4, 4), np.complex64), n_removed=n_removed)


def test_images_that_are_not_finite_are_refused():
    iq = np.ones((6, 4, 4), np.complex64)
    iq[2, 1, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        svd_filter(iq, n_removed=2)
