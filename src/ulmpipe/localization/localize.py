"""Bubbles as bright local maxima of the correlation map, placed below the pixel by a localizer.

This, with a Gaussian fit, is the expert method of the pipeline (Milecki et al. 2021, section IV, DOI
10.1109/TMI.2021.3056951): correlation map → local maxima → sub-pixel position → fine grid, binarised per block.
`ulmpipe.localization.tracking` follows the bubbles, which the paper's does not.

The fine grid: a coarse pixel i has its centre at coordinate i. It is cut into ``upsampling`` fine pixels whose centres
are ``i + (j - (upsampling - 1) / 2) / upsampling``, j = 0 … upsampling - 1: the fine image covers exactly what the
coarse one covers, and with 8 the first fine centre lies 3.5/8 of a coarse pixel before the first coarse centre.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.localization.localizers import LOCALIZERS, spot_widths

LOCALIZATION = np.dtype([("frame", np.int32), ("z", np.float32), ("x", np.float32), ("value", np.float32)])
"""One bubble in one frame: position in pixels of the correlation map (pixel centres are whole), |χ| there."""


def localize(
    images: NDArray[np.complex64] | NDArray[np.float32],
    *,
    threshold: float,
    minimum_distance: int = 1,
    window: int = 3,
    localizer: str = "gaussian_fit",
    brightest_per_frame: int | None = None,
    width_bounds: tuple[float, float] | None = None,
    largest_shift: float | None = None,
) -> NDArray[np.void]:
    """Find the bright local maxima of |χ|, or of an envelope, and place each below the pixel.

    A maximum is a pixel at least as bright as ``threshold`` and brighter than every other pixel up to
    ``minimum_distance`` away along z and x (of equal ones the last counts). The outermost pixels can't be
    maxima. Where a localizer finds no centre within a pixel of the maximum, the pixel's centre is taken,
    unless ``largest_shift`` is given.

    Parameters
    ----------
    images
        (frame, z, x), complex correlation map or image, or its magnitude.
    threshold
        Smallest brightness of a bubble.
    minimum_distance
        Pixels along z and x within which only the brightest maximum counts.
    window
        Odd width in pixels of the neighbourhood that the localizer looks at. 3 is best where noise is as
        smooth as the spots (a correlation map) and where bubbles crowd; 5 where noise is white.
        Interpolations take the pixels that they need.
    localizer
        One of `ulmpipe.localization.localizers.LOCALIZERS`.
    brightest_per_frame
        Keep no more maxima than this in each frame, the brightest; ``None`` keeps all.
    width_bounds
        Least and largest full width at half maximum in pixels, along z and along x, of the Gaussian fitted
        to a spot's window; others are rejected, and so are spots without one. ``None`` keeps all.
    largest_shift
        Pixels along z and x: spots that the localizer places farther from the maximum, or can't place, are
        rejected. ``None`` keeps all.

    Returns
    -------
    Records of dtype `LOCALIZATION` in the order frame, z, x of the maxima.

    Raises
    ------
    InputError
        The array has not three dimensions, or a parameter is out of range.

    """
    if images.ndim != 3:
        raise InputError(f"images: {images.ndim} dimensions, expected 3 (frame, z, x)")
    if minimum_distance < 1:
        raise InputError(f"minimum_distance: {minimum_distance} pixels, expected at least 1")
    if window < 3 or window % 2 == 0:
        raise InputError(f"window: {window} pixels, expected an odd number from 3")
    if localizer not in LOCALIZERS:
        raise InputError(f"localizer: {localizer}, expected one of {', '.join(LOCALIZERS)}")
    if brightest_per_frame is not None and brightest_per_frame < 1:
        raise InputError(f"brightest_per_frame: {brightest_per_frame}, expected at least 1")
    if width_bounds is not None and not 0 <= width_bounds[0] < width_bounds[1]:
        raise InputError(f"width_bounds: {width_bounds} pixels, expected two rising numbers from 0")
    if largest_shift is not None and not largest_shift >= 0:
        raise InputError(f"largest_shift: {largest_shift} pixels, expected 0 or more")

    magnitude = np.ascontiguousarray(np.abs(images), dtype=np.float32)
    maxima = _local_maxima(magnitude, np.float32(threshold), minimum_distance)
    if brightest_per_frame is not None:
        maxima = _brightest(magnitude, maxima, brightest_per_frame)
    if width_bounds is not None:
        width = spot_widths(magnitude, maxima, window // 2)
        maxima = maxima[np.all((width >= width_bounds[0]) & (width <= width_bounds[1]), axis=1)]
    shift = LOCALIZERS[localizer](magnitude, maxima, window // 2)
    near = np.all(np.abs(shift) <= (1.0 if largest_shift is None else largest_shift), axis=1)
    if largest_shift is None:
        shift[~near] = 0.0
    else:
        maxima, shift = maxima[near], shift[near]

    localizations = np.empty(len(maxima), dtype=LOCALIZATION)
    localizations["frame"] = maxima[:, 0]
    localizations["z"], localizations["x"] = (maxima[:, 1:] + shift).T
    localizations["value"] = magnitude[tuple(maxima.T)]
    return localizations


def brightness_map(
    localizations: NDArray[np.void],
    *,
    shape: tuple[int, int],
    upsampling: int = 8,
    radius: int = 0,
    minimum_count: int = 1,
) -> NDArray[np.float32]:
    """Value of the brightest localization on each fine pixel, 0 where there is none.

    Its pixels ≥ t are those that `localizations_to_map` of the localizations ≥ t sets, for every t > 0: one
    map serves every threshold, and the expert can be tuned and scored exactly as a network's probabilities
    are.

    Parameters
    ----------
    localizations
        Records with z and x in coarse pixels, as `localize` gives them.
    shape
        Coarse (z, x) shape.
    upsampling
        Fine pixels a coarse pixel, along each axis.
    radius
        Each localization also sets the fine pixels up to this far from its own (0: its own alone).
    minimum_count
        Localizations that must meet on a fine pixel: the map holds the value of the ``minimum_count``-th
        brightest.

    Returns
    -------
    (upsampling · z, upsampling · x) map of |χ|.

    """
    if upsampling < 1 or radius < 0 or minimum_count < 1:
        raise InputError(
            f"upsampling, radius, minimum_count: {upsampling}, {radius}, {minimum_count}, "
            "expected at least 1, 0, 1"
        )
    fine_shape = (shape[0] * upsampling, shape[1] * upsampling)
    dz, dx = _disk(radius)
    z = (_fine_index(localizations["z"], upsampling)[:, None] + dz).ravel()
    x = (_fine_index(localizations["x"], upsampling)[:, None] + dx).ravel()
    value = np.repeat(localizations["value"], len(dz))
    inside = (z >= 0) & (z < fine_shape[0]) & (x >= 0) & (x < fine_shape[1])
    pixel, value = (z * fine_shape[1] + x)[inside], value[inside]

    order = np.lexsort((-value, pixel))
    pixel, value = pixel[order], value[order]
    rank = np.arange(len(pixel)) - np.searchsorted(pixel, pixel)
    kept = rank == minimum_count - 1
    fine = np.zeros(fine_shape, dtype=np.float32)
    fine.ravel()[pixel[kept]] = value[kept]
    return fine


def localizations_to_map(
    localizations: NDArray[np.void],
    *,
    shape: tuple[int, int],
    upsampling: int = 8,
    radius: int = 0,
    minimum_count: int = 1,
) -> NDArray[np.bool_]:
    """Fine pixels on which a block's localizations fall: the expert's binary map of one block.

    Parameters as in `brightness_map`; the fine grid is the one described at the top of this module.
    """
    brightness = brightness_map(
        localizations, shape=shape, upsampling=upsampling, radius=radius, minimum_count=minimum_count
    )
    return brightness > 0


def spread(brightness: NDArray[np.float32], *, radius: int) -> NDArray[np.float32]:
    """What `brightness_map` gives with a larger ``radius`` (and ``minimum_count`` 1), made from the map of radius 0."""
    if radius == 0:
        return brightness
    from scipy.ndimage import grey_dilation

    dz, dx = _disk(radius)
    footprint = np.zeros((2 * radius + 1, 2 * radius + 1), dtype=bool)
    footprint[dz + radius, dx + radius] = True
    return np.asarray(grey_dilation(brightness, footprint=footprint, mode="constant"))


def _disk(radius: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets (z, x) of the pixels of a disk."""
    dz, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = dz**2 + dx**2 <= radius**2
    return dz[inside], dx[inside]


