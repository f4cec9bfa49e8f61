"""From what scanners store to the complex baseband of the pipeline: sample n is the analytic echo at
t = start_time + n / sampling_frequency, times exp(-2πi f_d t).

Quadrature pairs: a scanner that samples at 100 % bandwidth keeps, of samples a quarter period of the carrier apart,
two in a row and leaves out the two after them. The first of a pair is the real part of the analytic signal, the
second, a quarter period later, minus its imaginary part then: both together are one complex sample, once the second
is interpolated back by the quarter period. The real signal's negative frequencies fall out exactly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from ulmpipe.beamforming.demodulation import demodulate
from ulmpipe.errors import InputError

HALF_TAPS = 16  # of the interpolator, on each side
KAISER_BETA = 6.0  # 60 dB beyond 7/8 of the band
FILTER_ORDER = 24  # of the low-pass: flat to 3/4 of the band
MARGIN = 0.999  # of the widest band, so that rounding does not make it too wide
NEGLIGIBLE = 1e-4  # of a sample


def widest_band(*, sampling_frequency: float, demodulation_frequency: float) -> float:
    """Bandwidth, Hz, that real samples hold around a carrier: as far as its negative frequencies, folded, and 0 Hz."""
    turns = 2 * demodulation_frequency / sampling_frequency
    to_alias = abs(turns - round(turns)) * sampling_frequency
    return MARGIN * min(to_alias, 2 * demodulation_frequency)


def rf_to_baseband(
    rf: NDArray[Any],
    *,
    start_time: float,
    sampling_frequency: float,
    demodulation_frequency: float,
    bandwidth: float | None = None,
) -> tuple[NDArray[np.complex64], float]:
    """Baseband of real samples that are equally spaced, and its sampling frequency.

    Samples that the band does not need are left out: four real ones a period become two complex ones. Unsigned integers
    lie around the middle of their range, which is no echo: the mean of each record is taken off.

    Parameters
    ----------
    rf
        (…, time) real.
    start_time
        Of the first sample, s.
    sampling_frequency, demodulation_frequency
        Hz.
    bandwidth
        Kept around the carrier, full width, Hz; by default all that the samples hold (`widest_band`).

    Returns
    -------
    complex64 (…, time), Hz.

    Raises
    ------
    InputError
        See `demodulate`.
    """
    band = widest_band(sampling_frequency=sampling_frequency, demodulation_frequency=demodulation_frequency)
    if bandwidth is not None:
        band = min(bandwidth, band)
    step = decimation(sampling_frequency, band)
    if rf.dtype.kind == "u":
        rf = rf - rf.mean(axis=-1, keepdims=True, dtype=np.float32)
    iq = demodulate(
        rf,
        start_time=start_time,
        sampling_frequency=sampling_frequency,
        demodulation_frequency=demodulation_frequency,
        bandwidth=band,
        order=FILTER_ORDER,
    )
    return np.ascontiguousarray(iq[..., ::step]), sampling_frequency / step


def decimation(sampling_frequency: float, bandwidth: float) -> int:
    """Every which sample is enough for a band."""
    return max(1, math.floor(sampling_frequency / bandwidth + (1 - MARGIN)))


def pairs_to_baseband(
    samples: NDArray[Any],
    *,
    start_time: float,
    demodulation_frequency: float,
    periods_per_pair: int,
) -> tuple[NDArray[np.complex64], float]:
    """Baseband of quadrature pairs, and its sampling frequency.

    Parameters
    ----------
    samples
        (…, time) real: samples 2n and 2n + 1 were taken at start_time + n · periods_per_pair / f_d and a quarter
        period, 1 / (4 f_d), later.
    start_time
        Of the first sample, s.
    demodulation_frequency
        f_d, Hz.
    periods_per_pair
        1 for 100 % bandwidth, 2 for 50 %.

    Returns
    -------
    complex64 (…, time / 2); f_d / periods_per_pair, Hz.

    Raises
    ------
    InputError
        An odd number of samples.
    """
    if samples.shape[-1] % 2:
        raise InputError(f"{samples.shape[-1]} samples, expected pairs of them")
    iq = np.empty((*samples.shape[:-1], samples.shape[-1] // 2), dtype=np.complex64)
    iq.real = samples[..., ::2]
    iq.imag = shifted(-samples[..., 1::2].astype(np.float32), -0.25 / periods_per_pair)
    iq *= phase(-demodulation_frequency * start_time)
    return iq, demodulation_frequency / periods_per_pair


def phase(turns: float) -> np.complex64:
    """exp(2πi turns)."""
    return np.complex64(np.exp(2j * np.pi * (turns - round(turns))))


def shifted(samples: NDArray[Any], by: float) -> NDArray[Any]:
    """Samples at n + `by` instead of n, |by| < 1, on the last axis, by a windowed sinc; nothing beyond the record."""
    tap = np.arange(-HALF_TAPS, HALF_TAPS + 1)
    inside = np.clip(1 - ((tap - by) / (HALF_TAPS + 1)) ** 2, 0, None)
    weights = np.sinc(tap - by) * np.i0(KAISER_BETA * np.sqrt(inside))
    weights /= weights.sum()
    return np.asarray(correlate1d(samples, weights, axis=-1, mode="constant"))


def waves_to_baseband(
    samples: NDArray[Any],
    start_times: NDArray[np.float64],
    *,
    turns: NDArray[np.float64] | None,
    sampling_frequency: float,
    demodulation_frequency: float,
    bandwidth: float | None,
) -> NDArray[np.complex64]:
    """Records of several waves, each from a start time of its own, as baseband from the latest of them on.

    Parameters
    ----------
    samples
        (frame, angle, element, time), real; or complex baseband whose phase has another origin.
    start_times
        (angle,) s.
    turns
        (angle,) by which the phase of complex samples is turned to refer to t; None: samples are real.
    sampling_frequency, demodulation_frequency, bandwidth
        See `rf_to_baseband`.

    Returns
    -------
    complex64 (frame, angle, element, time).
    """
    waves, rate = [], sampling_frequency
    for wave, start_time in enumerate(start_times):
        if turns is not None:
            waves.append(samples[:, wave] * phase(float(turns[wave])))
            continue
        iq, rate = rf_to_baseband(
            samples[:, wave],
            start_time=float(start_time),
            sampling_frequency=sampling_frequency,
            demodulation_frequency=demodulation_frequency,
            bandwidth=bandwidth,
        )
        waves.append(iq)
    return with_one_start_time(np.stack(waves, axis=1), start_times, rate)[0]


def with_one_start_time(
    samples: NDArray[np.complex64], start_times: NDArray[np.float64], sampling_frequency: float
) -> tuple[NDArray[np.complex64], float]:
    """Records that begin at different times, brought to the latest of them.

    Baseband refers to t itself, so that nothing but the envelope moves.

    Parameters
    ----------
    samples
        (frame, angle, element, time).
    start_times
        (angle,) s.
    sampling_frequency
        Hz.

    Returns
    -------
    Samples, shorter by `samples_lost`, and their start time.
    """
    latest = float(np.max(start_times))
    late = (latest - start_times) * sampling_frequency
    lost = samples_lost(start_times, sampling_frequency)
    if lost == 0:
        return samples, latest
    n_kept = samples.shape[-1] - lost
    if n_kept < 1:
        raise InputError(f"records that begin up to {late.max():.0f} samples apart, expected an overlap")
    common = np.empty((*samples.shape[:-1], n_kept), dtype=np.complex64)
    for angle, delay in enumerate(late):
        whole = min(round(delay), lost)
        moved = samples[:, angle]
        if abs(delay - whole) > NEGLIGIBLE:
            moved = shifted(moved, delay - whole)
        common[:, angle] = moved[..., whole : whole + n_kept]
    return common, latest


def samples_lost(start_times: NDArray[np.float64], sampling_frequency: float) -> int:
    """By how many samples records get shorter when they are brought to one start time."""
    spread = float(np.ptp(start_times)) * sampling_frequency
    return math.ceil(spread - NEGLIGIBLE)
