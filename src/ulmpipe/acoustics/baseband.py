"""From frequency bins to baseband samples, by an inverse Fourier transform with optional zero-padding.

`to_samples` is the plain way, by scipy. `transform_matrices` gives the CPU kernel the two matrices of the
same transform in two steps (Cooley and Tukey 1965), so that it can finish a frame while the bins are in cache.
"""

from __future__ import annotations

import math
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


def transform_factors(n_bins: int) -> tuple[int, int]:
    """The two factors of `n_bins` with the smallest sum, the smaller one first."""
    first = max(factor for factor in range(1, math.isqrt(n_bins) + 1) if n_bins % factor == 0)
    return first, n_bins // first


def transform_matrices(n_bins: int, oversampling: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Matrices of the two steps of the transform, for n_bins = first · second.

    With bin m = second · a + b and sample oversampling · (c + first · d) + q:
    step 1, Y[b, c] = Σ_a forward[q, b, c, a] bin[m]; step 2, sample = Σ_b backward[d, b] Y[b, c].

    Returns
    -------
    forward : ndarray, shape (oversampling, second, first, first, 2), float32
        Real and imaginary parts, indexed (q, b, c, a).
    backward : ndarray, shape (second, second, 2), float32
        Indexed (d, b).
    """
    first, second = transform_factors(n_bins)
    negative = n_bins // 2
    q = np.arange(oversampling)[:, None, None, None]
    b = np.arange(second)[:, None, None]
    c = np.arange(first)[:, None]
    a = np.arange(first)
    m = second * a + b
    # Whole turns (multiples of n_bins) are dropped in integers, the sub-sample q / oversampling is added.
    turns = ((second * a + b - negative) * c % n_bins) / n_bins
    turns = turns + (m - negative) * q / (n_bins * oversampling)
    d = np.arange(second)[:, None]
    b = np.arange(second)
    turns_back = ((b - negative) * d % second) / second
    return _parts(turns), _parts(turns_back)


def _parts(turns: NDArray[np.float64]) -> NDArray[np.float32]:
    phase = 2 * np.pi * turns
    return np.stack([np.cos(phase), np.sin(phase)], axis=-1).astype(np.float32)
