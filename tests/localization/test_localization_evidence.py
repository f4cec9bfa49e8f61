"""The scene of ``benchmarks.localization``, small: localizers against noise, tracks against the true flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ulmpipe.localization import LOCALIZERS, localize, track_localizations
from ulmpipe.localization.localize import LOCALIZATION

N_FRAMES = 150


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2]))
        from benchmarks import localization

        yield localization


@pytest.fixture(scope="module")
def truth(bench):
    return bench.bubbles_in_tubes(np.random.default_rng(3), n_frames=N_FRAMES)


@pytest.fixture(scope="module")
def scores(bench, truth):
    """Scores of each localizer at each SNR."""
    table = {}
    for snr in (15, 20, 30):
        images = bench.images_of(truth, np.random.default_rng(4), n_frames=N_FRAMES, snr_db=snr)
        most = int(np.bincount(truth.frame).max())
        for name in LOCALIZERS:
            found = localize(images, localizer=name, window=5, brightest_per_frame=most, **bench.DETECTION)
            table[name, snr] = bench.localization_scores(found, truth)
    return table


def test_bubbles_move_at_their_velocity(bench, truth):
    for bubble in range(truth.bubble.max() + 1):
        here = truth.bubble == bubble
        frame, position, velocity = truth.frame[here], truth.position[here], truth.velocity[here]
        on = np.diff(frame) == 1
        moved = np.diff(position, axis=0)[on] * bench.FRAME_RATE
        mean = (velocity[1:] + velocity[:-1])[on] / 2
        np.testing.assert_allclose(moved, mean, atol=1e-3 * bench.FASTEST[1])


def test_the_truth_has_full_marks_and_half_of_it_half_the_recall(bench, truth):
    found = np.zeros(len(truth.frame), LOCALIZATION)
    found["frame"], (found["z"], found["x"]) = truth.frame, truth.position.T / bench.PIXEL
    score = bench.localization_scores(found, truth)
    assert score["rmse"] < 1e-6
    assert score["jaccard"] == score["precision"] == score["recall"] == 1
    half = bench.localization_scores(found[::2], truth)
    assert half["precision"] == 1
    assert half["recall"] == half["jaccard"] == pytest.approx(0.5, abs=1e-3)
    found["z"] += 0.5
    assert bench.localization_scores(found, truth)["rmse"] == pytest.approx(0.5 / 4 / np.sqrt(2), rel=1e-3)
    found["z"] += 2
    assert bench.localization_scores(found, truth)["recall"] < 0.2


def test_errors_are_of_the_size_that_theory_gives(bench, scores):
    for snr in (20, 30):
        ratio = scores["gaussian_fit", snr]["lone_rmse"] / bench.lone_bound(snr)
        print(f"Gaussian fit at {snr} dB: {ratio:.2f} times the Cramér–Rao bound of all pixels")
        assert 1 < ratio < 1.6  # the window holds 5 × 5 pixels
        assert scores["gaussian_fit", snr]["lone_rmse"] == min(
            scores[name, snr]["lone_rmse"] for name in LOCALIZERS
        )
    assert scores["no_shift", 30]["lone_rmse"] == pytest.approx(0.25 / np.sqrt(12), rel=0.1)


@pytest.mark.parametrize("name", LOCALIZERS)
def test_less_noise_finds_more_and_places_it_better(name, scores):
    noisy, quiet = scores[name, 15], scores[name, 30]
    assert quiet["lone_rmse"] < noisy["lone_rmse"]
    assert quiet["jaccard"] > noisy["jaccard"]
    assert quiet["precision"] > 0.95
    assert quiet["recall"] > 0.85


def test_tracks_are_those_of_the_bubbles(bench, truth):
    images = bench.images_of(truth, np.random.default_rng(5), n_frames=N_FRAMES, snr_db=25)
    found = localize(images, window=5, **bench.DETECTION)
    score = bench.tracking_scores(track_localizations(found, memory=4, **bench.TRACKING), truth)
    print(score)
    assert score["purity"] > 0.85
    assert score["coverage"] > 0.85
    assert score["tracks_per_bubble"] < 2
    assert score["velocity"] < 0.25


def test_tracks_of_exact_places_are_pure_and_one_track_of_all_is_not(bench, truth):
    found = np.zeros(len(truth.frame), LOCALIZATION)
    found["frame"], (found["z"], found["x"]) = truth.frame, truth.position.T / bench.PIXEL
    tracks = track_localizations(found, memory=4, **{**bench.TRACKING, "smoothing_window": 1})
    score = bench.tracking_scores(tracks, truth)
    assert score["purity"] > 0.95
    assert score["velocity"] < 0.05
    tracks["track"] = 0
    assert bench.tracking_scores(tracks, truth)["purity"] < 0.5
