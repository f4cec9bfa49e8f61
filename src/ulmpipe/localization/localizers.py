"""Where a bubble lies below the pixel: the localizers that Heiles et al. 2022 compare (DOI 10.1038/s41551-021-00824-8).

Each takes images and their brightest pixels and returns how far from the pixel's centre the spot is centred, NaN where
it finds no centre. They differ in what they take a spot for: anything with a centre of mass (`weighted_average`), a
Gaussian (`gaussian_fit`), something round (`radial_symmetry`), or something smooth whose peak shows between the pixels
(`cubic_interpolation`, `lanczos_interpolation`, `spline_interpolation`). `no_shift` is their yardstick.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

Images = NDArray[np.float32]
Pixels = NDArray[np.int64]
Shifts = NDArray[np.float64]

FULL_WIDTH = 2 * np.sqrt(2 * np.log(2))
"""Full width at half maximum of a Gaussian of unit standard deviation."""

NEAREST = 0.1  # pixel; gradients nearer than this to the centroid weigh as much as there (their weight is 1 / distance)

STEPS_PER_PIXEL = 8  # of the interpolated image, before a parabola through its three highest values
LANCZOS_REACH = 3
SPLINE_REACH = 6  # where the cardinal spline, which has no end, has fallen to 1e-3


def no_shift(images: Images, maxima: Pixels, half_window: int) -> Shifts:  # noqa: ARG001
    """Leave every bubble at the centre of its brightest pixel. Parameters as in `gaussian_fit`."""
    return np.zeros((len(maxima), 2))


def weighted_average(images: Images, maxima: Pixels, half_window: int) -> Shifts:
    """Centre of mass of the window's pixels. Parameters as in `gaussian_fit`.

    The window is centred on a pixel, not on the spot, and cuts one side more than the other: the estimate is drawn
    towards the pixel's centre, by more the wider the spot is against the window.
    """
    shifts: Shifts = _centres_of_mass(images, maxima, half_window)
    return shifts


def gaussian_fit(images: Images, maxima: Pixels, half_window: int) -> Shifts:
    """Centre of the axis-aligned Gaussian fitted to the window's pixels.

    The logarithm is fitted by a paraboloid in closed form, by least squares with the weights |χ|² that undo what the
    logarithm does to the noise (Guo 2011, DOI 10.1109/MSP.2011.941846).

    Parameters
    ----------
    images
        (frame, z, x) float32, not negative.
    maxima
        (spot, 3) int64: frame, z, x of the brightest pixel, none of them at the border.
    half_window
        The window reaches this many pixels from the maximum; less beside the border.

    Returns
    -------
    (spot, 2) shift along z and x in pixels; NaN where the fit has no maximum.

    """
    shifts: Shifts = _fit_gaussians(images, maxima, half_window)[:, :2]
    return shifts


def radial_symmetry(images: Images, maxima: Pixels, half_window: int) -> Shifts:
    """Point that the window's gradients point to. Parameters as in `gaussian_fit`.

    Parthasarathy 2012 (DOI 10.1038/nmeth.2071): gradients between the pixels, along the diagonals, averaged with their
    neighbours in windows from 7 pixels; through each a line along the gradient; the point with the least sum of squared
    distances to all lines, weighted by the squared gradient over its distance from the gradients' centroid. It takes
    spots to be round: an elongated one is found with a bias.
    """
    shifts: Shifts = _meet_gradients(images, maxima, half_window)
    return shifts


def cubic_interpolation(images: Images, maxima: Pixels, half_window: int) -> Shifts:  # noqa: ARG001
    """Peak of the image interpolated by cubic convolution (Keys 1981, DOI 10.1109/TASSP.1981.1163711, a = −1/2).

    Parameters as in `gaussian_fit`; the window has no effect. NaN where the peak lies a pixel away or farther.
    """
    return _interpolated_peaks(images, maxima, "cubic")


def lanczos_interpolation(images: Images, maxima: Pixels, half_window: int) -> Shifts:  # noqa: ARG001
    """Peak of the image interpolated by a windowed sinc of three lobes (Duchon 1979).

    DOI 10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2. Parameters as in `cubic_interpolation`.
    """
    return _interpolated_peaks(images, maxima, "lanczos")


def spline_interpolation(images: Images, maxima: Pixels, half_window: int) -> Shifts:  # noqa: ARG001
    """Peak of the image interpolated by a cubic spline (Unser 1999, DOI 10.1109/79.799930, eq. 11).

    Parameters as in `cubic_interpolation`.
    """
    return _interpolated_peaks(images, maxima, "spline")


LOCALIZERS: dict[str, Callable[[Images, Pixels, int], Shifts]] = {
    localizer.__name__: localizer
    for localizer in (
        no_shift,
        weighted_average,
        gaussian_fit,
        radial_symmetry,
        cubic_interpolation,
        lanczos_interpolation,
        spline_interpolation,
    )
}
"""Localizers by name."""


def spot_widths(images: Images, maxima: Pixels, half_window: int) -> NDArray[np.float64]:
    """Full width at half maximum along z and x of the Gaussian fitted to each spot. Parameters as in `gaussian_fit`.

    Returns
    -------
    (spot, 2) in pixels; NaN where the fit has no maximum.

    """
    widths: NDArray[np.float64] = _fit_gaussians(images, maxima, half_window)[:, 2:]
    return widths


def _interpolated_peaks(images: Images, maxima: Pixels, kernel: str) -> Shifts:
    shifts: Shifts = _highest_interpolated(images, maxima, _interpolation_weights(kernel))
    return shifts


@cache
def _interpolation_weights(kernel: str) -> NDArray[np.float64]:
    """(step, tap) weights of the pixels −reach … reach in the values at −1 … 1 pixel, in steps of 1/STEPS_PER_PIXEL."""
    function, support = {
        "cubic": (_cubic_convolution, 2),
        "lanczos": (_lanczos, LANCZOS_REACH),
        "spline": (_cardinal_spline, SPLINE_REACH),
    }[kernel]
    steps = np.arange(-STEPS_PER_PIXEL, STEPS_PER_PIXEL + 1) / STEPS_PER_PIXEL
    taps = np.arange(-support, support + 1)
    weights = function(steps[:, None] - taps)
    weights = weights / weights.sum(axis=1, keepdims=True)
    weights.setflags(write=False)
    return weights


def _cubic_convolution(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.abs(distance)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def _lanczos(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.abs(distance) < LANCZOS_REACH
    return np.where(inside, np.sinc(distance) * np.sinc(distance / LANCZOS_REACH), 0.0)


def _cardinal_spline(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic spline that is 1 at 0 and 0 at all other whole numbers: √3 Σ_k r^|k| β³(t − k), r = √3 − 2."""
    k = np.arange(-3 * SPLINE_REACH, 3 * SPLINE_REACH + 1)
    t = np.abs(distance[..., None] - k)
    b_spline = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.where(t < 2, (2 - t) ** 3 / 6, 0.0))
    return np.asarray(np.sqrt(3) * b_spline @ (np.sqrt(3) - 2) ** np.abs(k).astype(float))


