"""From a scanner's radio-frequency samples to the IQ that the beamformer takes.

The simulator makes IQ at once; recordings of a scanner that stores RF pass through here first. RF sampled
below its Nyquist rate (bandpass sampling) will do, as long as the alias of its negative frequencies stays
clear of the band: Madiena, Faurie, Porée, Garcia, "Color and vector flow imaging in parallel ultrasound with
sub-Nyquist sampling", IEEE TUFFC 65(5), 2018.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from ulmpipe.errors import InputError


def demodulate(
    rf: ArrayLike,
    *,
    start_time: float,
    sampling_frequency: float,
    demodulation_frequency: float,
    bandwidth: float,
    order: int = 5,
) -> NDArray[np.complex64]:
    """IQ of radio-frequency signals: 2·lowpass(rf·exp(-2πi f_d t)), |IQ| the envelope.

    The low-pass has no phase: the gain at a distance f from the carrier is that of a Butterworth filter of
    order `order` run forwards and backwards, 1 / (1 + (2 f / bandwidth)^(2 order)). Its tails beyond the ends
    of the record are cut off, not wrapped around.

    Parameters
    ----------
    rf
        (..., sample) real.
    start_time
        Of the first sample, s. `delay_and_sum` with the same start time undoes the phase that it gives.
    sampling_frequency
        Of `rf`, and of the result, Hz.
    demodulation_frequency
        Carrier f_d, Hz.
    bandwidth
        Full width of the pass band at half the amplitude (-6 dB), Hz.
    order
        Steepness of the filter's edges; a large one is a brick wall.

    Returns
    -------
    complex64, shape of `rf`.

    Raises
    ------
    InputError
        Complex or empty `rf`, a value outside its range, or a sampling frequency at which the negative
        frequencies fall into the band.

    """
    samples = np.asarray(rf)
    if np.iscomplexobj(samples) or samples.ndim == 0 or samples.size == 0:
        raise InputError(f"rf: {samples.dtype} of shape {samples.shape}, expected real (..., sample)")
    _check(sampling_frequency, demodulation_frequency, bandwidth, order)
    n_samples = samples.shape[-1]
    turns = demodulation_frequency * (start_time + np.arange(n_samples) / sampling_frequency)
    carrier = np.exp(-2j * np.pi * (turns - np.rint(turns))).astype(np.complex64)
    n_padded = scipy.fft.next_fast_len(2 * n_samples)
    spectrum = scipy.fft.fft(samples.astype(np.float32) * carrier, n_padded, overwrite_x=True)
    offset = np.fft.fftfreq(n_padded, 1 / sampling_frequency)
    with np.errstate(over="ignore"):  # of a steep filter, far outside the band: its gain there is 0
        gain = 1 / (1 + (2 * offset / bandwidth) ** (2 * order))
    spectrum *= (2 * gain).astype(np.float32)
    iq = scipy.fft.ifft(spectrum, overwrite_x=True)[..., :n_samples]
    return np.ascontiguousarray(iq, dtype=np.complex64)


def _check(sampling_frequency: float, demodulation_frequency: float, bandwidth: float, order: int) -> None:
    for name, value in (
        ("sampling_frequency", sampling_frequency),
        ("demodulation_frequency", demodulation_frequency),
        ("bandwidth", bandwidth),
    ):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{name}: {value}, expected hertz above 0")
    if order < 1 or order != int(order):
        raise InputError(f"order: {order}, expected a whole number of at least 1")
    # Down-mixing puts the negative frequencies around -2 f_d, and sampling repeats them.
    alias = abs(
        2 * demodulation_frequency
        - sampling_frequency * round(2 * demodulation_frequency / sampling_frequency)
    )
    if alias < bandwidth:
        raise InputError(
            f"sampling_frequency: {sampling_frequency} Hz, which leaves the negative frequencies {alias:.6g} Hz from "
            f"the carrier, expected one that leaves them the bandwidth, {bandwidth} Hz, or more"
        )
