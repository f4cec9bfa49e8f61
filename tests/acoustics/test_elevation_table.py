"""The elevation table of the fast backends against the formula, row by row: each to a part of its own largest value."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe
from ulmpipe.acoustics.elevation import ROWS_BELOW, STENCIL, TOLERANCE, elevation_lattice, elevation_table
from ulmpipe.acoustics.simus_reference import elevation_factor
from ulmpipe.acoustics.window import ReceiveWindow

SPEED = 1540.0


def lagrange(place: float) -> np.ndarray:
    nodes = np.arange(STENCIL)
    return np.array(
        [np.prod([(place - other) / (node - other) for other in nodes if other != node]) for node in nodes]
    )


@pytest.mark.parametrize("start_time", [4e-6, 9e-6], ids=["series", "powers"])
def test_between_all_rows_and_at_the_ends_of_all_intervals_it_is_the_formula(start_time: float) -> None:
    probe, transmit = named_probe("L22-14v"), PlaneWaves(angles=(0.0,), transmit_frequency=15e6, n_cycles=3)
    window = ReceiveWindow(
        start_time=start_time, n_samples=96, sampling_frequency=15.625e6, demodulation_frequency=15.625e6
    )
    lattice = elevation_lattice(probe, transmit, window, 128, SPEED)
    assert lattice is not None
    assert lattice.series == (start_time < 5e-6)
    table, degrees = elevation_table(32, lattice, probe, window, SPEED)
    wavenumber = 2 * np.pi * window.frequencies / SPEED
    n_powers = table.shape[-1] // 2
    u = np.array([-1.0, -0.6, 0.1, 1.0])
    worst = 0.0
    for row in range(32 - STENCIL):
        y = np.sqrt((row + 0.5) * lattice.row_step)
        weights = lagrange(ROWS_BELOW + 0.5)
        mixed = np.tensordot(weights, table[row : row + STENCIL], axes=1)
        for i in range(len(lattice.lower)):
            degree = lattice.degrees[degrees[row, i]]
            basis = (
                np.polynomial.chebyshev.chebvander if lattice.series else np.polynomial.polynomial.polyvander
            )
            terms = basis(u, degree)  # the kernels evaluate no more
            real, imaginary = mixed[i, :, :n_powers], mixed[i, :, n_powers:]
            found = (real + 1j * imaginary)[:, : degree + 1] @ terms.T
            r = lattice.scale[i] / (u - lattice.shift[i])
            exact = np.conj(elevation_factor(wavenumber[:, None], y, r, probe))
            worst = max(worst, float(np.abs(found - exact).max() / np.abs(exact).max()))
    assert worst < 2 * TOLERANCE