@njit(cache=True, nogil=True)
def _centres_of_mass(images, maxima, half_window):  # type: ignore[no-untyped-def]
    """(spot, 2) Σ I(u) u / Σ I(u) over the window."""
    shifts = np.empty((len(maxima), 2), dtype=np.float64)
    for spot in range(len(maxima)):
        frame, z, x = maxima[spot]
        half = min(half_window, z, x, images.shape[1] - 1 - z, images.shape[2] - 1 - x)
        total = moment_z = moment_x = 0.0
        for dz in range(-half, half + 1):
            for dx in range(-half, half + 1):
                value = float(images[frame, z + dz, x + dx])
                total += value
                moment_z += value * dz
                moment_x += value * dx
        shifts[spot, 0] = moment_z / total if total > 0.0 else np.nan
        shifts[spot, 1] = moment_x / total if total > 0.0 else np.nan
    return shifts


@njit(cache=True, nogil=True)
def _fit_gaussians(images, maxima, half_window):  # type: ignore[no-untyped-def]
    """(spot, 4) shift z, x and full width z, x: ln|χ| ≈ c₀ + c₁ z + c₂ x + c₃ z² + c₄ x² with weights |χ|²."""
    fitted = np.full((len(maxima), 4), np.nan, dtype=np.float64)
    normal = np.empty((5, 6), dtype=np.float64)
    terms = np.empty(6, dtype=np.float64)
    for spot in range(len(maxima)):
        frame, z, x = maxima[spot]
        # a smaller, still centred window beside the border
        half = min(half_window, z, x, images.shape[1] - 1 - z, images.shape[2] - 1 - x)
        normal[:] = 0.0
        for dz in range(-half, half + 1):
            for dx in range(-half, half + 1):
                value = float(images[frame, z + dz, x + dx])
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
        fitted[spot, 0] = -0.5 * normal[1, 5] / normal[3, 5]
        fitted[spot, 1] = -0.5 * normal[2, 5] / normal[4, 5]
        fitted[spot, 2] = FULL_WIDTH * np.sqrt(-0.5 / normal[3, 5])
        fitted[spot, 3] = FULL_WIDTH * np.sqrt(-0.5 / normal[4, 5])
    return fitted


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


