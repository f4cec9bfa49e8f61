"""The receive window: which times and frequencies are simulated, and whether the echoes fit in.

Signals are built from a discrete spectrum, so they repeat with the length of the window. An echo outside
would wrap around and appear at a wrong depth; `check_echoes_fit` refuses that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ReceiveWindow:
    """Times of the complex baseband samples and, with them, the frequency bins of the simulation.

    Parameters
    ----------
    start_time : float
        Time of the first sample, s, after the first element fired.
    n_samples : int
        Number of complex samples at `sampling_frequency`.
    sampling_frequency : float
        Complex samples per second, which is also the width of the received band, Hz.
    demodulation_frequency : float
        Centre of the received band, Hz.
    """

    start_time: float
    n_samples: int
    sampling_frequency: float
    demodulation_frequency: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_time) and self.start_time >= 0):
            raise InputError(f"start_time: {self.start_time}, expected seconds, 0 or more")
        if self.n_samples < 1 or self.n_samples != int(self.n_samples):
            raise InputError(f"n_samples: {self.n_samples}, expected a whole number of at least 1")
        object.__setattr__(self, "n_samples", int(self.n_samples))
        for name in ("sampling_frequency", "demodulation_frequency"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name}: {value}, expected hertz above 0")
        if self.sampling_frequency > 2 * self.demodulation_frequency:
            raise InputError(
                f"sampling_frequency: {self.sampling_frequency} Hz, expected at most twice the "
                f"demodulation_frequency, {self.demodulation_frequency} Hz, or the band reaches below zero"
            )

    @property
    def duration(self) -> float:
        """Length of the window, s."""
        return self.n_samples / self.sampling_frequency

    @property
    def end_time(self) -> float:
        """End of the window, s."""
        return self.start_time + self.duration

    @property
    def frequency_step(self) -> float:
        """Distance between frequency bins, Hz."""
        return self.sampling_frequency / self.n_samples

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Frequency bins, ascending, shape (n_samples,), Hz."""
        steps = np.arange(self.n_samples, dtype=np.float64) - self.n_samples // 2
        return self.demodulation_frequency + steps * self.frequency_step


def is_present(positions: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the scatterers (…, 3) are there: finite, and not behind the probe; shape (…)."""
    x, y, z = np.moveaxis(positions, -1, 0)
    present: NDArray[np.bool_] = np.isfinite(x) & np.isfinite(y) & (z >= 0) & (z < np.inf)
    return present


def echo_times(
    positions: NDArray[np.float64], probe: Probe, transmit: PlaneWaves, *, speed_of_sound: float
) -> tuple[float, float]:
    """Centres of the earliest and the latest echo of all scatterers on all elements, s.

    For a scatterer at distance h from the array's line, x sin θ + √((x_s − x)² + h²) is convex in the
    element's position x: smallest at x_s − h tan θ or at the end nearest to it, largest at an end.

    Parameters
    ----------
    positions : ndarray, shape (frame, 1 or angle, scatterer, 3)
        m; what is not finite or at z < 0 counts as absent.

    Returns
    -------
    earliest, latest : float
        (inf, -inf) if no scatterer is present.
    """
    here = is_present(positions)
    x, y, z = (np.where(here, each, 0.0) for each in np.moveaxis(positions, -1, 0))
    edge = probe.element_positions[-1]
    sine = np.sin(transmit.angles)[:, None]
    tangent = np.tan(transmit.angles)[:, None]
    distance = np.abs(z) if math.isinf(probe.height) else np.sqrt(y * y + z * z)
    squared = distance * distance

    def from_line(lateral: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sqrt(lateral * lateral + squared)

    def arrival(element: float | NDArray[np.float64]) -> NDArray[np.float64]:
        return element * sine + from_line(x - element)

    first_to_fire = -edge * np.abs(sine)
    fastest = arrival(np.clip(x - distance * tangent, -edge, edge)) - first_to_fire
    slowest = np.maximum(arrival(-edge), arrival(edge)) - first_to_fire
    nearest = from_line(np.maximum(np.abs(x) - edge, 0))
    farthest = from_line(np.abs(x) + edge)
    present = np.broadcast_to(here, fastest.shape)
    earliest = np.min(fastest + nearest, where=present, initial=np.inf) / speed_of_sound
    latest = np.max(slowest + farthest, where=present, initial=-np.inf) / speed_of_sound
    return float(earliest), float(latest)


def ringing_time(probe: Probe, transmit: PlaneWaves) -> float:
    """Time around an echo's centre in which it rings: the burst, and two periods of the probe's bandwidth, s."""
    return transmit.pulse_duration + 2 / (probe.bandwidth * probe.center_frequency)


def check_echoes_fit(
    window: ReceiveWindow,
    positions: NDArray[np.float64],
    probe: Probe,
    transmit: PlaneWaves,
    *,
    speed_of_sound: float,
) -> None:
    """Raise InputError, with the start and the length needed, if an echo would wrap around the window."""
    earliest, latest = echo_times(positions, probe, transmit, speed_of_sound=speed_of_sound)
    if earliest > latest:
        return
    ringing = ringing_time(probe, transmit)
    needed_start, needed_end = max(earliest - ringing, 0.0), latest + ringing
    tolerance = 1e-6 / window.sampling_frequency
    if window.start_time > needed_start + tolerance or window.end_time < needed_end - tolerance:
        start = min(window.start_time, needed_start)
        n_needed = math.ceil((needed_end - start) * window.sampling_frequency)
        raise InputError(
            f"receive window: {window.start_time * 1e6:.3f} to {window.end_time * 1e6:.3f} µs "
            f"({window.n_samples} samples), but echoes last from {needed_start * 1e6:.3f} to "
            f"{needed_end * 1e6:.3f} µs and would wrap around: expected start_time at most "
            f"{start * 1e6:.3f} µs and n_samples at least {n_needed}"
        )
