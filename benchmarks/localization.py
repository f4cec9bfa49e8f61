"""Localizers and tracking against a known truth: bubbles in tubes, Gaussian spots, noise.

Run: python -m benchmarks.localization [--frames 400] [--snr 10 15 20 25 30 40] [--noise white smooth] [--window 5].

The scene is in the manner of the simulated data of Heiles et al. 2022 (DOI 10.1038/s41551-021-00824-8), made here:
straight and bent tubes with a parabolic profile, one complex Gaussian spot a bubble with a phase of its own, complex
noise that is white from pixel to pixel or as smooth as the spots. The SNR is a spot's peak over the noise's RMS, in
decibels of amplitude. A localization is right where Kuhn–Munkres pairs it with a bubble within λ/4, which is a pixel.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from ulmpipe.localization import LOCALIZERS, localize, track_localizations
from ulmpipe.localization.tracking import pair

WAVELENGTH = 100e-6
PIXEL = WAVELENGTH / 4
FRAME_RATE = 1000.0
SIDE = 64  # of the field, pixels
SPOT = (1.5, 2.0)  # standard deviations z, x in pixels: full widths of 0.9 and 1.2 wavelengths
N_TUBES = 6
FASTEST = (2e-3, 40e-3)  # of the slowest and of the fastest tube, m/s
DETECTION: dict[str, Any] = {"threshold": 0.5, "minimum_distance": 2, "largest_shift": 2.0}
TRACKING: dict[str, Any] = {
    "spacing": (PIXEL, PIXEL),
    "frame_rate": FRAME_RATE,
    "maximum_distance": 0.6 * WAVELENGTH,
    "largest_gap": 2,
    "minimum_length": 10,
}


@dataclass(frozen=True)
class Truth:
    """A row for each bubble and frame, ordered by frame; position in m and velocity in m/s, axes z, x."""

    frame: NDArray[np.int64]
    bubble: NDArray[np.int64]
    position: NDArray[np.float64]
    velocity: NDArray[np.float64]


def bubbles_in_tubes(rng: np.random.Generator, *, n_frames: int, per_tube: int = 2) -> Truth:
    """Bubbles that flow through tubes, every other one bent, which cross in the middle of a square field.

    A bubble that leaves its tube, at either side of the field, is followed by another at the tube's beginning.
    """
    extent = SIDE * PIXEL
    length = 1.6 * extent
    columns: list[tuple[NDArray[np.generic], ...]] = []
    for tube, fastest in enumerate(rng.permutation(np.geomspace(*FASTEST, N_TUBES))):
        angle = np.pi * (tube + rng.uniform()) / N_TUBES
        centre = extent / 2 + rng.uniform(-0.15, 0.15, 2) * extent
        curvature = 0.0 if tube % 2 == 0 else rng.choice([-1.0, 1.0]) / extent
        radius = rng.uniform(20e-6, 60e-6)
        for offset in rng.uniform(-0.95, 0.95, per_tube):  # from the axis, of the radius
            speed = fastest * (1 - offset**2)
            way = rng.uniform(0, length) + speed * np.arange(n_frames) / FRAME_RATE
            heading = angle + curvature * (way % length - length / 2)
            along = np.stack([np.sin(heading), np.cos(heading)], axis=1)
            across = np.stack([np.cos(heading), -np.sin(heading)], axis=1)
            position = centre + offset * radius * across
            if curvature:
                middle = np.array([np.cos(angle), -np.sin(angle)])
                position = position + (middle - across) / curvature
            else:
                position = position + (way % length - length / 2)[:, None] * along
            velocity = speed * (1 - curvature * offset * radius) * along
            inside = np.all((position > 3 * PIXEL) & (position < extent - 4 * PIXEL), axis=1)
            bubble = 1000 * (N_TUBES * len(columns) + tube) + way // length
            columns.append((np.flatnonzero(inside), bubble[inside], position[inside], velocity[inside]))
    frame, bubble, position, velocity = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.argsort(frame, kind="stable")
    bubble = np.unique(bubble, return_inverse=True)[1]
    return Truth(frame[order], bubble[order], position[order], velocity[order])


def images_of(
    truth: Truth, rng: np.random.Generator, *, n_frames: int, snr_db: float, noise: str = "white"
) -> NDArray[np.complex64]:
    """(frame, z, x) images: a spot of peak 1 and its own phase for each bubble, and noise."""
    shape = (n_frames, SIDE, SIDE)
    phase = np.exp(2j * np.pi * rng.uniform(size=truth.bubble.max() + 1))[truth.bubble]
    away_z, away_x = (np.arange(SIDE) - truth.position[:, axis, None] / PIXEL for axis in (0, 1))
    profile_z = np.exp(-0.5 * (away_z / SPOT[0]) ** 2) * phase[:, None]
    profile_x = np.exp(-0.5 * (away_x / SPOT[1]) ** 2)
    images = np.zeros(shape, dtype=np.complex128)
    starts = np.searchsorted(truth.frame, np.arange(n_frames + 1))
    for frame, (first, end) in enumerate(pairwise(starts)):
        images[frame] = profile_z[first:end].T @ profile_x[first:end]
    added = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    if noise == "smooth":
        width = (0, SPOT[0] / np.sqrt(2), SPOT[1] / np.sqrt(2))
        added = gaussian_filter(added.real, width) + 1j * gaussian_filter(added.imag, width)
    added *= 10 ** (-snr_db / 20) / np.sqrt(np.mean(np.abs(added) ** 2))
    return (images + added).astype(np.complex64)


def matches(
    found: NDArray[np.void], truth: Truth, *, tolerance: float = PIXEL
) -> Iterator[NDArray[np.int64]]:
    """Pairs (row of found, row of truth) of each frame; found has frame, z and x in pixels and is ordered by frame."""
    position = PIXEL * np.stack([found["z"], found["x"]], axis=1, dtype=np.float64)
    for frame in np.unique(truth.frame):
        here = np.flatnonzero(found["frame"] == frame)
        there = np.flatnonzero(truth.frame == frame)
        pairs = pair(position[here], truth.position[there], maximum_distance=tolerance)
        yield np.stack([here[pairs[:, 0]], there[pairs[:, 1]]], axis=1)


def localization_scores(found: NDArray[np.void], truth: Truth) -> dict[str, float]:
    """RMSE along an axis in wavelengths, of all and of lone bubbles; Jaccard index, precision and recall."""
    pairs = np.concatenate(list(matches(found, truth)))
    place = PIXEL * np.stack([found["z"], found["x"]], axis=1, dtype=np.float64)
    error = (place[pairs[:, 0]] - truth.position[pairs[:, 1]]) / WAVELENGTH
    right, n_found, n_true = len(pairs), len(found), len(truth.frame)
    return {
        "rmse": root_mean_square(error),
        "lone_rmse": root_mean_square(error[lone_bubbles(truth)[pairs[:, 1]]]),
        "jaccard": right / (n_found + n_true - right),
        "precision": right / max(n_found, 1),
        "recall": right / n_true,
    }


def root_mean_square(error: NDArray[np.float64]) -> float:
    """NaN of nothing."""
    return float(np.sqrt(np.mean(error**2))) if error.size else np.nan


def lone_bubbles(truth: Truth, *, distance: float = 2 * WAVELENGTH) -> NDArray[np.bool_]:
    """Rows without another bubble within ``distance`` in their frame."""
    points = np.column_stack([truth.position, 1e3 * distance * truth.frame])  # frames far apart
    return cKDTree(points).query(points, 2)[0][:, 1] > distance


def lone_bound(snr_db: float) -> float:
    """Least RMSE in wavelengths of a lone bubble in white noise by the Cramér–Rao bound, all pixels given.

    Along z it is σ/A · √(2 s_z / (π s_x)) pixels for a spot of standard deviations s, and along x likewise; the σ of
    the modulus is that of the noise's real part.
    """
    noise = 10 ** (-snr_db / 20) / np.sqrt(2)
    along = [noise * np.sqrt(2 * a / (np.pi * b)) for a, b in (SPOT, SPOT[::-1])]
    return float(np.sqrt(np.mean(np.square(along)))) * PIXEL / WAVELENGTH


def tracking_scores(tracks: NDArray[np.void], truth: Truth) -> dict[str, float]:
    """How pure tracks are, how much of the truth they hold, in how many pieces, and how wrong velocity is.

    purity: rows that belong to the bubble that most rows of their track belong to. coverage: true rows that a track
    passes within λ/4. tracks per bubble: of those bubbles that are long enough to be tracked. velocity: RMS error along
    an axis, of the rows that belong to a bubble, over the RMS speed.
    """
    rows = np.zeros(len(tracks), dtype=[("frame", int), ("z", float), ("x", float)])
    rows["frame"], rows["z"], rows["x"] = tracks["frame"], tracks["z"] / PIXEL, tracks["x"] / PIXEL
    pairs = np.concatenate(list(matches(rows, truth)))
    n_tracks = tracks["track"].max() + 1 if len(tracks) else 0
    counts = np.zeros((n_tracks, truth.bubble.max() + 1))
    np.add.at(counts, (tracks["track"][pairs[:, 0]], truth.bubble[pairs[:, 1]]), 1)
    error = np.stack([tracks["vz"], tracks["vx"]], axis=1)[pairs[:, 0]] - truth.velocity[pairs[:, 1]]
    n_long = np.sum(np.bincount(truth.bubble) >= TRACKING["minimum_length"])
    return {
        "purity": counts.max(axis=1).sum() / max(len(tracks), 1),
        "coverage": len(pairs) / len(truth.frame),
        "tracks_per_bubble": n_tracks / n_long,
        "velocity": root_mean_square(error) / np.sqrt(np.mean(np.sum(truth.velocity**2, axis=1))),
    }


def seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Shortest processor time of several calls."""
    times = []
    for _ in range(repeats + 1):  # the first compiles
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times[1:])


