"""Resolution without hand-picked vessels: Fourier ring correlation of two independent halves of the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError


def fourier_ring_correlation(
    a: NDArray[np.generic], b: NDArray[np.generic], pixel_size: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation of two images, ring by ring of spatial frequency.

    FRC(ν) = Re Σ A·B* / √(Σ|A|² Σ|B|²) over the ring of width one line of the shorter side's spectrum
    (Saxton and Baumeister 1982, DOI 10.1111/j.1365-2818.1982.tb00405.x). The images' means are removed and
    their edges tapered.

    Parameters
    ----------
    a, b
        (z, x) images of equal shape, made from different bubbles (tracks or blocks split in two).
    pixel_size
        Metres.

    Returns
    -------
    Frequencies of the rings (cycles per metre, up to Nyquist) and their correlation, -1 … 1 (0 for a ring
    without energy).

    """
    if a.ndim != 2 or a.shape != b.shape:
        raise InputError(f"images of shape {a.shape} and {b.shape}: expected two (z, x) of equal shape")
    if pixel_size <= 0:
        raise InputError(f"pixel_size: {pixel_size} m, expected a positive size")
    taper = np.outer(np.hanning(a.shape[0] + 2)[1:-1], np.hanning(a.shape[1] + 2)[1:-1])
    spectrum_a, spectrum_b = (np.fft.fft2((image - image.mean()) * taper) for image in (a, b))
    frequency = np.hypot(np.fft.fftfreq(a.shape[0])[:, None], np.fft.fftfreq(a.shape[1])[None, :])
    step = 1.0 / min(a.shape)
    ring = np.rint(frequency / step).astype(np.int64).ravel()
    n_rings = min(a.shape) // 2 + 1

    def ring_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(ring, weights=values.ravel(), minlength=n_rings)
        return np.asarray(sums[:n_rings], dtype=np.float64)

    shared = ring_sum((spectrum_a * spectrum_b.conj()).real)
    energy = np.sqrt(ring_sum(np.abs(spectrum_a) ** 2) * ring_sum(np.abs(spectrum_b) ** 2))
    correlation = np.divide(shared, energy, out=np.zeros(n_rings), where=energy > 0)
    frequencies = np.linspace(0, (n_rings - 1) * step / pixel_size, n_rings)
    return frequencies[1:], correlation[1:]


def resolution(
    frequency: NDArray[np.float64], correlation: NDArray[np.float64], *, limit: float = 1 / 7
) -> float:
    """Size in metres, 1/ν, where the correlation first falls below ``limit`` (linear between rings).

    The last ring's size if it never does: the images are sharper than their pixels show. Infinite if it
    starts below.
    """
    below = np.flatnonzero(correlation < limit)
    if len(below) == 0:
        return float(1 / frequency[-1])
    ring = below[0]
    if ring == 0:
        return float("inf")
    above = correlation[ring - 1] - limit
    part = above / (above + limit - correlation[ring])
    return float(1 / (frequency[ring - 1] + part * (frequency[ring] - frequency[ring - 1])))