def _fine_index(coordinate: NDArray[np.float32], upsampling: int) -> NDArray[np.int64]:
    return np.floor((coordinate.astype(np.float64) + 0.5) * upsampling).astype(np.int64)


def _brightest(magnitude: NDArray[np.float32], maxima: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """The rows of the ``number`` brightest maxima of each frame, in their order; of equal ones the first."""
    frame, value = maxima[:, 0], magnitude[tuple(maxima.T)]
    order = np.lexsort((-value, frame))
    rank = np.arange(len(frame)) - np.searchsorted(frame, frame)
    return maxima[np.sort(order[rank < number])]


@njit(cache=True, nogil=True)
def _local_maxima(magnitude, threshold, distance):  # type: ignore[no-untyped-def]
    """Rows (frame, z, x) of the pixels that top their neighbourhood."""
    n_frames, n_z, n_x = magnitude.shape
    found = np.empty((1024, 3), dtype=np.int64)
    n_found = 0
    for frame in range(n_frames):
        image = magnitude[frame]
        for z in range(1, n_z - 1):
            for x in range(1, n_x - 1):
                value = image[z, x]
                # the four nearest settle most pixels
                if not (
                    value >= threshold
                    and value > image[z, x + 1]
                    and value >= image[z, x - 1]
                    and value > image[z + 1, x]
                    and value >= image[z - 1, x]
                ):
                    continue
                if not _is_highest(image, z, x, distance):
                    continue
                if n_found == len(found):
                    larger = np.empty((2 * n_found, 3), dtype=np.int64)
                    larger[:n_found] = found
                    found = larger
                found[n_found, 0] = frame
                found[n_found, 1] = z
                found[n_found, 2] = x
                n_found += 1
    return found[:n_found].copy()


@njit(cache=True, nogil=True)
def _is_highest(image, z, x, distance):  # type: ignore[no-untyped-def]
    n_z, n_x = image.shape
    value = image[z, x]
    for other_z in range(max(z - distance, 0), min(z + distance + 1, n_z)):
        for other_x in range(max(x - distance, 0), min(x + distance + 1, n_x)):
            other = image[other_z, other_x]
            later = other_z > z or (other_z == z and other_x > x)
            if other > value or (later and other == value):
                return False
    return True
