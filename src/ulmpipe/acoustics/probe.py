"""The probe and the transmissions: small frozen descriptions that simulator, beamformer and importers share.

Lengths in metres, frequencies in hertz, angles in radians. The linear array lies along x at z = 0 and
radiates towards +z; y is the elevation, across the image plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear array of identical rectangular elements with a fixed elevation focus.

    Parameters
    ----------
    n_elements : int
        Number of elements.
    pitch, width, height : float
        Distance between element centres, element width (x) and element height (y), m. An infinite height
        (``math.inf``) is the model in two dimensions: cylindrical waves, r^(−1/2), and y is without effect.
    elevation_focus : float
        Depth of the elevation focus, m (``math.inf``: flat elements).
    center_frequency : float
        Centre frequency of the probe's response, Hz; the transmit frequency is a property of the pulse.
    bandwidth : float
        −6 dB pulse-echo bandwidth as a fraction of `center_frequency`, between 0 and 2.
    baffle : {"soft", "rigid"}
        Baffle around the elements: obliquity factor cos θ or 1.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    n_elements: int
    pitch: float
    width: float
    height: float
    elevation_focus: float
    center_frequency: float
    bandwidth: float
    baffle: str = "soft"

    def __post_init__(self) -> None:
        if self.n_elements < 1 or self.n_elements != int(self.n_elements):
            raise InputError(f"probe n_elements: {self.n_elements}, expected a whole number of at least 1")
        object.__setattr__(self, "n_elements", int(self.n_elements))
        if not self.height > 0:
            raise InputError(f"probe height: {self.height}, expected metres above 0, or inf (two dimensions)")
        for name in ("pitch", "width", "center_frequency"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"probe {name}: {value}, expected a finite number above 0")
        if not self.elevation_focus > 0:
            raise InputError(
                f"probe elevation_focus: {self.elevation_focus}, expected metres above 0, or inf"
            )
        if self.width > self.pitch:
            raise InputError(f"probe width: {self.width} m, expected at most the pitch, {self.pitch} m")
        if not 0 < self.bandwidth < 2:
            raise InputError(f"probe bandwidth: {self.bandwidth}, expected a fraction between 0 and 2")
        if self.baffle not in ("soft", "rigid"):
            raise InputError(f"probe baffle: {self.baffle!r}, expected 'soft' or 'rigid'")

    @property
    def element_positions(self) -> NDArray[np.float64]:
        """Centres of the elements along x, shape (n_elements,), m; their mean is 0."""
        index = np.arange(self.n_elements, dtype=np.float64)
        return (index - (self.n_elements - 1) / 2) * self.pitch


@dataclass(frozen=True, kw_only=True)
class PlaneWaves:
    """A sequence of plane waves, one transmission per angle.

    Parameters
    ----------
    angles : sequence of float
        Steering angles, rad, positive towards +x; one transmission each, in time order.
    transmit_frequency : float
        Frequency of the transmitted burst, Hz.
    n_cycles : float
        Length of the burst in periods of `transmit_frequency`.

    Raises
    ------
    InputError
        If there is no angle, an angle is not within ±π/2, or a value is not above 0.
    """

    angles: tuple[float, ...]
    transmit_frequency: float
    n_cycles: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "angles", tuple(float(angle) for angle in self.angles))
        if not self.angles:
            raise InputError("transmit angles: none, expected at least one plane wave")
        for angle in self.angles:
            if not abs(angle) < math.pi / 2:
                raise InputError(f"transmit angles: {angle} rad, expected less than pi/2 in size")
        for name in ("transmit_frequency", "n_cycles"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"transmit {name}: {value}, expected a finite number above 0")

    @property
    def pulse_duration(self) -> float:
        """Length of the transmitted burst, s."""
        return self.n_cycles / self.transmit_frequency

    def delays(self, probe: Probe, *, speed_of_sound: float) -> NDArray[np.float64]:
        """Transmit delays, shape (angle, element), s; zero for the first element of each wave to fire.

        Element at x fires at (x sin θ − min x sin θ) / c, so the centre of the wave leaves the array's
        middle later than t = 0 by half the largest delay. Simulator and beamformer both use this origin.
        """
        projection = np.sin(self.angles)[:, None] * probe.element_positions[None, :]
        delays: NDArray[np.float64] = (projection - projection.min(axis=1, keepdims=True)) / speed_of_sound
        return delays
