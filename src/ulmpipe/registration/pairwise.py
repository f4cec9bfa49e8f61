"""Rigid motion between blocks, found by comparing them two by two: for images of tissue, which all blocks share.

Sub-pixel peak: Guizar-Sicairos et al. 2008 (DOI 10.1364/OL.33.000156), as scikit-image has it. Power Doppler images
and maps of bubbles serve as far as two blocks show the same vessels; with fewer bubbles, errors are of pixels:
`ulmpipe.registration.jointly`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.registration.drift import Drift
from ulmpipe.registration.shifting import overlap


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
    shared = (overlap(n_z, -whole_z), overlap(n_x, -whole_x))
    shared_moving = (overlap(n_z, whole_z), overlap(n_x, whole_x))
    rest_z, rest_x = _subpixel_shift(fixed[shared], other[shared_moving], upsampling)
    if max(abs(rest_z), abs(rest_x)) > 2:  # another peak than the one found within the limit
        return float(whole_z), float(whole_x)
    return whole_z + rest_z, whole_x + rest_x


def measure_drift(
    images: NDArray[np.generic],
    *,
    lags: int = 2,
    upsampling: int = 100,
    maximum_shift: float | None = None,
    smoothing: float = 0.0,
    tolerance: float = 0.5,
    minimum_quality: float = 0.5,
) -> Drift:
    """Displacement of every block from the first that is no outlier, with blocks flagged that do not fit.

    Each block is compared with the first one and with the ``lags`` blocks before it; the displacements that agree best
    with all these pairs, by the sum of absolute differences, are taken. One pair that failed is outvoted.

    A block is an outlier if its measured displacements from the others miss the agreed ones by more than `tolerance`
    (the median over its pairs), if it looks much less like the others than usual, or if it holds nothing.

    Parameters
    ----------
    images
        (block, z, x), real, complex or bool, see `estimate_shift`. Constant or not finite images are allowed here, and
        flagged.
    lags
        How many earlier blocks each is compared with, beside the first.
    upsampling, maximum_shift
        See `estimate_shift`.
    smoothing
        Standard deviation in pixels of a Gaussian filter of the moduli; 0 is none.
    tolerance
        Pixels of these images by which pairs may disagree, along either axis: more on a fine grid.
    minimum_quality
        Fraction of the median quality below which a correlation counts as weak; 0 or less flags none for it.

    Raises
    ------
    InputError
        Images that are not (block, z, x), or a parameter out of range.

    """
    if images.ndim != 3:
        raise InputError(f"images: shape {images.shape}, expected (block, z, x)")
    if lags < 1 or not smoothing >= 0 or not tolerance > 0:
        raise InputError(
            f"lags, smoothing, tolerance: {lags}, {smoothing}, {tolerance}, expected at least 1, at least 0, above 0"
        )
    n_blocks = len(images)
    envelopes = [_smoothed(image, smoothing) for image in images]
    usable = [
        block for block, image in enumerate(envelopes) if np.isfinite(image).all() and np.ptp(image) > 0
    ]
    pairs = [
        (first, later)
        for place, later in enumerate(usable)
        for first in sorted({usable[0], *usable[max(0, place - lags) : place]} - {later})
    ]
    shifts, correlations = np.zeros((len(pairs), 2)), np.zeros(len(pairs))
    for pair, (first, later) in enumerate(pairs):
        fixed, moving = envelopes[first], envelopes[later]
        found = estimate_shift(fixed, moving, upsampling=upsampling, maximum_shift=maximum_shift)
        shifts[pair], correlations[pair] = found, peak_correlation(fixed, moving, found)

    displacement, quality = np.full((n_blocks, 2), np.nan), np.zeros(n_blocks)
    disagreement = np.full(n_blocks, np.inf)
    displacement[usable] = 0.0
    if pairs:
        number = {block: place for place, block in enumerate(usable)}
        ranked = [(number[first], number[later]) for first, later in pairs]
        displacement[usable] = _agreed_displacement(ranked, shifts, len(usable))
    members = np.array(pairs, dtype=int).reshape(-1, 2)
    missed = np.abs(shifts - (displacement[members[:, 1]] - displacement[members[:, 0]])).max(axis=1)
    for block in usable:
        own = (members == block).any(axis=1)
        quality[block] = np.median(correlations[own]) if own.any() else 1.0
        disagreement[block] = np.median(missed[own]) if own.any() else 0.0
    usual = np.median(quality[usable]) if usable else 0.0
    outlier = (disagreement > tolerance) | (quality < minimum_quality * usual)
    if not outlier.all():
        displacement = displacement - displacement[np.argmin(outlier)]
    return Drift(displacement, quality, outlier)


def peak_correlation(
    reference: NDArray[np.generic], moving: NDArray[np.generic], displacement: tuple[float, float]
) -> float:
    """Correlation −1 to 1 of the envelopes of two images (z, x) once `displacement`, in pixels, is undone.

    Of what both share, mean removed and tapered, as `estimate_shift` compares them; 0 if they share nothing. The
    fraction of a pixel is undone by turning the phases of the spectrum.
    """
    whole = np.rint(displacement).astype(int)
    fixed, other = np.abs(reference).astype(np.float64), np.abs(moving).astype(np.float64)
    shared = tuple(overlap(n, -int(by)) for n, by in zip(fixed.shape, whole, strict=True))
    shared_moving = tuple(overlap(n, int(by)) for n, by in zip(fixed.shape, whole, strict=True))
    fixed, other = fixed[shared], other[shared_moving]
    if fixed.size == 0:
        return 0.0
    fixed, other = _tapered(fixed), _tapered(other)
    energy = np.sqrt(np.sum(fixed**2) * np.sum(other**2))
    rest = np.asarray(displacement) - whole
    z, x = (np.fft.fftfreq(n) for n in fixed.shape)
    back = np.exp(2j * np.pi * (rest[0] * z[:, None] + rest[1] * x))
    shared_power = np.sum(np.conj(np.fft.fft2(fixed)) * np.fft.fft2(other) * back).real / fixed.size
    return float(shared_power / energy) if energy > 0 else 0.0


def _smoothed(image: NDArray[np.generic], smoothing: float) -> NDArray[np.float64]:
    """Modulus of an image, low-passed."""
    envelope = np.abs(image).astype(np.float64)
    if smoothing == 0:
        return envelope
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(envelope, smoothing))


def _agreed_displacement(
    pairs: Sequence[tuple[int, int]], shifts: NDArray[np.float64], n_blocks: int
) -> NDArray[np.float64]:
    """(block, 2) from the first block, from what was measured between pairs (pair, 2)."""
    incidence = np.zeros((len(pairs), n_blocks))
    rows = np.arange(len(pairs))
    incidence[rows, [later for _, later in pairs]] = 1.0
    incidence[rows, [first for first, _ in pairs]] = -1.0
    drift = np.stack([_least_absolute(incidence[:, 1:], shifts[:, axis]) for axis in (0, 1)], axis=1)
    return np.concatenate([np.zeros((1, 2)), drift])


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
