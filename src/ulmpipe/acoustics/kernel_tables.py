"""What the fast backends need besides the scatterers: float32 tables, the same for CPU and GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.elevation import Lattice, elevation_table
from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus_reference import DECIBELS_PER_NEPER, probe_spectrum, pulse_spectrum
from ulmpipe.acoustics.window import ReceiveWindow

DIRECTIVITY_TOLERANCE = 3e-5


@dataclass(frozen=True, eq=False)
class KernelTables:
    """Inputs of a kernel that do not depend on the scatterers; conjugated as the kernels are.

    Attributes
    ----------
    elements : ndarray, shape (lane,), float64
        Element positions, continued beyond the array up to a whole number of tiles, m.
    n_elements : int
    delay_phases : ndarray, shape (angle, frequency, 2, lane), float32
        Real and imaginary part of exp(−iω delay); 0 in the lanes that are no elements.
    spectrum_weights : ndarray, shape (frequency,), complex64
        Conjugate of pulse and two-way probe spectrum, times the window's phase and twice the frequency step.
    directivity : ndarray, shape (frequency, coefficient), float32
        Polynomial in sin²θ of sinc(k w/2 sin θ).
    wave_turns, nepers : tuple of float
        Phase (turns/m) and attenuation (Np/m) at the first bin, and their step from bin to bin.
    elevation, degrees : ndarray
        See `elevation.elevation_table`.
    intervals : ndarray, shape (interval, 2), float64
        Scale and shift of each interval's polynomials.
    steps : tuple of float
        Row step (m²), nearest distance (m) and logarithm of the ratio of intervals of the elevation table.
    tile : int
        Neighbouring elements that share a polynomial.
    series : bool
        Whether the polynomials are Chebyshev series instead of powers.
    compiled_degrees : tuple of int
        That `degrees` points into.
    constants : tuple of float
        Shortest distance (m); 1 for a soft baffle or 0 for a rigid one; 1 for spherical waves in three
        dimensions or 0 for cylindrical ones in two.
    """

    elements: NDArray[np.float64]
    n_elements: int
    delay_phases: NDArray[np.float32]
    spectrum_weights: NDArray[np.complex64]
    directivity: NDArray[np.float32]
    wave_turns: tuple[float, float]
    nepers: tuple[float, float]
    elevation: NDArray[np.float32]
    degrees: NDArray[np.int64]
    intervals: NDArray[np.float64]
    steps: tuple[float, float, float]
    tile: int
    series: bool
    compiled_degrees: tuple[int, ...]
    constants: tuple[float, float, float]


@lru_cache(maxsize=16)
def kernel_tables(
    n_rows: int,
    lattice: Lattice,
    probe: Probe,
    transmit: PlaneWaves,
    window: ReceiveWindow,
    *,
    speed_of_sound: float,
    attenuation: float,
    n_lanes: int,
) -> KernelTables:
    """Tables with `n_rows` rows of elevation (see `elevation.count_rows`), elements padded to `n_lanes`."""
    frequency = window.frequencies
    elements = probe.element_positions[0] + np.arange(n_lanes) * probe.pitch
    delays = transmit.delays(probe, speed_of_sound=speed_of_sound)
    phases = np.zeros((len(delays), len(frequency), 2, n_lanes), dtype=np.float32)
    turns = frequency[:, None] * delays[:, None, :]
    phases[:, :, 0, : probe.n_elements] = np.cos(2 * np.pi * turns)
    phases[:, :, 1, : probe.n_elements] = -np.sin(2 * np.pi * turns)
    elevation, degrees = elevation_table(n_rows, lattice, probe, window, speed_of_sound)
    decay = attenuation / DECIBELS_PER_NEPER / 1e6 * 1e2  # Np/m/Hz
    return KernelTables(
        elements=elements,
        n_elements=probe.n_elements,
        delay_phases=phases,
        spectrum_weights=spectrum_weights(probe, transmit, window),
        directivity=_directivity(frequency, probe, speed_of_sound),
        wave_turns=(frequency[0] / speed_of_sound, window.frequency_step / speed_of_sound),
        nepers=(decay * frequency[0], decay * window.frequency_step),
        elevation=elevation,
        degrees=degrees,
        intervals=np.stack([lattice.scale, lattice.shift], axis=1),
        steps=(lattice.row_step, lattice.lower[0], math.log(lattice.ratio)),
        tile=lattice.tile,
        series=lattice.series,
        compiled_degrees=lattice.degrees,
        constants=(
            0.5 * speed_of_sound / probe.center_frequency,
            1.0 if probe.baffle == "soft" else 0.0,
            0.0 if math.isinf(probe.height) else 1.0,
        ),
    )


def spectrum_weights(probe: Probe, transmit: PlaneWaves, window: ReceiveWindow) -> NDArray[np.complex64]:
    """What turns a conjugated response into the bins of the baseband signal that begins at the window's start.

    IQ(t) = 2 Δf Σ conj(S) exp(2πi (f − f_d) t), so that its real part on the carrier is the RF signal.
    """
    frequency = window.frequencies
    spectrum = np.conj(pulse_spectrum(frequency, transmit)) * probe_spectrum(frequency, probe) ** 2
    turns = (frequency - window.demodulation_frequency) * window.start_time
    return (2 * window.frequency_step * spectrum * np.exp(2j * np.pi * turns)).astype(np.complex64)


def _directivity(frequency: NDArray[np.float64], probe: Probe, speed_of_sound: float) -> NDArray[np.float32]:
    """Polynomials in sin²θ of each bin's sinc(k w/2 sin θ), of the lowest degree that is exact enough."""
    half_width = np.pi * frequency * probe.width / speed_of_sound
    sine2 = np.linspace(0, 1, 201)
    exact = np.sinc(half_width[:, None] * np.sqrt(sine2) / np.pi)
    for degree in range(4, 16):
        n_points = degree + 1
        points = 0.5 + 0.5 * np.cos(np.pi * (np.arange(n_points) + 0.5) / n_points)
        values = np.sinc(half_width[:, None] * np.sqrt(points) / np.pi)
        coefficients = values @ np.linalg.inv(np.vander(points, increasing=True)).T
        found = coefficients @ np.vander(sine2, n_points, increasing=True).T
        if np.abs(found - exact).max() < DIRECTIVITY_TOLERANCE:
            break
    return np.ascontiguousarray(coefficients, dtype=np.float32)
