"""Bubbles as bright local maxima of the correlation map, placed below the pixel by a Gaussian fit.

This is the expert method of the pipeline (Milecki et al. 2021, DOI 10.1109/TMI.2021.3056951, section IV):
correlation map → local maxima → sub-pixel position → fine grid, binarised per block. No tracking.

The fine grid ------------- A coarse pixel i has its centre at coordinate i. It is cut into ``upsampling``
fine pixels whose centres are ``i + (j - (upsampling - 1) / 2) / upsampling``, j = 0 … upsampling - 1: the
fine image covers exactly what the coarse one covers, and with 8 the first fine centre lies 3.5/8 of a
coarse pixel before the first coarse centre.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ulmpipe.errors import InputError

LOCALIZATION = np.dtype([("frame", np.int32), ("z", np.float32), ("x", np.float32), ("value", np.float32)])
"""One bubble in one frame: position in pixels of the correlation map (pixel centres are whole), |χ| there."""


def localize(
    correlation: NDArray[np.complex64] | NDArray[np.float32],
    *,
    threshold: float,
    minimum_distance: int = 1,
    window: int = 3,
) -> NDArray[np.void]:
    """Find the bright local maxima of |χ| and place each below the pixel.

    A maximum is a pixel at least as bright as ``threshold`` and brighter than every other pixel up to
    ``minimum_distance`` away along z and x (of equal ones the last counts). Around it the logarithm of |χ|
    is fitted by an axis-aligned paraboloid, that is |χ| by a Gaussian, in closed form, by least squares
    with the weights |χ|² that undo what the logarithm does to the noise (Guo 2011, DOI
    10.1109/MSP.2011.941846). A fit that has no maximum within one pixel is dropped in favour of the pixel's
    centre. The outermost pixels can't be maxima.

    Parameters
    ----------
    correlation
        (frame, z, x), complex correlation map or its magnitude.
    threshold
        Smallest |χ| of a bubble.
    minimum_distance
        Pixels along z and x within which only the brightest maximum counts.
    window
        Odd width of the fitted neighbourhood in pixels. 3 is best where noise is as smooth as the spots (a
        correlation map) and where bubbles crowd; 5 where noise is white.

    Returns
    -------
    Records of dtype `LOCALIZATION` in the order frame, z, x of the maxima.

    Raises
    ------
    InputError
        The array has not three dimensions, or a parameter is out of range.

    """
    if correlation.ndim != 3:
        raise InputError(f"correlation: {correlation.ndim} dimensions, expected 3 (frame, z, x)")
    if minimum_distance < 1:
        raise InputError(f"minimum_distance: {minimum_distance} pixels, expected at least 1")
    if window < 3 or window % 2 == 0:
        raise InputError(f"window: {window} pixels, expected an odd number from 3")
    magnitude = np.abs(correlation).astype(np.float32, copy=False)
    maxima = _local_maxima(magnitude, np.float32(threshold), minimum_distance)
    localizations = np.empty(len(maxima), dtype=LOCALIZATION)
    positions = _fit_gaussians(magnitude, maxima, window // 2)
    localizations["frame"] = maxima[:, 0]
    localizations["z"], localizations["x"] = positions.T
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


@njit(cache=True, nogil=True)
def _fit_gaussians(magnitude, maxima, half_window):  # type: ignore[no-untyped-def]
    """(n, 2) sub-pixel z and x: vertex of ln|χ| ≈ c₀ + c₁ z + c₂ x + c₃ z² + c₄ x² with weights |χ|²."""
    positions = np.empty((len(maxima), 2), dtype=np.float64)
    normal = np.empty((5, 6), dtype=np.float64)
    terms = np.empty(6, dtype=np.float64)
    for spot in range(len(maxima)):
        frame, z, x = maxima[spot]
        positions[spot, 0] = z
        positions[spot, 1] = x
        # a smaller, still centred window beside the border
        half = min(half_window, z, x, magnitude.shape[1] - 1 - z, magnitude.shape[2] - 1 - x)
        normal[:] = 0.0
        for dz in range(-half, half + 1):
            for dx in range(-half, half + 1):
                value = float(magnitude[frame, z + dz, x + dx])
                if value <= 0.0:
                    continue
                terms[0] = 1.0
                terms[1] = dz
                terms[2] = dx
                terms[3] = dz * dz
                terms[4] = dx * dx
                terms[5] = np.log(value)
                for row in range(5):
                    for column in range(row, 6):
                        normal[row, column] += value * value * terms[row] * terms[column]
        solved = _solve_in_place(normal)
        if not solved or normal[3, 5] >= 0.0 or normal[4, 5] >= 0.0:
            continue
        shift_z = -0.5 * normal[1, 5] / normal[3, 5]
        shift_x = -0.5 * normal[2, 5] / normal[4, 5]
        if abs(shift_z) <= 1.0 and abs(shift_x) <= 1.0:
            positions[spot, 0] += shift_z
            positions[spot, 1] += shift_x
    return positions


@njit(cache=True, nogil=True)
def _solve_in_place(normal):  # type: ignore[no-untyped-def]
    """Gauss elimination of a symmetric positive system; the solution is left in the last column."""
    n = normal.shape[0]
    for row in range(n):
        for column in range(row):
            normal[row, column] = normal[column, row]
    scale = normal[0, 0]
    for pivot in range(n):
        if normal[pivot, pivot] <= 1e-12 * scale:
            return False
        for row in range(pivot + 1, n):
            factor = normal[row, pivot] / normal[pivot, pivot]
            for column in range(pivot, n + 1):
                normal[row, column] -= factor * normal[pivot, column]
    for pivot in range(n - 1, -1, -1):
        for column in range(pivot + 1, n):
            normal[pivot, n] -= normal[pivot, column] * normal[column, n]
        normal[pivot, n] /= normal[pivot, pivot]
    return True
