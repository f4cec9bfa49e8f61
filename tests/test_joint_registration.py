"""Blocks with few bubbles in the same vessels are registered all together, where pairs of them are not."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ulmpipe.errors import InputError
from ulmpipe.registration import Drift, measure_drift, measure_drift_jointly
from ulmpipe.registration.jointly import _likeliest_path

FIELD, FINE = 96, 4


def walk(rng, n_blocks, step=0.5):
    return np.cumsum(np.concatenate([np.zeros((1, 2)), rng.normal(0, step, (n_blocks - 1, 2))]), axis=0)


def draw_vessels(rng, n=40):
    """Straight vessels: a point and a direction, pixels."""
    angle = rng.uniform(0, 2 * np.pi, n)
    return rng.uniform(0, FIELD, (n, 2)), np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def image_of_bubbles(rng, vessels, displacement, *, n_bubbles, length=6.0):
    """Short tracks of bubbles of one block, and false ones, as a (z, x) image."""
    points, directions = vessels
    vessel = rng.integers(len(points), size=n_bubbles)
    along = rng.uniform(-FIELD, FIELD, (n_bubbles, 1)) + np.linspace(0, length, 40)
    places = points[vessel][:, None] + along[..., None] * directions[vessel][:, None] + displacement
    false = rng.uniform(0, FIELD, (n_bubbles // 2, 1, 2)) + rng.normal(0, 0.5, (n_bubbles // 2, 40, 2))
    fine = np.floor((np.concatenate([places, false]) + 0.5) * FINE).astype(int)
    fine = fine[np.all((fine >= 0) & (fine < FIELD * FINE), axis=-1)]
    tracks = np.zeros((FIELD * FINE, FIELD * FINE))
    tracks[tuple(fine.T)] = 1.0
    return tracks.reshape(FIELD, FINE, FIELD, FINE).mean(axis=(1, 3))


def errors(drift, true):
    error = drift.displacement - true
    return np.sqrt(np.mean((error - error.mean(axis=0)) ** 2, axis=0))


def test_few_bubbles_are_enough_for_all_blocks_together_though_not_for_two():
    rng = np.random.default_rng(0)
    vessels, true = draw_vessels(rng), walk(rng, 20)
    images = np.array([image_of_bubbles(rng, vessels, by, n_bubbles=300) for by in true])
    together, in_pairs = measure_drift_jointly(images), measure_drift(images, maximum_shift=8)
    print(f"RMS error, pixels: {errors(together, true).round(3)}, in pairs {errors(in_pairs, true).round(3)}")
    assert np.all(errors(together, true) < 0.25)
    assert np.all(errors(in_pairs, true) > 1.0)
    assert not together.outlier.any()
    assert np.all(together.displacement[0] == 0)


def test_without_motion_none_is_found():
    rng = np.random.default_rng(1)
    vessels = draw_vessels(rng)
    images = np.array([image_of_bubbles(rng, vessels, (0, 0), n_bubbles=300) for _ in range(20)])
    assert np.all(errors(measure_drift_jointly(images), np.zeros((20, 2))) < 0.25)


def test_the_same_image_moved_by_whole_pixels_comes_back_exactly():
    image = gaussian_filter(np.random.default_rng(2).normal(size=(80, 100)), 2)
    true = np.array([[0, 0], [1, -2], [2, -1], [0, 1]])
    images = np.array([np.roll(image, shift, axis=(0, 1)) for shift in true])
    drift = measure_drift_jointly(images - images.min(), likely_step=2.0)
    np.testing.assert_allclose(drift.displacement, true, atol=0.05)
    assert drift.quality.min() > 0.9


def test_a_jump_of_twice_the_likely_step_is_followed():
    rng = np.random.default_rng(3)
    vessels = draw_vessels(rng)
    true = np.array([[0.0, 0.0]] * 8 + [[2.0, -1.7]] * 8)
    images = np.array([image_of_bubbles(rng, vessels, by, n_bubbles=600) for by in true])
    assert np.all(errors(measure_drift_jointly(images), true) < 0.2)


def test_a_block_with_nothing_in_it_is_an_outlier_and_harms_no_other():
    rng = np.random.default_rng(4)
    vessels, true = draw_vessels(rng), walk(rng, 12)
    images = np.array([image_of_bubbles(rng, vessels, by, n_bubbles=600) for by in true])
    images[0], images[5, 3, 3] = 0.0, np.nan
    drift = measure_drift_jointly(images)
    good = np.delete(np.arange(12), [0, 5])
    assert np.flatnonzero(drift.outlier).tolist() == [0, 5]
    assert np.isnan(drift.displacement[[0, 5]]).all()
    assert np.all(drift.displacement[1] == 0)
    kept = Drift(drift.displacement[good], drift.quality[good], drift.outlier[good])
    assert np.all(errors(kept, true[good]) < 0.2)


def test_a_block_that_shows_something_else_is_flagged():
    rng = np.random.default_rng(5)
    vessels, true = draw_vessels(rng), walk(rng, 12)
    images = np.array([image_of_bubbles(rng, vessels, by, n_bubbles=2000, length=20.0) for by in true])
    images[7] = image_of_bubbles(rng, draw_vessels(rng), (0, 0), n_bubbles=2000, length=20.0)
    drift = measure_drift_jointly(images, minimum_quality=0.5)
    assert np.flatnonzero(drift.outlier).tolist() == [7]


def test_the_path_is_the_best_of_all_paths():
    rng = np.random.default_rng(6)
    scores, stiffness = rng.normal(size=(4, 3, 3)), 0.4

    def value(path):
        found = sum(score[place] for score, place in zip(scores, path, strict=True))
        steps = np.diff(np.array(path), axis=0)
        return found - stiffness * np.sum(steps**2)

    best = max(product(product(range(3), range(3)), repeat=4), key=value)
    assert [tuple(place) for place in _likeliest_path(scores, stiffness)] == list(best)


@pytest.mark.parametrize("n_blocks", [0, 1])
def test_too_few_blocks_have_no_drift(n_blocks):
    drift = measure_drift_jointly(np.random.default_rng(0).random((n_blocks, 20, 20)))
    assert drift.displacement.tolist() == [[0.0, 0.0]] * n_blocks
    assert not drift.outlier.any()


@pytest.mark.parametrize(
    ("shape", "options", "word"),
    [
        ((20, 20), {}, "shape"),
        ((3, 20, 20), {"likely_step": 0.0}, "likely_step"),
        ((3, 20, 20), {"largest_shift": 0}, "largest_shift"),
        ((3, 20, 20), {"background": np.nan}, "background"),
        ((3, 20, 20), {"smoothings": ()}, "smoothings"),
        ((3, 8, 20), {}, "more pixels"),
    ],
)
def test_what_cannot_be_registered_is_refused(shape, options, word):
    with pytest.raises(InputError, match=word):
        measure_drift_jointly(np.zeros(shape), **options)
