"""Rigid motion between blocks, found for all of them at once: for images of bubbles.

Two blocks show few bubbles in the same vessel, so that the correlation of one pair has its highest peak anywhere. All
blocks together show the vessels: each is compared with the sum of the others, moved to where they are thought to lie,
and the path of displacements is taken that correlates best and makes no unlikely steps (dynamic programming, Viterbi
1967, DOI 10.1109/TIT.1967.1054010). Repeated until nothing moves, from smooth images to sharp ones. Comparing a block
with all others is what redundant cross-correlation does in localization microscopy (Wang et al. 2014, DOI
10.1364/OE.22.015982). A jump of many likely steps is not followed: register on tissue then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.registration.drift import Drift

MOST_ROUNDS = 10  # at each smoothing; four or five suffice
SETTLED = 0.02  # pixels: no block moves by more in a round


def measure_drift_jointly(
    images: NDArray[np.generic],
    *,
    likely_step: float = 1.3,
    largest_shift: int = 8,
    smoothings: Sequence[float] = (2.0, 1.0, 0.5),
    background: float = 3.0,
    minimum_quality: float = 0.2,
) -> Drift:
    """Displacement of every block from the first that is no outlier.

    Parameters
    ----------
    images
        (block, z, x), real: what bubbles there are, such as the brightest |χ| of localizations on each pixel, or the
        logarithm of power Doppler.
    likely_step
        Pixels, standard deviation of what a block moves from the one before.
    largest_shift
        Whole pixels from the middle of all blocks, along each axis, beyond which none is looked for.
    smoothings
        Standard deviations in pixels of the Gaussian filters of the images, from coarse to fine.
    background
        Standard deviation in pixels of the Gaussian filter that says what is background, and is taken off.
    minimum_quality
        Fraction of the median quality below which a block is an outlier; 0 or less flags none for it.

    Returns
    -------
    `Drift`, its quality being the correlation of a block with the sum of the others, at the finest smoothing. Constant
    and not finite images are outliers without displacement.

    Raises
    ------
    InputError
        Images that are not (block, z, x) or no wider than `largest_shift`, or a parameter out of range.
    """
    _check(images, likely_step, largest_shift, smoothings, background)
    n_blocks = len(images)
    moduli = np.abs(images).astype(np.float32)
    usable = np.array([bool(np.isfinite(image).all() and np.ptp(image) > 0) for image in moduli], dtype=bool)
    displacement, quality = np.full((n_blocks, 2), np.nan), np.zeros(n_blocks)
    if usable.any():
        contrast = _tapered_contrast(moduli[usable], background)
        displacement[usable], quality[usable] = _register(contrast, likely_step, largest_shift, smoothings)
    usual = np.median(quality[usable]) if usable.any() else 0.0
    outlier = ~usable | (quality < minimum_quality * usual)
    if not outlier.all():
        displacement = displacement - displacement[np.argmin(outlier)]
    return Drift(displacement, quality, outlier)


def _check(
    images: NDArray[np.generic],
    likely_step: float,
    largest_shift: int,
    smoothings: Sequence[float],
    background: float,
) -> None:
    if images.ndim != 3:
        raise InputError(f"images: shape {images.shape}, expected (block, z, x)")
    if not likely_step > 0 or largest_shift < 1 or not background > 0:
        raise InputError(
            f"likely_step, largest_shift, background: {likely_step}, {largest_shift}, {background}, expected above 0"
        )
    if not smoothings or min(smoothings) <= 0:
        raise InputError(f"smoothings: {list(smoothings)}, expected positive numbers of pixels")
    if min(images.shape[1:]) <= largest_shift:
        raise InputError(
            f"images: shape {images.shape}, expected more pixels than largest_shift, {largest_shift}"
        )


def _tapered_contrast(images: NDArray[np.float32], background: float) -> NDArray[np.float32]:
    """Images without background, fading towards their edges, each of unit energy."""
    from scipy.ndimage import gaussian_filter

    n_z, n_x = images.shape[1:]
    taper = np.sqrt(np.outer(np.hanning(n_z + 2)[1:-1], np.hanning(n_x + 2)[1:-1])).astype(np.float32)
    contrast = np.array([(image - gaussian_filter(image, background)) * taper for image in images])
    return np.asarray(contrast / np.sqrt(np.sum(contrast**2, axis=(1, 2), keepdims=True)))


def _register(
    contrast: NDArray[np.float32], likely_step: float, largest_shift: int, smoothings: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Displacement (block, 2) in pixels and quality (block,) of images of unit energy."""
    from scipy.fft import fftfreq, next_fast_len, rfft2, rfftfreq

    n_z, n_x = (next_fast_len(n + largest_shift, real=True) for n in contrast.shape[1:])
    frequency_z, frequency_x = fftfreq(n_z)[:, None], rfftfreq(n_x)[None, :]
    sharp = rfft2(contrast, s=(n_z, n_x), axes=(1, 2))
    displacement, quality = np.zeros((len(contrast), 2)), np.ones(len(contrast))
    for smoothing in smoothings:
        gain = np.exp(-2 * np.pi**2 * smoothing**2 * (frequency_z**2 + frequency_x**2)).astype(np.float32)
        spectra = sharp * gain
        for _ in range(MOST_ROUNDS):
            correlations = _with_the_others(
                spectra, displacement, frequency_z, frequency_x, (n_z, n_x), largest_shift
            )
            path = _likeliest_path(_in_units_of_chance(correlations), 1 / (2 * likely_step**2))
            moved = displacement
            displacement = (
                np.array([_peak(*each) for each in zip(correlations, path, strict=True)]) - largest_shift
            )
            if np.abs(displacement - moved).max() < SETTLED:
                break
        quality = np.array([each[tuple(place)] for each, place in zip(correlations, path, strict=True)])
    return displacement, quality


