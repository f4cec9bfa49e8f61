"""Table of the elevation factor G for the fast backends.

G (`simus_reference.elevation_factor`) is a sum of exponentials of y², and smooth in the distance r over a few
neighbouring elements. The table therefore has uniform rows in y², interpolated by six-point Lagrange weights,
and in each row polynomials in 1/r, each for an interval of distances that holds a tile of neighbouring
elements; deep windows need only one, for the whole array. Rows and intervals sit at places fixed by probe and
window, never by the bubbles, so that the result for one bubble does not depend on what is simulated with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus_reference import GAUSSIAN_WIDTHS, elevation_factor
from ulmpipe.acoustics.window import ReceiveWindow

STENCIL = 6  # rows that an interpolation reads
ROWS_BELOW = 2  # rows at y² < 0, for the stencil of y = 0
ROW_EXPONENT = 0.3  # largest change of an exponent from row to row: interpolation is then exact to 4e-6
TOLERANCE = 3e-5  # of the polynomials in 1/r
# Cheapest first: one polynomial for the whole array, then smaller tiles for shallower windows.
WHOLE_ARRAY_DEGREES = (5, 6, 8, 10, 12)
TILES = ((32, 8), (32, 10), (16, 8), (16, 10), (8, 8), (8, 10), (8, 12), (8, 14))  # (elements, degree)


@dataclass(frozen=True)
class Lattice:
    """Where the table has rows (m²) and intervals of distance (m), one for every step of a tile's distance."""

    tile: int
    degree: int
    row_step: float
    interval_step: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]

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
    row_step = ROW_EXPONENT / _steepest_exponent(wavenumber[-1], nearest, farthest, probe)
    choices = [(n_lanes, degree) for degree in WHOLE_ARRAY_DEGREES]
    choices += [(tile, degree) for tile, degree in TILES if n_lanes % tile == 0]
    for tile, degree in choices:
        step, lower, upper = _intervals(tile, n_lanes, nearest, farthest, probe)
        lattice = Lattice(tile, degree, row_step, step, lower, upper)
        if _polynomial_error(lattice, wavenumber, probe) < TOLERANCE:
            return lattice
    return None


def _intervals(
    tile: int, n_lanes: int, nearest: float, farthest: float, probe: Probe
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Intervals of distance; the one for a tile whose middle is at r has the number (r − nearest) / step."""
    half_tile = 0.5 * (tile - 1) * probe.pitch
    if tile == n_lanes or nearest + 2 * half_tile > farthest:
        return math.inf, (nearest,), (farthest,)
    starts = np.arange(nearest, farthest, half_tile)
    lower, upper = np.maximum(starts - half_tile, nearest), np.minimum(starts + 2 * half_tile, farthest)
    return half_tile, tuple(lower.tolist()), tuple(upper.tolist())


def elevation_table(
    max_elevation: float, lattice: Lattice, probe: Probe, window: ReceiveWindow, *, speed_of_sound: float
) -> NDArray[np.float32]:
    """Polynomial coefficients of the conjugate of G for scatterers up to |y| = `max_elevation` (m).

    Returns
    -------
    ndarray, shape (row, interval, frequency, 2 (degree + 1)), float32
        In u = scale / r + shift: real parts by rising power, then imaginary ones. Row number i lies at
        y² = (i − ROWS_BELOW) row_step.
    """
    n_rows = int(max_elevation**2 / lattice.row_step) + STENCIL
    return _table(8 * math.ceil(n_rows / 8), lattice, probe, window, speed_of_sound)


@lru_cache(maxsize=4)
def _table(
    n_rows: int, lattice: Lattice, probe: Probe, window: ReceiveWindow, speed_of_sound: float
) -> NDArray[np.float32]:
    wavenumber = 2 * np.pi * window.frequencies / speed_of_sound
    squared_elevations = (np.arange(n_rows) - ROWS_BELOW) * lattice.row_step
    return np.stack([_coefficients(squared, wavenumber, lattice, probe) for squared in squared_elevations])


def _steepest_exponent(wavenumber: float, nearest: float, farthest: float, probe: Probe) -> float:
    """Largest |d exponent / d y²| of the four Gaussian beams, rad/m²."""
    r = np.geomspace(nearest, farthest, 200)[:, None]
    t = 1 / (
        0.5j * wavenumber * (1 / probe.elevation_focus - 1 / r) + GAUSSIAN_WIDTHS[None, :] / probe.height**2
    )
    return float(np.abs(wavenumber**2 * t / (4 * r**2) - 0.5j * wavenumber / r).max())


def _conjugate_factor(
    squared_elevation: float,
    u: NDArray[np.float64],
    wavenumber: NDArray[np.float64],
    lattice: Lattice,
    probe: Probe,
) -> NDArray[np.complex128]:
    """Conjugate of G, shape (interval, u, frequency); y² may be negative, below the first rows."""
    r = lattice.scale[:, None] / (u - lattice.shift[:, None])
    if squared_elevation >= 0:
        return np.conj(elevation_factor(wavenumber, math.sqrt(squared_elevation), r[..., None], probe))
    imaginary = 1j * math.sqrt(-squared_elevation)
    return np.conj(elevation_factor(wavenumber, imaginary, r[..., None], probe))


def _coefficients(
    squared_elevation: float, wavenumber: NDArray[np.float64], lattice: Lattice, probe: Probe
) -> NDArray[np.float32]:
    """Interpolating polynomials through Chebyshev points, shape (interval, frequency, 2 (degree + 1))."""
    n_points = lattice.degree + 1
    points = np.cos(np.pi * (np.arange(n_points) + 0.5) / n_points)
    values = _conjugate_factor(squared_elevation, points, wavenumber, lattice, probe)
    from_values = np.linalg.inv(np.vander(points, increasing=True))
    coefficients = np.moveaxis(np.tensordot(from_values, values, axes=(1, 1)), 0, -1)
    parts = np.concatenate([coefficients.real, coefficients.imag], axis=-1)
    return np.ascontiguousarray(parts, dtype=np.float32)


def _polynomial_error(lattice: Lattice, wavenumber: NDArray[np.float64], probe: Probe) -> float:
    """Largest error of the float32 polynomials, relative to the largest |G| of the same y and interval.

    Far out in elevation, where |G| is down by 20 dB and more, ten times the error is allowed.
    """
    some = wavenumber[:: max(1, len(wavenumber) // 8)]
    u = np.linspace(-1, 1, 4 * lattice.degree)
    powers = np.vander(u.astype(np.float32), lattice.degree + 1, increasing=True)
    worst = 0.0
    for elevation, allowance in ((0.0, 1), (probe.height / 3, 1), (probe.height / 1.5, 10)):
        exact = _conjugate_factor(elevation**2, u, some, lattice, probe)
        real, imaginary = np.split(_coefficients(elevation**2, some, lattice, probe), 2, axis=-1)
        found = np.einsum("ud,nfd->nuf", powers, real) + 1j * np.einsum("ud,nfd->nuf", powers, imaginary)
        error = np.abs(found - exact).max(axis=(1, 2)) / np.abs(exact).max(axis=(1, 2))
        worst = max(worst, float(error.max()) / allowance)
    return worst
