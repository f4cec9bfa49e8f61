"""The receiving side of a scan: the time window that holds every echo of a field, and the receiver's noise."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus import simulate_channel_data
from ulmpipe.acoustics.simus_reference import probe_spectrum
from ulmpipe.acoustics.window import echo_times, ringing_time

START_STEP = 4  # samples


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
        s after the first element fired, a multiple of four samples.
    n_samples : int
        Length of the window, a multiple of 8.
    """
    # the earliest echo may come from anywhere along x, the latest comes from an edge
    x, y, z = np.meshgrid(
        np.linspace(*lateral_range, 17), [0.0, elevation_half_width], depth_range, indexing="ij"
    )
    box = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=-1)
    earliest, latest = echo_times(box[None, None], probe, transmit, speed_of_sound=speed_of_sound)
    margin = ringing_time(probe, transmit)
    # at whole multiples of some samples, so that records of neighbouring fields share their tables
    step = START_STEP / sampling_frequency
    start_time = step * math.floor(max(0.0, earliest - margin) / step)
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


def noise_response(
    probe: Probe, *, n_samples: int, sampling_frequency: float, demodulation_frequency: float
) -> NDArray[np.float32]:
    """Amplitude spectrum of noise that comes in by way of the probe: its one-way response over the IQ band.

    Parameters
    ----------
    n_samples : int
        Length of a record.
    sampling_frequency, demodulation_frequency : float
        Width and centre of the band, Hz.

    Returns
    -------
    (n_samples,) float32
        In the order of a discrete Fourier transform of the samples; its mean square is 1.
    """
    offset = scipy.fft.fftfreq(n_samples, 1 / sampling_frequency)
    response = probe_spectrum(demodulation_frequency + offset, probe)
    return np.asarray(response / np.sqrt(np.mean(response**2)), dtype=np.float32)


def receiver_noise(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    *,
    root_mean_square: float,
    response: NDArray[np.float32] | None = None,
) -> NDArray[np.complex64]:
    """Complex Gaussian noise in the band of the IQ samples.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        The last axis is time.
    root_mean_square : float
        Of a sample's modulus.
    response : (shape[-1],) float32, optional
        Amplitude spectrum, from `noise_response`; without one the noise is white.
    """
    noise: NDArray[np.complex64] = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[
        ..., 0
    ]
    noise *= np.float32(root_mean_square / np.sqrt(2))
    if response is None:
        return noise
    noise *= response  # the bins of white noise are white noise too: one transform is enough
    shaped: NDArray[np.complex64] = scipy.fft.ifft(noise, norm="ortho", overwrite_x=True)
    return shaped
