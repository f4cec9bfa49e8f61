"""Correlation of IQ images with the point spread function: the maps that the network and the expert look at.

The normalised cross-correlation of Milecki et al., IEEE TMI 40(5) 2021 (DOI 10.1109/TMI.2021.3056951), §II-B:
complex, below one in modulus, its phase kept, since the phase separates bubbles that touch.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

EMPTY = np.float32(1e-30)  # of the brightest pixel's energy; float32 loses precision below 1e-38


def remove_carrier(
    iq: NDArray[np.complex64], z: NDArray[np.float64], *, wavenumber: float
) -> NDArray[np.complex64]:
    """Multiply images (…, z, x) by exp(-2i k z), z in m, k in rad/m.

    The analytic RF image of a bubble at depth z_b goes as exp(2i k (z - z_b)); without the carrier its phase
    is the same over the whole spot, -2 k z_b, and says where the bubble lies within a pixel.
    """
    depth = np.asarray(z, dtype=np.float64)
    if depth.shape != iq.shape[-2:-1]:
        raise InputError(f"z: shape {depth.shape}, expected one depth for each row of {iq.shape}")
    return iq * np.exp(-2j * wavenumber * depth)[:, None].astype(np.complex64)


def correlation_map(
    iq: NDArray[np.complex64], point_spread_function: NDArray[np.complex64], *, regularization: float
) -> NDArray[np.complex64]:
    """Local normalised cross-correlation of a block of images with the point spread function.

    chi(p) = sum_u iq(p + u) conj(psf(u)) / sqrt(E_psf (E(p) + r² mean(E))), where E(p) = sum_u |iq(p + u)|²
    over the same window as the numerator, cut by the image's borders alike, and the mean is over all frames
    and pixels of `iq`. The `regularization` r keeps noise far below the mean from being blown up to one.

    |chi| < 1 rests on Cauchy-Schwarz: the numerator is at most sqrt(E_psf E(p)) whatever the images and the
    psf; r only lowers the ratio. Rounding cannot lift it: the result is scaled by 1 - 4 (n + 4) u (n pixels
    in the window, u the float32 rounding unit), more than the errors of the sums and the quotient; and a
    window with less than 1e-30 of the brightest pixel's energy, where float32 runs out, counts as empty.

    Parameters
    ----------
    iq
        (frame, z, x) complex, its carrier removed (`remove_carrier`).
    point_spread_function
        (z, x) complex, odd sides, its carrier removed with the same wavenumber. Its energy need not be one.
    regularization
        Fraction of the block's root-mean-square local energy, >= 0.

    Returns
    -------
    complex64, shape of `iq`; zero where the window holds nothing at all. Independent of the number of
    threads, bit for bit.

    Raises
    ------
    InputError
        Shapes that do not fit, an even or zero point spread function, images that are not finite, a negative
        regularization.

    """
    psf = np.ascontiguousarray(point_spread_function, dtype=np.complex64)
    if iq.ndim != 3 or psf.ndim != 2:
        raise InputError(
            f"correlation: images {iq.shape} and point spread function {psf.shape}, "
            "expected (frame, z, x) and (z, x)"
        )
    if psf.shape[0] % 2 == 0 or psf.shape[1] % 2 == 0:
        raise InputError(f"point spread function: shape {psf.shape}, expected odd sides")
    if not regularization >= 0:
        raise InputError(f"regularization: {regularization}, expected 0 or more")
    largest = float(np.abs(psf).max())
    if not (np.isfinite(largest) and largest > 0):
        raise InputError(f"point spread function: largest modulus {largest}, expected a finite, non-zero one")
    precise = psf.astype(np.complex128) / largest
    psf = (precise / np.sqrt(np.sum(np.abs(precise) ** 2))).astype(np.complex64)

    images = np.ascontiguousarray(iq, dtype=np.complex64)
    scale = _power_of_two_scale(images)
    energy = np.empty(images.shape, dtype=np.float32)
    frame_energy = np.empty(images.shape[0], dtype=np.float64)
    _local_energy(images, scale, psf.shape[0] // 2, psf.shape[1] // 2, energy, frame_energy)
    floor = np.float32(regularization**2 * frame_energy.sum() / max(energy.size, 1))
    guard = np.float32(1 - 2 * (psf.size + 4) * np.finfo(np.float32).eps)  # eps is 2 u
    chi = np.empty_like(images)
    _correlate(images, scale, psf.real.copy(), psf.imag.copy(), energy, floor, guard, chi)
    return chi


def _power_of_two_scale(images: NDArray[np.complex64]) -> np.float32:
    """A power of two that brings the largest value near one: energies then neither overflow nor vanish."""
    largest = float(np.abs(images.view(np.float32)).max(initial=0.0))
    if not np.isfinite(largest):
        raise InputError(f"images to correlate: largest value {largest}, expected finite values")
    exponent = int(np.frexp(largest)[1])
    return np.float32(2.0 ** min(-exponent, 126))


def as_channels(chi: NDArray[np.complex64]) -> NDArray[np.float16]:
    """Real and imaginary part as a network's two channels: (frame, z, x) complex to (2, frame, z, x)."""
    return np.stack([chi.real, chi.imag]).astype(np.float16)


def from_channels(channels: NDArray[np.float16]) -> NDArray[np.complex64]:
    """The inverse of `as_channels`."""
    chi = np.empty(channels.shape[1:], np.complex64)
    chi.real, chi.imag = channels
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
def _correlate(images, scale, psf_real, psf_imag, energy, floor, guard, chi):  # type: ignore[no-untyped-def]
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
                factor = guard / np.sqrt(local) if local > EMPTY else np.float32(0.0)
                chi[frame, z, x] = complex(sum_real[x] * factor, sum_imag[x] * factor)