def compare_localizers(truth: Truth, noise: str, snrs: list[float], window: int) -> None:
    """Print a table: a row for each SNR and localizer."""
    n_frames = int(truth.frame.max()) + 1
    most = int(np.bincount(truth.frame).max())
    print(f"\nlocalizers, {noise} noise, window {window}, at most {most} bubbles in a frame")
    print("SNR dB localizer              RMSE/λ of lone  bound  Jaccard precision recall")
    for snr in snrs:
        images = images_of(truth, np.random.default_rng(2), n_frames=n_frames, snr_db=snr, noise=noise)
        bound = f"{lone_bound(snr):6.4f}" if noise == "white" else "     –"
        for name in LOCALIZERS:
            found = localize(images, localizer=name, window=window, brightest_per_frame=most, **DETECTION)
            score = localization_scores(found, truth)
            print(
                f"{snr:6.0f} {name:<22} {score['rmse']:6.4f}  {score['lone_rmse']:6.4f} {bound} "
                f"{score['jaccard']:8.3f} {score['precision']:9.3f} {score['recall']:6.3f}"
            )


def compare_tracking(truth: Truth, noise: str, snrs: list[float], window: int) -> None:
    """Print a table: a row for each SNR and way to expect a bubble."""
    n_frames = int(truth.frame.max()) + 1
    most = int(np.bincount(truth.frame).max())
    print(f"\ntracking after the Gaussian fit, {noise} noise, window {window}")
    print("SNR dB memory purity coverage tracks/bubble velocity")
    for snr in snrs:
        images = images_of(truth, np.random.default_rng(2), n_frames=n_frames, snr_db=snr, noise=noise)
        found = localize(images, window=window, brightest_per_frame=most, **DETECTION)
        for memory in (0, 4):
            score = tracking_scores(track_localizations(found, memory=memory, **TRACKING), truth)
            print(
                f"{snr:6.0f} {memory:6d} {score['purity']:6.3f} {score['coverage']:8.3f} "
                f"{score['tracks_per_bubble']:13.2f} {score['velocity']:8.3f}"
            )


