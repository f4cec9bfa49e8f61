"""Correlation maps on the CPU: numba kernels, a frame in each thread."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


def correlate(
    images: NDArray[np.complex64],
    scale: np.float32,
    psf: NDArray[np.complex64],
    *,
    regularization: float,
    guard: np.float32,
    empty: np.float32,
) -> NDArray[np.complex64]:
    """Images (frame, z, x) correlated with a normalised psf; see `maps.correlation_map`."""
    energy = np.empty(images.shape, dtype=np.float32)
    frame_energy = np.empty(images.shape[0], dtype=np.float64)
    _local_energy(images, scale, psf.shape[0] // 2, psf.shape[1] // 2, energy, frame_energy)
    floor = np.float32(regularization**2 * frame_energy.sum() / max(energy.size, 1))
    chi = np.empty_like(images)
    _correlate(images, scale, psf.real.copy(), psf.imag.copy(), energy, floor, guard, empty, chi)
    return chi


@numba.njit(parallel=True, cache=True, nogil=True, fastmath={"contract"})
def _local_energy(images, scale, half_z, half_x, energy, frame_energy):  # type: ignore[no-untyped-def]
    """Window sums of |iq|², along x then along z; no running differences, which could come out too small."""
    n_frames, n_z, n_x = images.shape
    for frame in numba.prange(n_frames):
        padded = np.zeros(n_x + 2 * half_x, dtype=np.float32)
        along_x = np.zeros((n_z, n_x), dtype=np.float32)
        for z in range(n_z):
            for x in range(n_x):
                value = images[frame, z, x] * scale
                padded[x + half_x] = value.real * value.real + value.imag * value.imag
            row = along_x[z]
            for shift in range(2 * half_x + 1):
                source = padded[shift : shift + n_x]
                for x in range(n_x):
                    row[x] += source[x]
        total = 0.0
        for z in range(n_z):
            row = energy[frame, z]
            row[:] = 0.0
            for near in range(max(0, z - half_z), min(n_z, z + half_z + 1)):
                source = along_x[near]
                for x in range(n_x):
                    row[x] += source[x]
            for x in range(n_x):
                total += row[x]
        frame_energy[frame] = total


@numba.njit(parallel=True, cache=True, nogil=True, fastmath={"contract"})
def _correlate(images, scale, psf_real, psf_imag, energy, floor, guard, empty, chi):  # type: ignore[no-untyped-def]
    n_frames, n_z, n_x = images.shape
    half_z, half_x = psf_real.shape[0] // 2, psf_real.shape[1] // 2
    for frame in numba.prange(n_frames):
        real = np.zeros((n_z, n_x + 2 * half_x), dtype=np.float32)
        imag = np.zeros((n_z, n_x + 2 * half_x), dtype=np.float32)
        for z in range(n_z):
            for x in range(n_x):
                real[z, x + half_x] = images[frame, z, x].real * scale
                imag[z, x + half_x] = images[frame, z, x].imag * scale
        sums = np.zeros((2, n_x), dtype=np.float32)
        sum_real, sum_imag = sums[0], sums[1]
        for z in range(n_z):
            sums[:] = 0.0
            for u in range(max(0, half_z - z), min(2 * half_z + 1, n_z + half_z - z)):
                for v in range(2 * half_x + 1):
                    source_real = real[z + u - half_z, v : v + n_x]
                    source_imag = imag[z + u - half_z, v : v + n_x]
                    p, q = psf_real[u, v], psf_imag[u, v]
                    for x in range(n_x):
                        sum_real[x] += p * source_real[x] + q * source_imag[x]
                        sum_imag[x] += p * source_imag[x] - q * source_real[x]
            for x in range(n_x):
                local = energy[frame, z, x] + floor
                factor = guard / np.sqrt(local) if local > empty else np.float32(0.0)
                chi[frame, z, x] = complex(sum_real[x] * factor, sum_imag[x] * factor)
