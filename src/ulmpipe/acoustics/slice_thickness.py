"""How a bubble outside the image plane comes back: weaker, and deeper than it is.

The elevation beam is thinner than the simulated volumes. These figures, from the same elevation factor G as
the simulator's (`simus_reference.elevation_factor`, Garcia 2022), tell targets and scores which bubbles can be
seen at all. Given the transmitted pulse they are averages over its echo's band; at one frequency alone the
beam has zeros in elevation, which a short pulse fills.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus_reference import elevation_factor, probe_spectrum, pulse_spectrum
from ulmpipe.errors import InputError

N_FREQUENCIES = 48  # of the band average; 400 give the same three digits
N_ELEVATIONS = 401  # tried by `half_thickness`


def elevation_gain(
    y: ArrayLike,
    z: ArrayLike,
    probe: Probe,
    transmit: PlaneWaves | None = None,
    *,
    frequency: float | None = None,
    speed_of_sound: float,
) -> NDArray[np.float64]:
    """Two-way amplitude of the echo of a bubble at elevation y and depth z, relative to y = 0.

    Root of the energy of |G(k, y, r) / r|² over the band, over its value at y = 0, with r = √(y² + z²), for
    the element above the bubble.

    Parameters
    ----------
    y, z : array_like
        Elevation and depth, m; they broadcast.
    probe : Probe
    transmit : PlaneWaves, optional
        The band is that of this pulse's echo.
    frequency : float, optional
        Without `transmit`: the single frequency, Hz.
    speed_of_sound : float
        m/s.

    Returns
    -------
    ndarray of float64, 1 at y = 0

    Raises
    ------
    InputError
        Unless exactly one of `transmit` and `frequency` is given.
    """
    y, z = np.broadcast_arrays(np.asarray(y, dtype=np.float64), np.asarray(z, dtype=np.float64))
    wavenumber, energy = _band(probe, transmit, frequency, speed_of_sound)
    off_plane = _two_way(wavenumber, y, z, probe)
    in_plane = _two_way(wavenumber, np.zeros_like(y), z, probe)
    gain: NDArray[np.float64] = np.sqrt((off_plane**2 @ energy) / (in_plane**2 @ energy))
    return gain


def half_thickness(
    z: ArrayLike,
    probe: Probe,
    transmit: PlaneWaves,
    *,
    gain: float,
    greatest: float,
    speed_of_sound: float,
) -> NDArray[np.float64]:
    """Elevation at which the gain of a bubble falls below a limit: half the thickness of the imaged slice, m.

    Parameters
    ----------
    z : array_like
        Depths, m.
    probe, transmit
        The band is that of the pulse's echo.
    gain : float
        Limit of `elevation_gain`, below 1.
    greatest : float
        Elevation up to which is searched and which is returned where the gain stays above the limit, m.
    speed_of_sound : float
        m/s.
    """
    elevations = np.linspace(0.0, greatest, N_ELEVATIONS)
    depths = np.asarray(z, dtype=np.float64)[..., None]
    below = elevation_gain(elevations, depths, probe, transmit, speed_of_sound=speed_of_sound) < gain
    first = np.where(below.any(axis=-1), below.argmax(axis=-1), N_ELEVATIONS - 1)
    return elevations[first]


def apparent_depth(
    y: ArrayLike,
    z: ArrayLike,
    probe: Probe,
    transmit: PlaneWaves | None = None,
    *,
    frequency: float | None = None,
    speed_of_sound: float,
) -> NDArray[np.float64]:
    """Depth at which a bubble at elevation y and depth z appears in the image, m.

    Half the round trip's group delay times c: r + d arg G(k, y, r)/dk, less the same of G at y = 0 so that a
    bubble in the image plane appears where it is; over a band, the mean weighted by the echo's energy.
    Parameters and errors as for `elevation_gain`.
    """
    y, z = np.broadcast_arrays(np.asarray(y, dtype=np.float64), np.asarray(z, dtype=np.float64))
    wavenumber, energy = _band(probe, transmit, frequency, speed_of_sound)
    in_plane = np.zeros_like(y)
    excess = _phase_slope(wavenumber, y, z, probe) - _phase_slope(wavenumber, in_plane, z, probe)
    weight = _two_way(wavenumber, y, z, probe) ** 2 * energy
    depth: NDArray[np.float64] = np.hypot(y, z) + (excess * weight).sum(axis=-1) / weight.sum(axis=-1)
    return depth


def lens_delay(
    distance: ArrayLike, probe: Probe, *, frequency: float, speed_of_sound: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the elevation lens adds to the way from an element to a point of the image plane.

    Parameters
    ----------
    distance : array_like
        Of the point from the element, m.
    probe : Probe
    frequency : float
        Of the carrier, Hz.
    speed_of_sound : float
        m/s.

    Returns
    -------
    path : ndarray of float64
        Group delay d arg G(k, 0, r) / dk as a length, m; nothing at the elevation focus.
    turns : ndarray of float64
        Phase arg G of the carrier, less that at the elevation focus, in turns.
    """
    r = np.asarray(distance, dtype=np.float64)
    if math.isinf(probe.height):
        return np.zeros(r.shape), np.zeros(r.shape)
    wavenumber = np.array([2 * np.pi * frequency / speed_of_sound])
    path = _phase_slope(wavenumber, np.zeros(r.shape), r, probe)[..., 0]
    here = elevation_factor(wavenumber[0], 0.0, r, probe)
    at_focus = elevation_factor(wavenumber[0], 0.0, probe.elevation_focus, probe)
    return path, np.angle(here / at_focus) / (2 * np.pi)


def _band(
    probe: Probe, transmit: PlaneWaves | None, frequency: float | None, speed_of_sound: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wavenumbers, and the energy of an echo from the image plane but for G, both of shape (frequency,)."""
    if (transmit is None) == (frequency is None):
        raise InputError(
            f"transmit and frequency: {transmit!r} and {frequency!r}, expected exactly one of the two"
        )
    if transmit is None:
        band = np.array([frequency], dtype=np.float64)
        energy = np.ones(1)
    else:
        band = transmit.transmit_frequency * np.linspace(0.25, 1.75, N_FREQUENCIES)
        energy = np.abs(pulse_spectrum(band, transmit) * probe_spectrum(band, probe) ** 2) ** 2
    return 2 * np.pi * band / speed_of_sound, energy


def _two_way(
    wavenumber: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], probe: Probe
) -> NDArray[np.float64]:
    """|G / r|², shape (..., frequency); 1 in two dimensions."""
    if math.isinf(probe.height):
        return np.ones((*y.shape, wavenumber.size))
    r = np.hypot(y, z)[..., None]
    return np.abs(elevation_factor(wavenumber, y[..., None], r, probe) / r) ** 2


def _phase_slope(
    wavenumber: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], probe: Probe
) -> NDArray[np.float64]:
    """Derivative of arg G by the wavenumber, shape (..., frequency), m; in two dimensions what takes y away again."""
    if math.isinf(probe.height):
        return np.broadcast_to((z - np.hypot(y, z))[..., None], (*y.shape, wavenumber.size))
    r = np.hypot(y, z)[..., None]
    step = 1e-4 * wavenumber
    upper = elevation_factor(wavenumber + step, y[..., None], r, probe)
    lower = elevation_factor(wavenumber - step, y[..., None], r, probe)
    return np.angle(upper / lower) / (2 * step)