def throughput(truth: Truth, window: int) -> None:
    """Print bubbles a second, from images of much noise, where there are many maxima."""
    n_frames = int(truth.frame.max()) + 1
    magnitude = np.abs(images_of(truth, np.random.default_rng(2), n_frames=n_frames, snr_db=10))
    everything = localize(magnitude, threshold=0.0, localizer="no_shift")
    maxima = np.stack([everything[name].astype(np.int64) for name in ("frame", "z", "x")], axis=1)
    rows: dict[str, tuple[int, Callable[[], object]]] = {}
    rows["finding maxima"] = len(maxima), partial(localize, magnitude, threshold=0.0, localizer="no_shift")
    for name, localizer in LOCALIZERS.items():
        rows[name] = len(maxima), partial(localizer, magnitude, maxima, window // 2)
    for per_frame in (10, 100):
        found = localize(magnitude, threshold=0.0, window=window, brightest_per_frame=per_frame)
        rows[f"tracking, {per_frame} a frame"] = len(found), partial(track_localizations, found, **TRACKING)
    print(f"\nbubbles a second, one core, {SIDE} × {SIDE} pixels, window {window}")
    for name, (number, action) in rows.items():
        print(f"{name:<22} {number / seconds(action):9.2e}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--snr", type=float, nargs="+", default=[10, 15, 20, 25, 30, 40])
    parser.add_argument("--noise", choices=("white", "smooth"), nargs="+", default=["white", "smooth"])
    parser.add_argument("--window", type=int, default=5)
    options = parser.parse_args()
    truth = bubbles_in_tubes(np.random.default_rng(1), n_frames=options.frames)
    lone = np.mean(lone_bubbles(truth))
    print(
        f"{len(truth.frame)} positions of {truth.bubble.max() + 1} bubbles, {lone:.0%} with no other within 2 λ"
    )
    for noise in options.noise:
        compare_localizers(truth, noise, options.snr, options.window)
        compare_tracking(truth, noise, options.snr, options.window)
    throughput(truth, options.window)


if __name__ == "__main__":
    main()
