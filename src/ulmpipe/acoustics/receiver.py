"""The receiving side of a scan: the time window that holds every echo of a field, and the receiver's noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus import simulate_channel_data
from ulmpipe.acoustics.window import echo_times


def receive_window(
    probe: Probe,
    transmit: PlaneWaves,
    *,
    lateral_range: tuple[float, float],
    depth_range: tuple[float, float],
    elevation_half_width: float,
    sampling_frequency: float,
    speed_of_sound: float,
) -> tuple[float, int]:
    """Time window in which all echoes of a box arrive.

    Parameters
    ----------
    lateral_range, depth_range : (float, float)
        Extent of the scatterers in x and z, m.
    elevation_half_width : float
        Largest abs(y), m.
    sampling_frequency : float
        Of the complex samples, Hz.

    Returns
    -------
    start_time : float
        s after the first element fired.
    n_samples : int
        Length of the window, a multiple of 8.
    """
    # the earliest echo may come from anywhere along x, the latest comes from an edge
    x, y, z = np.meshgrid(
        np.linspace(*lateral_range, 17), [0.0, elevation_half_width], depth_range, indexing="ij"
    )
    box = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=-1)
    earliest, latest = echo_times(box[None, None], probe, transmit, speed_of_sound=speed_of_sound)
    # the probe's response lengthens the pulse by a few periods
    margin = transmit.n_cycles / transmit.transmit_frequency + 2 / (probe.bandwidth * probe.center_frequency)
    start_time = max(0.0, earliest - margin)
    return start_time, 8 * math.ceil((latest + margin - start_time) * sampling_frequency / 8)


def noise_level(
    probe: Probe,
    transmit: PlaneWaves,
    *,
    snr_db: float,
    sampling_frequency: float,
    demodulation_frequency: float,
    speed_of_sound: float,
    attenuation: float,
) -> float:
    """Noise RMS of an IQ sample.

    Parameters
    ----------
    snr_db : float
        Peak echo of a bubble of reflectivity 1 at the elevation focus, on its loudest element, over the noise RMS.
    """
    focus = probe.elevation_focus
    start_time, n_samples = receive_window(
        probe,
        transmit,
        lateral_range=(0.0, 0.0),
        depth_range=(focus, focus),
        elevation_half_width=0.0,
        sampling_frequency=sampling_frequency,
        speed_of_sound=speed_of_sound,
    )
    echo = simulate_channel_data(
        np.array([[[0.0, 0.0, focus]]]),
        np.ones(1),
        probe,
        transmit,
        start_time=start_time,
        n_samples=n_samples,
        sampling_frequency=sampling_frequency,
        demodulation_frequency=demodulation_frequency,
        speed_of_sound=speed_of_sound,
        attenuation=attenuation,
    )
    return float(np.abs(echo).max() * 10 ** (-snr_db / 20))


def receiver_noise(
    rng: np.random.Generator, shape: tuple[int, ...], *, root_mean_square: float
) -> NDArray[np.complex64]:
    """White complex Gaussian noise in the band of the IQ samples."""
    noise: NDArray[np.complex64] = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[
        ..., 0
    ]
    noise *= np.float32(root_mean_square / np.sqrt(2))
    return noise
