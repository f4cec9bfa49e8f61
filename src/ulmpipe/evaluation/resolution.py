"""Resolution without hand-picked vessels: Fourier ring correlation of two independent halves of the data.

What lies in both halves is taken for signal, what lies in one for noise, and the resolution is the size below
which there is more noise than a threshold allows. Hingot et al. 2021 ("Measuring image resolution in ultrasound
localization microscopy") brought it to ULM. Halves: `ulmpipe.evaluation.halves`. What both get wrong alike (a bias of
the localization, the raster) counts as signal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.evaluation.halves import Halves
from ulmpipe.evaluation.regions import WHOLE, Image, Region, Tiles

ONE_SEVENTH = 1 / 7
THRESHOLDS = ("half_bit", "one_seventh")

_FEW_PIXELS = 20  # of a ring that says little by itself: white noise passes 1/7 in a quarter of such rings


@dataclass(frozen=True)
class RingCorrelation:
    """Fourier ring correlation of one or several splits of the same data.

    Attributes
    ----------
    frequency
        (ring) cycles per metre, up to Nyquist.
    correlation
        (split, ring) −1 … 1, smoothed.
    n_pixels
        (ring) independent pixels, see `independent_pixels`.
    smoothing
        Rings over which the correlation was averaged; 1: not at all.

    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    n_pixels: NDArray[np.float64]
    smoothing: int

    @property
    def half_bit(self) -> NDArray[np.float64]:
        """(ring) threshold of `half_bit_threshold`."""
        return half_bit_threshold(self.n_pixels)


@dataclass(frozen=True)
class Resolution:
    """Resolution at one threshold in metres, see `resolution`: of the mean curve, and of each split's own."""

    size: float
    each: NDArray[np.float64]

    @property
    def spread(self) -> float:
        """Standard deviation over the splits (NaN for one): of halving, not of another acquisition."""
        return (
            float(np.std(self.each, ddof=1))
            if np.isfinite(self.each).all() and len(self.each) > 1
            else np.nan
        )


@dataclass(frozen=True)
class LocalResolution:
    """Resolution tile by tile.

    Attributes
    ----------
    tiles
        Where they are.
    tracks
        (tile z, tile x) how many tracks, one pixel wide and straight across the tile, its counts would be.
    size
        (tile z, tile x) metres, by threshold; infinite where the halves share nothing, NaN where there are too few
        tracks to say.

    """

    tiles: Tiles
    tracks: NDArray[np.float64]
    size: dict[str, NDArray[np.float64]]


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
    if min(a.shape) < 2:
        raise InputError(f"images of shape {a.shape}: expected at least 2 pixels a side")
    if pixel_size <= 0:
        raise InputError(f"pixel_size: {pixel_size} m, expected a positive size")
    shape = (a.shape[0], a.shape[1])
    taper = np.outer(_taper(shape[0]), _taper(shape[1]))
    spectrum_a, spectrum_b = (np.fft.fft2((image - image.mean()) * taper) for image in (a, b))
    ring, n_rings = _rings(shape)

    def ring_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(ring.ravel(), weights=values.ravel(), minlength=n_rings)
        return np.asarray(sums[:n_rings], dtype=np.float64)

    shared = ring_sum((spectrum_a * spectrum_b.conj()).real)
    energy = np.sqrt(ring_sum(np.abs(spectrum_a) ** 2) * ring_sum(np.abs(spectrum_b) ** 2))
    correlation = np.divide(shared, energy, out=np.zeros(n_rings), where=energy > 0)
    frequencies = np.arange(n_rings) / (min(shape) * pixel_size)
    return frequencies[1:], correlation[1:]


def independent_pixels(shape: tuple[int, int]) -> NDArray[np.float64]:
    """How many independent pixels of the spectrum each ring of `fourier_ring_correlation` has.

    The taper makes neighbouring pixels of the spectrum alike: of the ring's n pixels only n² / Σ ρ² are worth
    counting, the sum over all pairs of the ring's pixels, ρ the correlation of white noise between them. The
    correlation of two images of white noise then has the standard deviation 1/√n, as without a taper.

    Parameters
    ----------
    shape
        Of the image, (z, x) pixels.

    Returns
    -------
    (ring), without the ring of frequency 0. Conjugate pixels count as two, as in the threshold's formula.

    """
    ring, n_rings = _rings(shape)
    power_z, power_x = (_neighbour_power(length) for length in shape)
    pairs = np.zeros(n_rings)
    for step_z, weight_z in power_z.items():
        for step_x, weight_x in power_x.items():
            together = ring[ring == np.roll(ring, (step_z, step_x), (0, 1))]
            pairs += weight_z * weight_x * np.bincount(together, minlength=n_rings)[:n_rings]
    n_pixels = np.bincount(ring.ravel(), minlength=n_rings)[:n_rings]
    return np.asarray((n_pixels**2 / pairs)[1:], dtype=np.float64)


