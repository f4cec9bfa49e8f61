"""Table of the elevation factor G for the fast backends.

G (`simus_reference.elevation_beams`) is a sum of exponentials of y², and smooth in the distance r. The table
has uniform rows in y², interpolated by six-point Lagrange weights, and in each row polynomials in 1/r, of just
the degree that the row needs: 4 near the image plane, more far from it. A polynomial holds for a whole array's
distances to a bubble, or, where the window opens near the probe, for those of sixteen neighbouring elements; next
to the probe it stays a Chebyshev series, since powers of such a degree would cancel in float32.
Rows and intervals sit at places fixed by probe and window, never by the bubbles, so that the result for one
bubble does not depend on what is simulated with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus_reference import elevation_beams
from ulmpipe.acoustics.window import ReceiveWindow

STENCIL = 6  # rows that an interpolation reads
ROWS_BELOW = 2  # rows at y² < 0, for the stencil of y = 0
ROW_EXPONENT = 0.3  # largest change of an exponent from row to row: interpolation is then exact to 4e-6
TOLERANCE = 3e-5  # of the polynomials, relative to the largest |G| of the same row and interval
POWER_DEGREES = (4, 5, 6, 8, 12)  # that the kernels are compiled for
SERIES_DEGREES = (6, 10, 14, 20, 30)
N_POINTS = 40  # of a series before it is cut to one of these degrees; half as many of a polynomial
INTERVAL_RATIO = 1.07  # of the least distances of neighbouring intervals; of small tiles:
SMALL_TILE_RATIO = 1.15  # their own length matters more
SMALL_TILE = 16  # elements, where one polynomial cannot serve the whole array


@dataclass(frozen=True)
class Lattice:
    """Where the table has rows (m²) and intervals of distance (m).

    Attributes
    ----------
    tile : int
        Neighbouring elements that share a polynomial.
    series : bool
        Whether the polynomials are Chebyshev series instead of powers.
    row_step : float
        Row number i lies at y² = (i − ROWS_BELOW) row_step.
    ratio : float
        Of lower[i + 1] to lower[i].
    lower, upper : tuple of float
        Interval i serves tiles whose nearest point to the bubble is between lower[i] and lower[i + 1] away;
        upper[i] is then the distance of their farthest element at most.
    """

    tile: int
    series: bool
    row_step: float
    ratio: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @property
    def degrees(self) -> tuple[int, ...]:
        """That the kernels are compiled for."""
        return SERIES_DEGREES if self.series else POWER_DEGREES

    @property
    def scale(self) -> NDArray[np.float64]:
        """The polynomials are in u = scale / r + shift, |u| ≤ 1 on the interval; m."""
        return 2 / (1 / np.array(self.lower) - 1 / np.array(self.upper))

    @property
    def shift(self) -> NDArray[np.float64]:
        """See `scale`."""
        return 1 - self.scale / np.array(self.lower)


@lru_cache(maxsize=16)
def elevation_lattice(
    probe: Probe, transmit: PlaneWaves, window: ReceiveWindow, n_lanes: int, speed_of_sound: float
) -> Lattice | None:
    """Cheapest lattice that represents G within the window, or None if the window opens too near the probe.

    The distances that can occur follow from the window, since all echoes have to fit into it
    (`window.check_echoes_fit`). `n_lanes` is the padded number of elements.
    """
    wavenumber = 2 * np.pi * window.frequencies / speed_of_sound
    largest_delay = float(transmit.delays(probe, speed_of_sound=speed_of_sound).max())
    shortest = 0.5 * speed_of_sound / probe.center_frequency
    nearest = max(0.5 * speed_of_sound * (window.start_time - largest_delay), shortest)
    farthest = max(0.5 * speed_of_sound * window.end_time, 1.1 * nearest)
    if math.isinf(probe.height):
        return Lattice(n_lanes, False, math.inf, INTERVAL_RATIO, (nearest,), (farthest,))
    row_step = ROW_EXPONENT / _steepest_exponent(wavenumber[-1], nearest, farthest, probe)
    some = wavenumber[:: max(1, len(wavenumber) // 8)]
    for tile, series in ((n_lanes, False), (SMALL_TILE, False), (SMALL_TILE, True)):
        ratio = SMALL_TILE_RATIO if tile == SMALL_TILE else INTERVAL_RATIO
        lattice = Lattice(tile, series, row_step, ratio, *_intervals(tile, ratio, nearest, farthest, probe))
        highest = lattice.degrees[-1]
        if all(
            _degrees(series_at, allowance * TOLERANCE).max() <= highest
            for series_at, allowance in (
                (next(_series(elevation**2, 0.0, some, lattice, probe)), allowance)
                for elevation, allowance in ((0.0, 1), (probe.height / 3, 1), (probe.height / 1.5, 10))
            )
        ):
            return lattice
    return None


def _intervals(
    tile: int, ratio: float, nearest: float, farthest: float, probe: Probe
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    n_intervals = math.ceil(math.log(farthest / nearest) / math.log(ratio))
    lower = nearest * ratio ** np.arange(n_intervals)
    upper = np.minimum(lower * ratio + (tile - 1) * probe.pitch, 1.01 * farthest)
    return tuple(lower.tolist()), tuple(upper.tolist())


def count_rows(max_elevation: float, lattice: Lattice) -> int:
    """Rows that a table needs for scatterers up to |y| = `max_elevation` (m); few sizes, so that tables are shared."""
    needed = int(max_elevation * max_elevation / lattice.row_step) + STENCIL
    return int(8 * 2 ** math.ceil(math.log2(needed / 8))) if needed > 8 else 8


@lru_cache(maxsize=4)
def elevation_table(
    n_rows: int, lattice: Lattice, probe: Probe, window: ReceiveWindow, speed_of_sound: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Polynomial coefficients of the conjugate of G.

    Returns
    -------
    coefficients : ndarray, shape (row, interval, frequency, 2 (degree + 1)), float32
        In u = scale / r + shift: real parts by rising order, then imaginary ones, zero above the row's degree.
        Row number i lies at y² = (i − ROWS_BELOW) row_step.
    degrees : ndarray, shape (row, interval), int64
        Index into the lattice's `degrees` of what a bubble between row + ROWS_BELOW and the next one needs.
    """
    if math.isinf(probe.height):
        ones = np.zeros((n_rows, 1, len(window.frequencies), 2 * (POWER_DEGREES[0] + 1)), dtype=np.float32)
        ones[..., 0] = 1.0
        return ones, np.zeros((n_rows, 1), dtype=np.int64)
    wavenumber = 2 * np.pi * window.frequencies / speed_of_sound
    # rows beyond the last make its degree independent of where the table ends
    below = -ROWS_BELOW * lattice.row_step
    rows = _series(below, lattice.row_step, wavenumber, lattice, probe)
    series = np.stack(list(islice(rows, n_rows + STENCIL)))
    needed = np.minimum(_degrees(series, TOLERANCE), lattice.degrees[-1])
    needed = np.stack([needed[row : row + STENCIL].max(axis=0) for row in range(n_rows)])
    series = series[:n_rows]
    degrees = np.searchsorted(lattice.degrees, needed)
    # every row of a stencil has the powers that the stencil evaluates, no more: powers cut off later would be missed
    kept = np.take(lattice.degrees, degrees)
    kept = np.stack([kept[max(0, row - STENCIL + 1) : row + 1].min(axis=0) for row in range(n_rows)])
    n_powers = int(np.take(lattice.degrees, degrees).max()) + 1
    series = series[:, :, :n_powers] * (np.arange(n_powers)[:, None] <= kept[..., None, None])
    if lattice.series:
        coefficients = np.swapaxes(series, -1, -2)
    else:
        to_powers = np.zeros((n_powers, n_powers))
        for order in range(n_powers):
            to_powers[order, : order + 1] = chebyshev.cheb2poly(np.eye(n_powers)[order])[: order + 1]
        coefficients = np.einsum("rndf,dp->rnfp", series, to_powers)
    parts = np.concatenate([coefficients.real, coefficients.imag], axis=-1)
    return np.ascontiguousarray(parts, dtype=np.float32), degrees.astype(np.int64)


