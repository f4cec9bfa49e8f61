"""Rigid motion between blocks, found by correlation of their tissue images, and taken out of their maps.

Blocks are about a second apart and the tissue under the probe has moved by then: the blocks are registered
before they are summed into an angiogram. Sub-pixel peak: Guizar-Sicairos et al. 2008 (DOI
10.1364/OL.33.000156), as scikit-image has it.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

Scalar = TypeVar("Scalar", bound=np.generic)


def estimate_shift(
    reference: NDArray[np.generic],
    moving: NDArray[np.generic],
    *,
    upsampling: int = 100,
    maximum_shift: float | None = None,
) -> tuple[float, float]:
    """How far ``moving`` lies from ``reference``.

    Cross-correlation of the two envelopes, mean removed and tapered, in two passes: the first finds the
    whole pixels, the second the rest on what both images share, so that tissue that came in or went out
    does not pull. Complex images are reduced to their envelope: the phase of an image follows the carrier
    of the beam as well as the tissue.

    Parameters
    ----------
    reference, moving
        (z, x) images of equal shape, real or complex: the mean tissue image of a block, a power Doppler
        image, a track map.
    upsampling
        The peak is found to 1/upsampling pixel.
    maximum_shift
        Pixels along each axis beyond which a peak is not looked for; by default a quarter of the image.

    Returns
    -------
    Displacement (z, x) of ``moving`` relative to ``reference``, in pixels: moving(p + displacement) ≈
    reference(p).

    Raises
    ------
    InputError
        Shapes differ, an image is not two-dimensional, or one is constant or not finite.

    """
    if reference.ndim != 2 or reference.shape != moving.shape:
        raise InputError(
            f"images of shape {reference.shape} and {moving.shape}: expected two (z, x) of equal shape"
        )
    fixed, other = np.abs(reference).astype(np.float64), np.abs(moving).astype(np.float64)
    for name, image in (("reference", fixed), ("moving", other)):
        if not np.isfinite(image).all():
            raise InputError(f"{name} image: NaN or infinite pixels, expected finite ones")
        if np.ptp(image) == 0:
            raise InputError(f"{name} image: all pixels equal {image.flat[0]:g}, nothing to register")
    n_z, n_x = fixed.shape
    limit_z, limit_x = (
        (n_z // 4, n_x // 4) if maximum_shift is None else (int(maximum_shift), int(maximum_shift))
    )
    whole_z, whole_x = _whole_pixel_shift(fixed, other, limit_z, limit_x)
    shared = (_overlap(n_z, -whole_z), _overlap(n_x, -whole_x))
    shared_moving = (_overlap(n_z, whole_z), _overlap(n_x, whole_x))
    rest_z, rest_x = _subpixel_shift(fixed[shared], other[shared_moving], upsampling)
    if max(abs(rest_z), abs(rest_x)) > 2:  # another peak than the one found within the limit
        return float(whole_z), float(whole_x)
    return whole_z + rest_z, whole_x + rest_x


def estimate_drift(
    images: NDArray[np.generic], *, lags: int = 2, upsampling: int = 100
) -> NDArray[np.float64]:
    """Displacement of every block relative to the first one.

    Each block is compared with the first one and with the ``lags`` blocks before it; the displacements that
    agree best with all these pairs, by the sum of absolute differences, are returned. One pair that failed
    is outvoted.

    Parameters
    ----------
    images
        (block, z, x), real or complex, see `estimate_shift`.
    lags
        How many earlier blocks each is compared with, beside the first.
    upsampling
        See `estimate_shift`.

    Returns
    -------
    (block, 2) displacement z, x in pixels; the first row is 0.

    """
    n_blocks = len(images)
    pairs = [
        (first, later) for later in range(1, n_blocks) for first in {0, *range(max(0, later - lags), later)}
    ]
    if not pairs:
        return np.zeros((n_blocks, 2))
    shifts = np.array(
        [estimate_shift(images[first], images[later], upsampling=upsampling) for first, later in pairs]
    )
    incidence = np.zeros((len(pairs), n_blocks))
    rows = np.arange(len(pairs))
    incidence[rows, [later for _, later in pairs]] = 1.0
    incidence[rows, [first for first, _ in pairs]] = -1.0
    drift = np.stack([_least_absolute(incidence[:, 1:], shifts[:, axis]) for axis in (0, 1)], axis=1)
    return np.concatenate([np.zeros((1, 2)), drift])


def shift_map(image: NDArray[Scalar], shift: tuple[int, int]) -> NDArray[Scalar]:
    """Move an image by whole pixels (z, x); what enters is zero, what leaves is lost.

    Parameters
    ----------
    image
        (…, z, x), any dtype; a copy of the same dtype is returned.
    shift
        Whole pixels by which the content moves towards larger z and x.

    """
    moved = np.zeros_like(image)
    n_z, n_x = image.shape[-2:]
    to_z, to_x = _overlap(n_z, int(shift[0])), _overlap(n_x, int(shift[1]))
    from_z, from_x = _overlap(n_z, -int(shift[0])), _overlap(n_x, -int(shift[1]))
    moved[..., to_z, to_x] = image[..., from_z, from_x]
    return moved


def _overlap(length: int, shift: int) -> slice:
    """Pixels of an axis that content moved by ``shift`` still covers (empty if it has left)."""
    return slice(min(max(shift, 0), length), max(min(length + shift, length), 0))


def _taper(shape: tuple[int, int]) -> NDArray[np.float64]:
    return np.outer(np.hanning(shape[0] + 2)[1:-1], np.hanning(shape[1] + 2)[1:-1])


def _tapered(image: NDArray[np.float64]) -> NDArray[np.float64]:
    taper = _taper((image.shape[0], image.shape[1]))
    return (image - np.sum(taper * image) / np.sum(taper)) * taper


def _whole_pixel_shift(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], limit_z: int, limit_x: int
) -> tuple[int, int]:
    spectrum = np.conj(np.fft.rfft2(_tapered(fixed))) * np.fft.rfft2(_tapered(moving))
    correlation = np.fft.fftshift(np.fft.irfft2(spectrum, s=fixed.shape))
    center_z, center_x = fixed.shape[0] // 2, fixed.shape[1] // 2
    near = correlation[
        center_z - limit_z : center_z + limit_z + 1, center_x - limit_x : center_x + limit_x + 1
    ]
    peak_z, peak_x = np.unravel_index(np.argmax(near), near.shape)
    return int(peak_z) - limit_z, int(peak_x) - limit_x


def _subpixel_shift(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], upsampling: int
) -> tuple[float, float]:
    from skimage.registration import phase_cross_correlation

    # not the whitened ("phase") kind: that weighs the empty part of a band-limited spectrum like the full one
    correction, _, _ = phase_cross_correlation(
        _tapered(fixed), _tapered(moving), upsample_factor=upsampling, normalization=None
    )
    return -float(correction[0]), -float(correction[1])


def _least_absolute(design: NDArray[np.float64], observed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimise Σ|design · x - observed| by linear programming."""
    from scipy.optimize import linprog

    n_rows, n_columns = design.shape
    identity = np.eye(n_rows)
    solution = linprog(
        np.concatenate([np.zeros(n_columns), np.ones(2 * n_rows)]),
        A_eq=np.hstack([design, identity, -identity]),
        b_eq=observed,
        bounds=[(None, None)] * n_columns + [(0, None)] * (2 * n_rows),
        method="highs",
    )
    return np.asarray(solution.x, dtype=np.float64)[:n_columns]
