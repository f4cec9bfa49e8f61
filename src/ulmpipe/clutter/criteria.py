"""How many singular components of a block are tissue, blood or noise, told by the components themselves.

Which criterion finds the number best is measured by `benchmarks/clutter.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ulmpipe.clutter.components import SingularComponents, sum_over_strips
from ulmpipe.errors import InputError
from ulmpipe.parallel import count_workers


def double_decay(values: NDArray[np.float64], *, n_considered: int | None = None) -> int:
    """Number of tissue components: where the singular values turn from their steep fall into the slow one.

    The curve of the values in dB is fitted by two straight lines, one for the first components and one for the
    others; the number of the first is the one with the least squares. Turning points of this curve are in
    use since Song et al. 2017 (DOI 10.1109/TMI.2016.2605819) and among the estimators that Baranger et al. 2018
    compare (DOI 10.1109/TMI.2018.2789499); the fit of two lines is ours.

    Parameters
    ----------
    values
        (component,) singular values, the largest first.
    n_considered
        Components that are fitted, at least 4; by default the first quarter. Where bubbles turn into noise the
        curve may bend a second time, which the fit should not see; tissue has to be a minority among these.

    Returns
    -------
    At least 1: there is always tissue.

    Raises
    ------
    InputError
        Fewer than 4 values to fit.

    """
    n_considered = max(len(values) // 4, min(len(values), 4)) if n_considered is None else n_considered
    if not 4 <= n_considered <= len(values):
        raise InputError(f"n_considered: {n_considered}, expected 4 to {len(values)} singular values")
    smallest = np.finfo(np.float32).eps * values[0]  # of what single precision can hold
    level = 20 * np.log10(np.maximum(values[:n_considered], smallest if smallest > 0 else 1.0))
    first, others = _line_residuals(level), _line_residuals(level[::-1])[::-1]
    return 1 + int(np.argmin(first[:-2] + others[1:-1]))


def spatial_similarity(
    iq: NDArray[np.complex64], components: SingularComponents, *, workers: int | None = None
) -> NDArray[np.float64]:
    """How alike the places are where any two components are strong.

    Pearson's correlation of the moduli of the spatial singular vectors (Baranger et al. 2018, DOI
    10.1109/TMI.2018.2789499). The vectors themselves are never held: they are made a strip of pixels at a time.

    Parameters
    ----------
    iq
        (frame, z, x) complex NumPy array, one block.
    components
        Its components.
    workers
        Threads; see `ulmpipe.parallel.count_workers`.

    Returns
    -------
    (component, component) float64 from -1 to 1; 0 beside a component that is the same everywhere.

    """
    n_components = len(components.values)
    matrix = np.ascontiguousarray(iq, dtype=np.complex64).reshape(len(iq), -1)
    adjoint = components.temporal.conj().T.astype(np.complex64)
    scale = np.float32(1 / max(components.values[0], np.finfo(np.float32).tiny))

    def moments(pixels: slice) -> NDArray[np.float64]:
        strip = matrix[:, pixels]
        envelopes = np.ones((n_components + 1, strip.shape[1]), dtype=np.float32)  # and ones, for the means
        np.abs(adjoint @ strip, out=envelopes[:-1])
        envelopes[:-1] *= scale
        return (envelopes @ envelopes.T).astype(np.float64)

    moment = sum_over_strips(moments, matrix.shape[1], count_workers(workers)) / matrix.shape[1]
    mean = moment[:-1, -1]
    covariance = moment[:-1, :-1] - np.outer(mean, mean)
    # a variance below this is rounding
    varies = covariance.diagonal() > 1e-5 * mean**2
    deviation = np.where(varies, np.sqrt(np.maximum(covariance.diagonal(), 0.0)), np.inf)
    similarity = np.clip(covariance / np.outer(deviation, deviation), -1.0, 1.0)
    np.fill_diagonal(similarity, 1.0)
    return np.asarray(similarity)


def similarity_squares(similarity: NDArray[np.float64]) -> tuple[int, int]:
    """Number of tissue components, and of tissue and blood components together, from their spatial similarity.

    Tissue components resemble one another, and so do those of blood. The similarity matrix is compared with two
    squares of ones that follow one another along the diagonal, all other elements 0, for all sizes of both; those
    of the highest correlation are taken (Baranger et al. 2018, DOI 10.1109/TMI.2018.2789499; by cumulative
    sums as in Baranger et al., IEEE TUFFC 70(8) 2023, 821–830).

    Parameters
    ----------
    similarity
        (component, component), see `spatial_similarity`.

    Returns
    -------
    Where the first square ends, at least 1, and where the second one ends.

    Raises
    ------
    InputError
        Not a square matrix of at least 3 components.

    """
    n = len(similarity)
    if similarity.shape != (n, n) or n < 3:
        raise InputError(f"similarity: shape {similarity.shape}, expected a square of at least 3 components")
    table = np.zeros((n + 1, n + 1))
    table[1:, 1:] = np.cumsum(np.cumsum(similarity, axis=0), axis=1)
    corner = table.diagonal()
    tissue, end = np.arange(n + 1)[:, None], np.arange(n + 1)[None, :]
    inside = corner[:, None] + (corner[None, :] - table - table.T + corner[:, None])
    share = (tissue**2 + (end - tissue) ** 2) / n**2
    possible = (tissue >= 1) & (end > tissue) & (share < 1)
    deviation = np.sqrt(np.where(possible, share * (1 - share), 1.0))
    score = np.where(possible, (inside / n**2 - similarity.mean() * share) / deviation, -np.inf)
    best_tissue, best_end = np.unravel_index(np.argmax(score), score.shape)
    return int(best_tissue), int(best_end)


def slow_components(
    temporal: NDArray[np.complex128], *, pulse_repetition_frequency: float, cutoff_frequency: float
) -> int:
    """Number of tissue components: those before the first that varies faster than tissue moves.

    Of each temporal singular vector the mean of |f| over its power spectrum is compared with the cut-off. |f|,
    since tissue swings to and fro, so that its mean Doppler frequency is 0.

    Parameters
    ----------
    temporal
        (frame, component), left singular vectors.
    pulse_repetition_frequency
        Images per second, Hz.
    cutoff_frequency
        Hz, up to half of that.

    Returns
    -------
    From 0 to the number of components.

    Raises
    ------
    InputError
        A frequency outside its range.

    """
    if not (math.isfinite(pulse_repetition_frequency) and pulse_repetition_frequency > 0):
        raise InputError(
            f"pulse_repetition_frequency: {pulse_repetition_frequency}, expected a finite number above 0"
        )
    if not 0 < cutoff_frequency <= pulse_repetition_frequency / 2:
        raise InputError(
            f"cutoff_frequency: {cutoff_frequency}, expected above 0 and up to {pulse_repetition_frequency / 2:g} Hz"
        )
    power = np.abs(np.fft.fft(temporal, axis=0)) ** 2
    frequency = np.abs(np.fft.fftfreq(len(temporal), 1 / pulse_repetition_frequency))
    mean_frequency = frequency @ power / np.sum(power, axis=0)
    faster = np.flatnonzero(mean_frequency > cutoff_frequency)
    return int(faster[0]) if len(faster) else temporal.shape[1]


def n_above_noise(values: NDArray[np.float64]) -> int:
    """Number of components stronger than the strongest that noise alone would have.

    Squared singular values of noise follow the law of Marchenko and Pastur (1967, DOI
    10.1070/SM1967v001n04ABEH001994), which ends at s(1 + √γ)², with s their mean and γ the number of frames over
    that of independent pixels. Both are fitted to the weaker half of the values, since neighbouring pixels are
    not independent and noise is not known. That half must be noise. Where neighbours are correlated the law is an
    approximation, and a few per cent of the components of noise are counted, too.

    Parameters
    ----------
    values
        (component,) singular values, the largest first.

    Raises
    ------
    InputError
        Fewer than 8 values.

    """
    n = len(values)
    if n < 8:
        raise InputError(f"singular values: {n}, expected at least 8 to tell noise")
    squares = np.sort(values.astype(np.float64) ** 2)
    weaker = squares[: n // 2]
    if weaker[-1] == 0:
        return int(np.count_nonzero(squares))
    probability = (np.arange(len(weaker)) + 0.5) / n

    def fit(ratio: float) -> tuple[float, float]:
        """(Squared error, upper end) of the law that fits best with this γ."""
        quantiles = _noise_quantiles(ratio, probability)
        scale = float(quantiles @ weaker / (quantiles @ quantiles))
        return float(np.sum((weaker - scale * quantiles) ** 2)), scale * (1 + math.sqrt(ratio)) ** 2

    _, end = min(fit(ratio) for ratio in np.geomspace(1e-3, 1.0, 200).tolist())
    return int(np.count_nonzero(squares > end))


def _noise_quantiles(ratio: float, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles of the law of Marchenko and Pastur with mean 1, 0 < ratio ≤ 1."""
    angle = np.linspace(0, np.pi, 2001)[1:-1]  # x = centre - radius cos: even where the density rises steeply
    radius = 2 * math.sqrt(ratio)
    squares = 1 + ratio - radius * np.cos(angle)
    cumulative = np.cumsum(np.sin(angle) ** 2 / squares)
    return np.interp(probability, cumulative / cumulative[-1], squares)


def _line_residuals(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of squares that a straight line leaves of the first 1, 2, … values."""
    index = np.arange(len(level), dtype=np.float64)
    level = level - level.mean()
    count = index + 1
    spread = np.cumsum(index**2) - np.cumsum(index) ** 2 / count
    slope = np.cumsum(index * level) - np.cumsum(index) * np.cumsum(level) / count
    total = np.cumsum(level**2) - np.cumsum(level) ** 2 / count
    return np.asarray(np.maximum(total - slope**2 / np.where(spread > 0, spread, 1.0), 0.0))
