"""Colour Doppler: axial velocity of every pixel from the phase between successive images.

Source: Kasai, Namekawa, Koyano, Omoto, "Real-time two-dimensional blood flow imaging using an autocorrelation
technique", IEEE Trans. Sonics Ultrason. 32(3), 1985.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError


def nyquist_velocity(
    *, center_frequency: float, pulse_repetition_frequency: float, speed_of_sound: float
) -> float:
    """Largest axial speed that `doppler_velocity` tells apart, m/s: c·PRF / (4 f_c); faster ones wrap around."""
    for name, value in (
        ("center_frequency", center_frequency),
        ("pulse_repetition_frequency", pulse_repetition_frequency),
        ("speed_of_sound", speed_of_sound),
    ):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}: {value}, expected a finite number above 0")
    return speed_of_sound * pulse_repetition_frequency / (4 * center_frequency)


def doppler_velocity(
    iq: NDArray[np.complexfloating],
    *,
    center_frequency: float,
    pulse_repetition_frequency: float,
    speed_of_sound: float,
) -> NDArray[np.float32]:
    """Axial velocity by the lag-one autocorrelation over slow time, positive towards the probe.

    v = v_N / π · arg Σ_n iq[n + 1]·conj(iq[n]), with v_N the Nyquist velocity: an echo that comes nearer arrives
    earlier, which advances the phase of the image at a fixed pixel by 4π f_c / c a metre.

    Parameters
    ----------
    iq
        (frame, ...) complex images, in time order and evenly spaced; clutter removed if there is any.
    center_frequency
        Of the echoes, Hz: the carrier the phase turns with.
    pulse_repetition_frequency
        Images per second, Hz.
    speed_of_sound
        m/s.

    Returns
    -------
    float32, shape of one image, m/s, between -v_N and v_N; 0 where there is no signal.

    Raises
    ------
    InputError
        Fewer than two images, images that are not complex, or a value outside its range.

    """
    if not np.iscomplexobj(iq) or iq.ndim < 2 or iq.shape[0] < 2:
        raise InputError(
            f"iq: {iq.dtype} of shape {iq.shape}, expected two complex images or more, (frame, ...)"
        )
    limit = nyquist_velocity(
        center_frequency=center_frequency,
        pulse_repetition_frequency=pulse_repetition_frequency,
        speed_of_sound=speed_of_sound,
    )
    autocorrelation = np.einsum("n...,n...->...", iq[1:], iq[:-1].conj())
    velocity: NDArray[np.float32] = (limit / np.pi * np.angle(autocorrelation)).astype(np.float32)
    return velocity
