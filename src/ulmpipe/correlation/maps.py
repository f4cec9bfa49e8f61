"""The correlation map and its neighbours: carrier removed before, images brought to one scale, two channels made after.

The normalised cross-correlation of Milecki et al., IEEE TMI 40(5) 2021 (DOI 10.1109/TMI.2021.3056951), §II-B:
complex, below one in modulus, its phase kept, since the phase separates bubbles that touch.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ulmpipe.device import array_module, on_gpu, to_host
from ulmpipe.errors import InputError

# of the field's mean power: what is weaker is no tissue, and its noise is not raised to the scale of bubbles
FAINTEST = 1e-4
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
    carrier = np.exp(-2j * wavenumber * depth)[:, None].astype(np.complex64)
    return iq * array_module(iq).asarray(carrier)


def unit_images(iq: NDArray[np.complex64], *, window: int) -> NDArray[np.complex64]:
    """Images (frame, z, x) of a block, each pixel divided by the root mean square of the `window` around it.

    Over all frames and `window` x `window` pixels, moved into the field at its borders: a field no larger than the
    window, as a training block is, has one scale, and any piece of a larger one about that which it would have as a
    training block, so that neither attenuation nor a bright vessel elsewhere makes it unlike what a network has seen.
    Where there is 40 dB less than in the field on average, nothing is raised any further: that is no tissue.

    As good as linear, so that the sum of two bubbles' images stays the sum, and no sharper or blunter than what was
    beamformed: a network learns more from them, in as many steps, than from correlation maps, which blur them by the
    point spread function once more. Pixels that are zero in all frames, as motion and masks leave them, do not count.
    CuPy's images stay on the GPU.

    Raises
    ------
    InputError
        Images that are not finite, a window that is empty.

    """
    if window < 1:
        raise InputError(f"window: {window} pixels, expected 1 or more")
    xp = array_module(iq)
    images = xp.ascontiguousarray(iq, dtype=np.complex64)
    images = images * _power_of_two_scale(images)
    energy = xp.zeros(images.shape[1:], np.float64)
    for first in range(0, len(images), 32):  # so that the squares take little memory beside a long block
        energy += (abs(images[first : first + 32]) ** 2).sum(axis=0, dtype=np.float64)
    energy = to_host(energy)
    filled = (energy > 0).astype(np.float64)
    if not filled.any():
        return images
    mean_power = _sum_within(energy, window) / np.maximum(_sum_within(filled, window), 1)
    mean_power = np.maximum(mean_power, FAINTEST * energy.sum() / filled.sum()) / len(images)
    images *= xp.asarray((1 / np.sqrt(mean_power)).astype(np.float32))
    return images


def _sum_within(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Of each pixel (z, x) the sum of the `window` x `window` pixels around it, at borders of the nearest ones."""
    for axis, n_pixels in enumerate(values.shape):
        width = min(window, n_pixels)
        sums = sliding_window_view(values, width, axis=axis).sum(axis=-1, dtype=np.float64)
        values = sums.take(np.clip(np.arange(n_pixels) - width // 2, 0, n_pixels - width), axis=axis)
    return values


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
        (frame, z, x) complex, its carrier removed (`remove_carrier`). CuPy's images are correlated on the GPU.
    point_spread_function
        (z, x) complex, odd sides, its carrier removed with the same wavenumber. Its energy need not be one.
    regularization
        Fraction of the block's root-mean-square local energy, >= 0.

    Returns
    -------
    complex64, shape of `iq`, and where it is; zero where the window holds nothing at all. Independent of the
    number of threads, bit for bit.

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

    images = array_module(iq).ascontiguousarray(iq, dtype=np.complex64)
    if on_gpu(images):
        from ulmpipe.correlation.kernels_gpu import correlate
    else:
        from ulmpipe.correlation.kernels_cpu import correlate
    return correlate(
        images,
        _power_of_two_scale(images),
        psf,
        regularization=regularization,
        guard=np.float32(1 - 2 * (psf.size + 4) * np.finfo(np.float32).eps),  # eps is 2 u
        empty=EMPTY,
    )


def _power_of_two_scale(images: NDArray[np.complex64]) -> np.float32:
    """A power of two that brings the largest value near one: energies then neither overflow nor vanish."""
    largest = float(abs(images.view(np.float32)).max()) if images.size else 0.0
    if not np.isfinite(largest):
        raise InputError(f"images: largest value {largest}, expected finite values")
    exponent = int(np.frexp(largest)[1])
    return np.float32(2.0 ** min(-exponent, 126))


def as_channels(chi: NDArray[np.complex64]) -> NDArray[np.float16]:
    """Real and imaginary part as a network's two channels: (frame, z, x) complex to (2, frame, z, x)."""
    return array_module(chi).stack([chi.real, chi.imag]).astype(np.float16)


def from_channels(channels: NDArray[np.float16]) -> NDArray[np.complex64]:
    """The inverse of `as_channels`."""
    chi = np.empty(channels.shape[1:], np.complex64)
    chi.real, chi.imag = channels
    return chi