def _steepest_exponent(wavenumber: float, nearest: float, farthest: float, probe: Probe) -> float:
    """Largest |d exponent / d y²| of the Gaussian beams, rad/m²."""
    distance = np.geomspace(nearest, farthest, 200)
    return max(float(np.abs(exponent).max()) for _, exponent in elevation_beams(wavenumber, distance, probe))


def _series(
    first: float, step: float, wavenumber: NDArray[np.float64], lattice: Lattice, probe: Probe
) -> Iterator[NDArray[np.complex128]]:
    """Chebyshev series in u, (interval, order, frequency), of the conjugate of G at y² = first, first + step, …"""
    n_points = N_POINTS if lattice.series else N_POINTS // 2
    angle = np.pi * (np.arange(n_points) + 0.5) / n_points
    r = lattice.scale[:, None] / (np.cos(angle) - lattice.shift[:, None])
    amplitude, exponent = (
        np.stack(each) for each in zip(*elevation_beams(wavenumber, r[..., None], probe), strict=True)
    )
    beams, ratio = np.conj(amplitude * np.exp(exponent * first)), np.conj(np.exp(exponent * step))
    to_series = 2 / n_points * np.cos(np.arange(n_points)[:, None] * angle)
    to_series[0] /= 2
    while True:
        yield np.einsum("op,npf->nof", to_series, beams.sum(axis=0), optimize=True)
        beams *= ratio


def _degrees(series: NDArray[np.complex128], tolerance: float) -> NDArray[np.int64]:
    """Least degree at which a series (..., order, frequency) may be cut, at every frequency; shape (...)."""
    size = np.abs(series)
    tail = np.cumsum(size[..., ::-1, :], axis=-2)[..., ::-1, :]  # of this order and all above
    largest = size.sum(axis=-2).max(axis=-1)  # a bound of |G|, near enough to it
    too_much = tail.max(axis=-1) > tolerance * largest[..., None]
    degrees: NDArray[np.int64] = too_much.sum(axis=-1) - 1
    return np.maximum(degrees, 0)