@njit(cache=True, nogil=True)
def _meet_gradients(images, maxima, half_window):  # type: ignore[no-untyped-def]
    """(spot, 2) c of least Σ w (n · (p − c))²: p between the pixels, n the unit normal to the gradient g there.

    With n nᵀ = [[gₓ², −g_z gₓ], [−g_z gₓ, g_z²]] / |g|² and w = |g|² / distance the lengths of g cancel.
    """
    shifts = np.full((len(maxima), 2), np.nan, dtype=np.float64)
    raw = np.empty((2, 2 * half_window, 2 * half_window), dtype=np.float64)
    smooth = np.empty_like(raw)
    for spot in range(len(maxima)):
        frame, z, x = maxima[spot]
        half = min(half_window, z, x, images.shape[1] - 1 - z, images.shape[2] - 1 - x)
        n = 2 * half
        for row in range(n):
            for column in range(n):
                i, j = z - half + row, x - half + column
                down = float(images[frame, i + 1, j + 1]) - float(images[frame, i, j])
                up = float(images[frame, i + 1, j]) - float(images[frame, i, j + 1])
                raw[0, row, column] = down + up
                raw[1, row, column] = down - up
        gradient = raw
        if half > 2:  # on fewer gradients the average costs more in bias than it saves in noise
            _average_neighbours(raw, smooth, n)
            gradient = smooth
        total = centroid_z = centroid_x = 0.0
        for row in range(n):
            for column in range(n):
                size = np.hypot(gradient[0, row, column], gradient[1, row, column])
                total += size
                centroid_z += size * (row - half + 0.5)
                centroid_x += size * (column - half + 0.5)
        if total <= 0.0:
            continue
        centroid_z /= total
        centroid_x /= total
        zz = xx = zx = right_z = right_x = 0.0
        for row in range(n):
            for column in range(n):
                p_z, p_x = row - half + 0.5, column - half + 0.5
                g_z, g_x = gradient[0, row, column], gradient[1, row, column]
                weight = 1.0 / max(np.hypot(p_z - centroid_z, p_x - centroid_x), NEAREST)
                across = weight * (p_z * g_x - p_x * g_z)
                zz += weight * g_x * g_x
                xx += weight * g_z * g_z
                zx -= weight * g_z * g_x
                right_z += across * g_x
                right_x -= across * g_z
        determinant = zz * xx - zx * zx
        if determinant > 1e-12 * (zz + xx) ** 2:
            shifts[spot, 0] = (xx * right_z - zx * right_x) / determinant
            shifts[spot, 1] = (zz * right_x - zx * right_z) / determinant
    return shifts


@njit(cache=True, nogil=True)
def _average_neighbours(raw, smooth, n):  # type: ignore[no-untyped-def]
    """Sum over 3 × 3 of the first n × n, zero outside."""
    for row in range(n):
        for column in range(n):
            sum_z = sum_x = 0.0
            for i in range(max(row - 1, 0), min(row + 2, n)):
                for j in range(max(column - 1, 0), min(column + 2, n)):
                    sum_z += raw[0, i, j]
                    sum_x += raw[1, i, j]
            smooth[0, row, column] = sum_z
            smooth[1, row, column] = sum_x


@njit(cache=True, nogil=True)
def _highest_interpolated(images, maxima, weights):  # type: ignore[no-untyped-def]
    """(spot, 2) peak of the image interpolated separably within a pixel of each maximum."""
    n_steps, n_taps = weights.shape
    reach, middle = n_taps // 2, n_steps // 2
    shifts = np.full((len(maxima), 2), np.nan, dtype=np.float64)
    across = np.empty((n_taps, n_steps), dtype=np.float64)
    taps = np.empty(n_taps, dtype=np.float64)
    fine = np.empty((n_steps, n_steps), dtype=np.float64)
    for spot in range(len(maxima)):
        frame, z, x = maxima[spot]
        for row in range(n_taps):
            # pixels beyond the border are as bright as those at it
            i = min(max(z - reach + row, 0), images.shape[1] - 1)
            for tap in range(n_taps):
                j = min(max(x - reach + tap, 0), images.shape[2] - 1)
                taps[tap] = images[frame, i, j]
            for step in range(n_steps):
                value = 0.0
                for tap in range(n_taps):
                    value += weights[step, tap] * taps[tap]
                across[row, step] = value
        best, best_z, best_x = -np.inf, 0, 0
        for row in range(n_steps):
            fine[row] = 0.0
            for tap in range(n_taps):
                for step in range(n_steps):
                    fine[row, step] += weights[row, tap] * across[tap, step]
            for step in range(n_steps):
                if fine[row, step] > best:
                    best, best_z, best_x = fine[row, step], row, step
        if not (0 < best_z < n_steps - 1 and 0 < best_x < n_steps - 1):
            continue
        before_z, after_z = fine[best_z - 1, best_x], fine[best_z + 1, best_x]
        before_x, after_x = fine[best_z, best_x - 1], fine[best_z, best_x + 1]
        shifts[spot, 0] = (best_z - middle + _vertex(before_z, best, after_z)) / middle
        shifts[spot, 1] = (best_x - middle + _vertex(before_x, best, after_x)) / middle
    return shifts


@njit(cache=True, nogil=True)
def _vertex(before, here, after):  # type: ignore[no-untyped-def]
    """Where the parabola through three neighbours is highest, from the middle one, in steps."""
    curvature = before - 2.0 * here + after
    return 0.5 * (before - after) / curvature if curvature < 0.0 else 0.0