def half_bit_threshold(n_pixels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ring correlation of two halves whose sum holds half a bit of information a pixel.

    T(n) = (s + (2√s + 1)/√n) / (s + 1 + 2√s/√n), s = (√2 − 1)/2 the signal-to-noise ratio of each half: 0.1716
    for a large ring, higher for a small one, whose correlation is less certain (van Heel and Schatz 2005, DOI
    10.1016/j.jsb.2005.05.009; in numbers (0.2071 + 1.9102/√n) / (1.2071 + 0.9102/√n)).

    Parameters
    ----------
    n_pixels
        Independent pixels of each ring (`independent_pixels`).

    """
    signal = (np.sqrt(2) - 1) / 2
    uncertainty = 1 / np.sqrt(np.asarray(n_pixels, dtype=np.float64))
    both = 2 * np.sqrt(signal)
    return np.asarray((signal + (both + 1) * uncertainty) / (signal + 1 + both * uncertainty))


def resolution(
    frequency: NDArray[np.float64],
    correlation: NDArray[np.float64],
    *,
    limit: float | NDArray[np.float64] = ONE_SEVENTH,
) -> float:
    """Size in metres, 1/ν, where the correlation first falls below ``limit`` (linear between rings).

    ``limit`` is one number or one for each ring. The last ring's size if it never does: the images are sharper
    than their pixels show. Infinite if it starts below.
    """
    excess = correlation - limit
    below = np.flatnonzero(excess < 0)
    if len(below) == 0:
        return float(1 / frequency[-1])
    ring = below[0]
    if ring == 0:
        return float("inf")
    part = excess[ring - 1] / (excess[ring - 1] - excess[ring])
    return float(1 / (frequency[ring - 1] + part * (frequency[ring] - frequency[ring - 1])))


def smooth_rings(correlation: NDArray[np.float64], rings: int) -> NDArray[np.float64]:
    """Mean over ``rings`` neighbouring rings (odd; fewer at the ends, always as many on either side)."""
    if rings < 1 or rings % 2 == 0:
        raise InputError(f"smoothing: {rings} rings, expected an odd number from 1 on")
    n_rings = len(correlation)
    total = np.concatenate([[0.0], np.cumsum(correlation)])
    middle = np.arange(n_rings)
    reach = np.minimum(rings // 2, np.minimum(middle, n_rings - 1 - middle))
    return np.asarray((total[middle + reach + 1] - total[middle - reach]) / (2 * reach + 1))


def ring_correlation(
    halves: Iterable[Halves], pixel_size: float, *, smoothing: int = 1, region: Region | None = None
) -> RingCorrelation:
    """Fourier ring correlation of every split of the data.

    Parameters
    ----------
    halves
        Two (z, x) images of each split: `track_halves`, `block_halves`.
    pixel_size
        Metres.
    smoothing
        Odd number of rings to average over. A curve that is not smoothed crosses the threshold early where
        noise makes it dip; a smoothed one is blurred by as many rings.
    region
        Part of the images to look at (see `region_slices`); all of them if not given.

    Raises
    ------
    InputError
        There is no split, the images of one differ in shape, or a parameter is out of range.

    """
    regions = [WHOLE if region is None else region]
    return ring_correlations(halves, pixel_size, regions, smoothing=smoothing)[0]


def ring_correlations(
    halves: Iterable[Halves], pixel_size: float, regions: Sequence[Region], *, smoothing: int = 1
) -> list[RingCorrelation]:
    """Fourier ring correlation of several parts of the images, which are gone through once.

    Parameters
    ----------
    halves, pixel_size, smoothing
        See `ring_correlation`.
    regions
        Parts of the images (`region_slices`, `Tiles.regions`, `WHOLE`).

    Returns
    -------
    One of each region.

    Raises
    ------
    InputError
        As `ring_correlation`.

    """
    curves: list[list[NDArray[np.float64]]] = [[] for _ in regions]
    frequencies = [np.zeros(0)] * len(regions)
    shapes: list[tuple[int, ...]] = [()] * len(regions)
    n_splits = 0
    for n_splits, (first, second) in enumerate(halves, start=1):
        for number, region in enumerate(regions):
            a, b = first[region], second[region]
            frequencies[number], correlation = fourier_ring_correlation(a, b, pixel_size)
            if n_splits == 1:
                shapes[number] = a.shape
            elif a.shape != shapes[number]:
                raise InputError(f"images of shape {a.shape}: expected the first split's shape")
            curves[number].append(smooth_rings(correlation, smoothing))
    if n_splits == 0:
        raise InputError("halves: no split, expected at least one")
    n_pixels = {shape: independent_pixels((shape[0], shape[1])) for shape in set(shapes)}
    return [
        RingCorrelation(frequency, np.array(each), n_pixels[shape], smoothing)
        for frequency, each, shape in zip(frequencies, curves, shapes, strict=True)
    ]


def resolution_at(curves: RingCorrelation, threshold: str = "half_bit") -> Resolution:
    """Resolution where the curves cross a threshold, one of `THRESHOLDS`.

    1/7 is a fixed correlation of the *halves*, 0.25 of the whole data; the half-bit curve also allows for how
    few pixels a ring has. Where the first rings have too few pixels to tell, a curve may dip below, as long as it
    is back by the first ring that has enough. It is infinite for a curve that is below from the start.
    """
    if threshold not in THRESHOLDS:
        raise InputError(f"threshold: {threshold!r}, expected one of {', '.join(THRESHOLDS)}")
    limit = curves.half_bit if threshold == "half_bit" else np.full(len(curves.frequency), ONE_SEVENTH)
    first_sure = int(np.count_nonzero(curves.n_pixels < _FEW_PIXELS))

    def size(correlation: NDArray[np.float64]) -> float:
        above = np.flatnonzero(correlation[: first_sure + 1] >= limit[: first_sure + 1])
        rings = slice(above[-1] if len(above) else 0, None)
        return resolution(curves.frequency[rings], correlation[rings], limit=limit[rings])

    return Resolution(
        size=size(curves.correlation.mean(axis=0)),
        each=np.array([size(one) for one in curves.correlation]),
    )


def summarise_resolution(curves: RingCorrelation) -> dict[str, float | int | None]:
    """The numbers of a set of curves for a file: metres, None where there is no finite number."""
    numbers: dict[str, float | int | None] = {
        "splits": len(curves.correlation),
        "smoothing_rings": curves.smoothing,
    }
    for threshold in THRESHOLDS:
        found = resolution_at(curves, threshold)
        for name, value in ((threshold, found.size), (f"{threshold}_spread", found.spread)):
            numbers[name] = float(value) if np.isfinite(value) else None
    return numbers


def local_resolution(
    image: Image, tiles: Tiles, curves: Sequence[RingCorrelation], *, least_tracks: float = 0.0
) -> LocalResolution:
    """Resolution of every tile.

    Parameters
    ----------
    image
        (z, x) counts of tracks.
    tiles
        Of that image, see `cut_tiles`.
    curves
        Of the tiles, row after row (`ring_correlations`).
    least_tracks
        A tile has no resolution if its counts are fewer than so many tracks straight across it would be.

    """
    pixels = [float(np.sum(image[region])) for region in tiles.regions]
    tracks = np.reshape(pixels, tiles.shape) / tiles.side

    def sizes(threshold: str) -> NDArray[np.float64]:
        found = np.reshape([resolution_at(each, threshold).size for each in curves], tiles.shape)
        return np.where(tracks >= least_tracks, found, np.nan)

    return LocalResolution(tiles, tracks, {threshold: sizes(threshold) for threshold in THRESHOLDS})


@lru_cache(maxsize=8)
def _taper(length: int) -> NDArray[np.float64]:
    return np.hanning(length + 2)[1:-1]


@lru_cache(maxsize=8)
def _rings(shape: tuple[int, int]) -> tuple[NDArray[np.int64], int]:
    """Ring of every pixel of the spectrum, and how many rings there are up to Nyquist (with that of 0)."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
    return np.rint(frequency * min(shape)).astype(np.int64), min(shape) // 2 + 1


def _neighbour_power(length: int, *, reach: int = 2) -> dict[int, float]:
    """Squared correlation of white noise between tapered lines of a spectrum so many apart.

    It is the transform of the squared taper; a Hann taper's ends two lines away.
    """
    spectrum = np.fft.fft(_taper(length) ** 2)
    reach = min(reach, (length - 1) // 2)
    power = np.abs(spectrum / spectrum[0]) ** 2
    return {step: float(power[step]) for step in range(-reach, reach + 1)}
