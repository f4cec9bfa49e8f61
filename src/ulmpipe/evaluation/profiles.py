"""Profiles of an image along straight lines, and the peaks of one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.evaluation.regions import Image

Point = tuple[float, float]


@dataclass(frozen=True)
class Peaks:
    """Maxima of a profile and how well neighbours are told apart.

    Attributes
    ----------
    position
        (peak) metres along the profile.
    height
        (peak) in the unit of the image.
    separation
        (peak − 1) metres between neighbours.
    dip
        (peak − 1) 1 − valley / lower one of both peaks, 0–1.

    """

    position: NDArray[np.float64]
    height: NDArray[np.float64]
    separation: NDArray[np.float64]
    dip: NDArray[np.float64]


def line_profile(
    image: Image,
    first: Point,
    last: Point,
    *,
    origin: Point,
    pixel_size: float,
    strip: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The image along a straight line, averaged across it over a strip.

    Parameters
    ----------
    image
        (z, x).
    first, last
        x and z of the line's ends (m).
    origin
        x and z of the first pixel's centre (m).
    pixel_size
        Metres.
    strip
        Width of the strip (m); 0 for the line alone.

    Returns
    -------
    Distance from ``first`` (m), about a sample a half pixel, and the image there (linear interpolation).

    Raises
    ------
    InputError
        The line, with its strip, is not within the image, or has no length.

    """
    check_image(image)
    if pixel_size <= 0 or strip < 0:
        raise InputError(
            f"pixel_size {pixel_size} m, strip {strip} m: expected positive ones, strip 0 or more"
        )
    ends = (np.array([first, last])[:, ::-1] - np.array(origin)[::-1]) / pixel_size
    length = float(np.hypot(*(ends[1] - ends[0])))
    if not length > 0:
        raise InputError(f"line from {first} to {last} m: expected two different points")
    along = (ends[1] - ends[0]) / length
    across = np.array([-along[1], along[0]])
    width = strip / pixel_size
    corners = ends + 0.5 * width * np.array([[[-1.0]], [[1.0]]]) * across
    if np.any(corners < -1e-6) or np.any(corners > np.array(image.shape) - 1 + 1e-6):
        raise InputError(
            f"line from {first} to {last} m, strip of {strip} m: expected to lie within the image"
        )
    steps = np.linspace(0, length, int(np.ceil(2 * length)) + 1)
    values = np.asarray(image, dtype=np.float64)
    profile = profiles_along(values, ends[:1], steps, along[None], across[None], width, outside="nearest")
    return steps * pixel_size, profile[0]


def profile_peaks(
    distance: NDArray[np.floating], profile: NDArray[np.floating], *, prominence: float = 0.2
) -> Peaks:
    """Maxima of a profile, placed between the samples by a parabola through three of them.

    Parameters
    ----------
    distance
        (sample) metres, evenly spaced.
    profile
        (sample) in the unit of the image.
    prominence
        How far a peak must stand out from the valleys beside it, as a part of the range of the profile.

    """
    from scipy.signal import find_peaks

    position, values = np.asarray(distance, dtype=np.float64), np.asarray(profile, dtype=np.float64)
    if position.shape != values.shape or position.ndim != 1 or len(position) < 3:
        raise InputError(
            f"distance {position.shape} and profile {values.shape}: expected two of at least 3 samples"
        )
    if not 0 < prominence <= 1:
        raise InputError(f"prominence: {prominence}, expected above 0 up to 1")
    peaks, _ = find_peaks(values, prominence=max(prominence * np.ptp(values), np.finfo(float).tiny))
    before, here, after = values[peaks - 1], values[peaks], values[peaks + 1]
    curvature = before - 2 * here + after
    shift = np.divide(before - after, 2 * curvature, out=np.zeros(len(peaks)), where=curvature < 0)
    place = position[peaks] + shift * (position[1] - position[0])
    height = here - 0.25 * (before - after) * shift
    valley = np.array([values[first:last].min() for first, last in pairwise(peaks)])
    lower = np.minimum(height[1:], height[:-1])
    return Peaks(
        position=place,
        height=height,
        separation=np.diff(place),
        dip=1 - np.divide(valley, lower, out=np.ones(len(lower)), where=lower > 0),
    )


def profiles_along(
    image: NDArray[np.float64],
    centers: NDArray[np.float64],
    offsets: NDArray[np.float64],
    axis: NDArray[np.float64],
    across: NDArray[np.float64],
    strip: float,
    *,
    outside: str = "constant",
) -> NDArray[np.float64]:
    """The image along the axis of each centre, averaged across it: (center, offset).

    Pixels throughout; ``axis`` and ``across`` (center, 2) z, x unit vectors; NaN outside the image, or the nearest
    pixel.
    """
    from scipy.ndimage import map_coordinates

    n_lines = max(1, round(strip))
    profiles = np.zeros((len(centers), len(offsets)))
    for step in (np.arange(n_lines) - (n_lines - 1) / 2) * strip / n_lines:
        points = centers[:, None] + offsets[:, None] * axis[:, None] + step * across[:, None]
        profiles += map_coordinates(image, points.transpose(2, 0, 1), order=1, mode=outside, cval=np.nan)
    return profiles / n_lines


def check_image(image: Image) -> None:
    """Refuse what is no finite image (z, x)."""
    if image.ndim != 2:
        raise InputError(f"image of shape {image.shape}: expected (z, x)")
    if not np.isfinite(image).all():
        raise InputError("image: NaN or infinite pixels, expected finite ones")