def _with_the_others(
    spectra: NDArray[np.complex64],
    displacement: NDArray[np.float64],
    frequency_z: NDArray[np.float64],
    frequency_x: NDArray[np.float64],
    shape: tuple[int, int],
    largest_shift: int,
) -> NDArray[np.float64]:
    """Correlation −1 to 1 (block, z shift, x shift) of each block with the sum of the others where these lie now."""
    from scipy.fft import irfft2

    def at_rest(block: int) -> NDArray[np.complex64]:
        z, x = displacement[block]
        turn = np.exp(2j * np.pi * frequency_z * z) * np.exp(2j * np.pi * frequency_x * x)
        return np.asarray(spectra[block] * turn.astype(np.complex64))

    together = np.zeros_like(spectra[0])
    for block in range(len(spectra)):
        together += at_rest(block)
    width = 2 * largest_shift + 1
    correlations = np.empty((len(spectra), width, width))
    for block, spectrum in enumerate(spectra):
        others = together - at_rest(block)
        energy = np.sqrt(_energy(spectrum, shape) * _energy(others, shape))
        product = irfft2(np.conj(others) * spectrum, s=shape)
        near = np.roll(product, (largest_shift, largest_shift), axis=(0, 1))[:width, :width]
        correlations[block] = near / energy if energy > 1e-6 else 0.0  # a lone block has no others
    return correlations


def _energy(spectrum: NDArray[np.complex64], shape: tuple[int, int]) -> float:
    """Sum of squares of the real image (z, x) that this half spectrum is of."""
    power = np.abs(spectrum.astype(np.complex128)) ** 2
    twice = 2 * power.sum() - power[:, 0].sum() - (power[:, -1].sum() if shape[1] % 2 == 0 else 0.0)
    return float(twice / (shape[0] * shape[1]))


def _in_units_of_chance(correlations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlations over what they usually are where nothing matches."""
    usual = np.median(correlations.std(axis=(1, 2)))
    return correlations / usual if usual > 0 else correlations


def _likeliest_path(scores: NDArray[np.float64], stiffness: float) -> NDArray[np.int64]:
    """Places (block, 2) in scores (block, z, x) of the largest Σ score − stiffness · Σ step²."""
    steps = np.arange(scores.shape[1])
    penalty = stiffness * (steps[:, None] - steps[None, :]) ** 2  # (to, from), each axis by itself
    best, came_from = scores[0], []
    for score in scores[1:]:
        along_z = best[None, :, :] - penalty[:, :, None]  # (to z, from z, from x)
        from_z, best = along_z.argmax(axis=1), along_z.max(axis=1)
        along_x = best[:, None, :] - penalty[None, :, :]  # (to z, to x, from x)
        from_x = along_x.argmax(axis=2)
        came_from.append(np.stack([np.take_along_axis(from_z, from_x, axis=1), from_x]))
        best = score + along_x.max(axis=2)
    place = np.array(np.unravel_index(best.argmax(), best.shape))
    path = [place]
    for step in reversed(came_from):
        place = step[:, place[0], place[1]]
        path.append(place)
    return np.array(path[::-1])


def _peak(correlation: NDArray[np.float64], place: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where a parabola through the place and its neighbours is highest, along each axis, at most half a pixel away."""
    z, x = place
    return np.array([z + _vertex(correlation[:, x], z), x + _vertex(correlation[z], x)])


def _vertex(values: NDArray[np.float64], place: int) -> float:
    if not 0 < place < len(values) - 1:
        return 0.0
    before, here, after = values[place - 1 : place + 2]
    curvature = before - 2 * here + after
    return float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0
