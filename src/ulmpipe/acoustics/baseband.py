"""From frequency bins to baseband samples, by an inverse Fourier transform with optional zero-padding.

`to_samples` is the plain way, by scipy. The CPU kernel has a transform of its own, on sixteen elements at a time,
which finishes a frame while its bins are in cache; what it multiplies with is made here. The GPU's: `transform_gpu`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray


def to_samples(
    spectra: NDArray[np.complexfloating], oversampling: int, *, workers: int
) -> NDArray[np.complex64]:
    """Sum of all bins at each sample, along the last axis.

    Parameters
    ----------
    spectra : ndarray, shape (..., n)
        Bins in ascending order, the carrier at n // 2.
    oversampling : int
        The result has n · oversampling samples in the same time.
    workers : int
        Threads.
    """
    padded = np.zeros((*spectra.shape[:-1], spectra.shape[-1] * oversampling), dtype=spectra.dtype)
    place_bins(spectra, padded)
    samples = scipy.fft.ifft(padded, norm="forward", workers=workers, overwrite_x=True)
    return samples.astype(np.complex64, copy=False)


def place_bins(spectra: Any, padded: Any) -> None:
    """Copy bins in ascending order to where an inverse transform expects them; NumPy or CuPy arrays."""
    n_bins = spectra.shape[-1]
    negative = n_bins // 2
    padded[..., : n_bins - negative] = spectra[..., negative:]
    if negative:
        padded[..., -negative:] = spectra[..., :negative]


def transform_radices(n_bins: int, *, first: int = 4) -> tuple[int, ...]:
    """Factors of `n_bins` in the order in which a kernel's transform takes them: `first`, fours, then primes."""
    radices = []
    for radix in (first, 4, 2, 3, *range(5, n_bins + 1, 2)):
        while n_bins % radix == 0:
            radices.append(radix)
            n_bins //= radix
    return tuple(radices)


def transform_twiddles(n_bins: int) -> NDArray[np.float32]:
    """Factors exp(2πi j k / n) between the steps of the transform, real and imaginary part side by side.

    For each step, with radix p and n what is left to transform: j from 0 to n/p − 1, then k from 0 to p − 1
    (Stockham's arrangement, see Van Loan 1992, Computational Frameworks for the FFT, §1.7).
    """
    twiddles, left = [np.zeros(0)], n_bins
    for radix in transform_radices(n_bins):
        j, k = np.arange(left // radix)[:, None], np.arange(radix)
        twiddles.append((j * k / left).ravel())
        left //= radix
    return _parts(np.concatenate(twiddles)).ravel()


def transform_roots(n_bins: int) -> NDArray[np.float32]:
    """The p-th roots of one for each radix p of the transform, in its order, real and imaginary part side by side."""
    turns = [np.arange(radix) / radix for radix in transform_radices(n_bins)]
    return _parts(np.concatenate([np.zeros(0), *turns])).ravel()


def subsample_phases(n_bins: int, oversampling: int) -> NDArray[np.float32]:
    """Phases that delay every bin by q / oversampling samples: shape (oversampling, bin, 2), float32."""
    m = np.arange(n_bins) - n_bins // 2
    return _parts(m * np.arange(oversampling)[:, None] / (n_bins * oversampling))


def _parts(turns: NDArray[np.float64]) -> NDArray[np.float32]:
    phase = 2 * np.pi * turns
    return np.stack([np.cos(phase), np.sin(phase)], axis=-1).astype(np.float32)
