"""Filters over slow time, from image to image at each pixel: by the speed along the beam, and by its direction.

They complement the singular value filter of `ulmpipe.clutter`, which looks at the whole image: a high-pass takes
out whatever tissue left at low Doppler frequencies, a low-pass noise beyond the fastest bubbles, and bubbles that
move up and down can be localized apart from each other. Frequencies are signed as in `ulmpipe.doppler`: positive
is towards the probe.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, ifft

from ulmpipe.doppler import nyquist_velocity
from ulmpipe.errors import InputError
from ulmpipe.parallel import count_workers, in_threads

PIXELS_AT_ONCE = 2048  # bounds the float64 copies


def doppler_frequency(velocity: float, *, center_frequency: float, speed_of_sound: float) -> float:
    """Doppler frequency of an axial velocity, 2 v f_c / c in Hz, of the velocity's sign.

    Parameters
    ----------
    velocity
        m/s, positive towards the probe.
    center_frequency
        Of the echoes, Hz.
    speed_of_sound
        m/s.

    Raises
    ------
    InputError
        A value outside its range.

    """
    _check_positive(center_frequency=center_frequency, speed_of_sound=speed_of_sound)
    if not math.isfinite(velocity):
        raise InputError(f"velocity: {velocity}, expected a finite number of m/s")
    return 2 * velocity * center_frequency / speed_of_sound


def band_pass(
    iq: NDArray[np.complex64],
    *,
    pulse_repetition_frequency: float,
    low: float | None = None,
    high: float | None = None,
    order: int = 4,
    workers: int | None = None,
) -> NDArray[np.complex64]:
    """Keep Doppler frequencies with low < |f| < high, both directions alike, without delay.

    A Butterworth filter forward and backward in time: phases stay as they are and the gain is that of the filter
    squared, 1/(1 + (f/f_c)^(2 order)) for a low-pass (f_c the analogue cut-off that the bilinear transform makes of
    `high`), so that it is 1/2 (-6 dB) at each cut-off. At both ends the series is continued by its reflection in
    the end point over one period of the lower cut-off; the first and last such stretch of frames is less clean.

    Parameters
    ----------
    iq
        (frame, ...) complex images, in time order and evenly spaced.
    pulse_repetition_frequency
        Images per second, Hz.
    low, high
        Cut-offs in Hz, between 0 and half the pulse repetition frequency. Without `low` it is a low-pass, without
        `high` a high-pass.
    order
        Of the filter at each cut-off; forward and backward together fall by 12 · order dB an octave.
    workers
        Threads over pixels; see `ulmpipe.parallel.count_workers`.

    Returns
    -------
    complex64, shape of `iq`; computed in float64.

    Raises
    ------
    InputError
        Fewer than two images, images that are not complex or not finite, a cut-off outside its range or none.

    """
    from scipy.signal import butter, sosfiltfilt

    _check_series(iq)
    _check_positive(pulse_repetition_frequency=pulse_repetition_frequency)
    nyquist = pulse_repetition_frequency / 2
    for name, cutoff in (("low", low), ("high", high)):
        if cutoff is not None and not 0 < cutoff < nyquist:
            raise InputError(f"{name}: {cutoff} Hz, expected above 0 and below {nyquist:g} Hz, half the rate")
    if low is None and high is None:
        raise InputError("low, high: both None, expected a cut-off in Hz")
    if low is not None and high is not None and low >= high:
        raise InputError(f"low, high: {low}, {high} Hz, expected low < high")
    if order < 1:
        raise InputError(f"order: {order}, expected at least 1")
    cutoffs = [cutoff for cutoff in (low, high) if cutoff is not None]
    kind = "band" if len(cutoffs) == 2 else "high" if high is None else "low"
    sections = butter(
        order, cutoffs if kind == "band" else cutoffs[0], kind, fs=pulse_repetition_frequency, output="sos"
    )
    reflected = min(max(math.ceil(pulse_repetition_frequency / cutoffs[0]), 6 * order), len(iq) - 1)

    def filtered(series: NDArray[np.complex64]) -> NDArray[np.complex64]:
        return np.asarray(sosfiltfilt(sections, series, axis=0, padlen=reflected), dtype=np.complex64)

    return _at_each_pixel(filtered, iq, count_workers(workers))


def velocity_band_pass(
    iq: NDArray[np.complex64],
    *,
    center_frequency: float,
    pulse_repetition_frequency: float,
    speed_of_sound: float,
    slowest: float | None = None,
    fastest: float | None = None,
    order: int = 4,
    workers: int | None = None,
) -> NDArray[np.complex64]:
    """Keep axial speeds between `slowest` and `fastest`, m/s: `band_pass` with their Doppler frequencies.

    The filter sees the component along the beam only: a fast bubble that moves across it is slow here.

    Parameters
    ----------
    iq
        (frame, ...) complex images, in time order and evenly spaced.
    center_frequency
        Of the echoes, Hz.
    pulse_repetition_frequency
        Images per second, Hz.
    speed_of_sound
        m/s.
    slowest, fastest
        Axial speeds, m/s, above 0 and below the Nyquist velocity (`ulmpipe.doppler.nyquist_velocity`).
    order, workers
        See `band_pass`.

    Returns
    -------
    complex64, shape of `iq`.

    Raises
    ------
    InputError
        As `band_pass`.

    """
    limit = nyquist_velocity(
        center_frequency=center_frequency,
        pulse_repetition_frequency=pulse_repetition_frequency,
        speed_of_sound=speed_of_sound,
    )
    for name, speed in (("slowest", slowest), ("fastest", fastest)):
        if speed is not None and not 0 < speed < limit:
            raise InputError(
                f"{name}: {speed} m/s, expected above 0 and below the Nyquist velocity {limit:g}"
            )
    low, high = (
        None
        if speed is None
        else doppler_frequency(speed, center_frequency=center_frequency, speed_of_sound=speed_of_sound)
        for speed in (slowest, fastest)
    )
    return band_pass(
        iq,
        pulse_repetition_frequency=pulse_repetition_frequency,
        low=low,
        high=high,
        order=order,
        workers=workers,
    )


def split_directions(
    iq: NDArray[np.complex64], *, workers: int | None = None
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """What moves towards the probe and what moves away from it.

    Positive Doppler frequencies make the first part (the complex FFT of Aydin and Evans 1994, DOI
    10.1007/BF02523342), with half of what does not move and half of what is at the Nyquist frequency, and the
    rest the second one, so that both add up to `iq`. *Ours*: the series is continued at both ends by a quarter
    of its length of itself, time-reversed and conjugated, in phase at the joint. That keeps directions, and the
    jump from the last image to the first, which would leak into the other direction, is away from the images.

    Motion across the beam has no direction here; speeds beyond the Nyquist velocity have the wrong one.

    Parameters
    ----------
    iq
        (frame, ...) complex images, in time order and evenly spaced; clutter removed, for tissue is in both parts.
    workers
        Threads over pixels; see `ulmpipe.parallel.count_workers`.

    Returns
    -------
    Towards the probe and away from it, each complex64, shape of `iq`; their sum is `iq` to a rounding.

    Raises
    ------
    InputError
        Fewer than two images, images that are not complex or not finite.

    """
    _check_series(iq)
    towards = _at_each_pixel(_positive_frequencies, iq, count_workers(workers))
    return towards, np.subtract(iq, towards, dtype=np.complex64)


def _positive_frequencies(series: NDArray[np.complex64]) -> NDArray[np.complex64]:
    n_frames = len(series)
    added = n_frames // 4
    reversed_in_time = series[::-1].conj()
    before = reversed_in_time[n_frames - 1 - added : n_frames - 1] * _in_phase(series[0])
    after = reversed_in_time[1 : 1 + added] * _in_phase(series[-1])
    spectrum = fft(np.concatenate([before, series, after]), axis=0, overwrite_x=True)
    length = len(spectrum)
    spectrum[0] *= 0.5
    if length % 2 == 0:
        spectrum[length // 2] *= 0.5
    spectrum[length // 2 + 1 :] = 0
    return np.asarray(ifft(spectrum, axis=0, overwrite_x=True)[added : added + n_frames])


def _in_phase(last: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Factor that turns the conjugate of a value into the value; 1 for 0."""
    return np.exp(2j * np.angle(last)).astype(np.complex64)


def _at_each_pixel(
    function: Callable[[NDArray[np.complex64]], NDArray[np.complex64]],
    iq: NDArray[np.complex64],
    workers: int,
) -> NDArray[np.complex64]:
    """`function` of a (frame, pixel) series, over strips of pixels: memory is bounded and threads have work."""
    series = np.asarray(iq, dtype=np.complex64).reshape(len(iq), -1)
    result = np.empty(series.shape, dtype=np.complex64)
    starts = range(0, series.shape[1], PIXELS_AT_ONCE)

    def run(first: int, last: int) -> None:
        for start in starts[first:last]:
            pixels = slice(start, start + PIXELS_AT_ONCE)
            result[:, pixels] = function(series[:, pixels])
            if not np.isfinite(result[:, pixels]).all():
                raise InputError("iq: NaN or infinite pixels, expected finite ones")

    in_threads(run, len(starts), workers=workers)
    return result.reshape(iq.shape)


def _check_series(iq: NDArray[Any]) -> None:
    if not np.iscomplexobj(iq) or iq.ndim < 2 or iq.shape[0] < 2:
        raise InputError(
            f"iq: {iq.dtype} of shape {iq.shape}, expected two complex images or more, (frame, ...)"
        )


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}: {value}, expected a finite number above 0")
