"""Clutter filter: tissue is what the frames of a block have most in common.

The singular value decomposition of the block's (frame, pixel) matrix puts tissue, strong and coherent, into
its first components (Demené et al. 2015, DOI 10.1109/TMI.2015.2428634); they are subtracted. How many they are
is given, or told by the singular values, the spatial or the temporal singular vectors of the block itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ulmpipe.clutter.components import (
    check_images,
    decompose,
    exact_components,
    keep_components,
    project,
    random_components,
)
from ulmpipe.clutter.criteria import (
    double_decay,
    n_above_noise,
    similarity_squares,
    slow_components,
    spatial_similarity,
)
from ulmpipe.device import array_module, on_gpu
from ulmpipe.errors import InputError
from ulmpipe.parallel import count_workers

Method = Literal["exact", "randomized"]
Criterion = Literal["double_decay", "similarity", "frequency"]


@dataclass(frozen=True)
class FilteredBlock:
    """A block without its clutter, and how many components were taken for what.

    Attributes
    ----------
    images
        (frame, z, x) complex64.
    n_removed
        Largest components, taken for tissue.
    n_kept
        Components after those that `images` consists of; the rest was taken for noise.

    """

    images: NDArray[np.complex64]
    n_removed: int
    n_kept: int


def svd_filter(
    iq: NDArray[np.complex64],
    *,
    n_removed: int,
    n_kept: int | None = None,
    method: Method = "exact",
    generator: np.random.Generator | None = None,
    oversampling: int = 10,
    power_iterations: int = 4,
    workers: int | None = None,
) -> NDArray[np.complex64]:
    """Remove the n_removed largest singular components of a block of images.

    With X the (frame, pixel) matrix and U its leading left singular vectors, the result is X - U U* X. U are
    the leading eigenvectors of the small Gram matrix X X*, which squares the singular values: it is summed
    and decomposed in float64, so that components 60 dB and more below the tissue are still told apart.
    Run BLAS on one thread: it is faster at this size, and then the result does not depend on the machine's
    number of cores; that of `workers` changes nothing, either.

    "randomized" finds U by subspace iteration from random vectors (Halko, Martinsson, Tropp 2011, DOI
    10.1137/090771806, algorithms 4.4 and 5.3, for the Gram matrix, which is applied and never formed; for
    ultrasound Song et al. 2017, DOI 10.1109/TUFFC.2017.2665342). It costs a small multiple of
    n_removed + oversampling products with X instead of as many as there are frames. Its U agrees with the exact
    one as far as the components fall off there: each iteration takes (σ_j / σ_n)² off its error, with n the
    last component wanted and j the first beyond the oversampling. The images then agree with the exact ones to
    10⁻³ of their norm, which single precision sets under tissue 60 dB stronger. Where components hardly fall off, as
    among bubbles and noise, it finds another cut through components that are alike, as good but for a fraction of
    a per cent.

    Beside `iq` and the result, memory is taken for a copy of `PIXELS_AT_ONCE` pixels in float64, or in each
    worker in float32.

    Parameters
    ----------
    iq
        (frame, z, x) complex, one block. CuPy's images are filtered on the GPU.
    n_removed
        Number of components, from 0 (nothing is removed) to less than the number of frames.
    n_kept
        Number of components after those that are kept, from 1; what comes later, mostly noise, is removed too.
        By default all are kept.
    method
        "exact", or "randomized" for large images.
    generator
        Of the random vectors; "randomized" needs one.
    oversampling, power_iterations
        Of "randomized": random vectors beyond the number of components that are wanted, and products with the
        Gram matrix after the first.
    workers
        Threads; see `ulmpipe.parallel.count_workers`. The Gram matrix of "exact" is summed by one.

    Returns
    -------
    complex64, shape of `iq`, and where it is.

    Raises
    ------
    InputError
        A number of components outside its range, images of another rank or not finite, a method that is not
        known or, on a GPU, not there.

    """
    check_images(iq)
    n_frames = iq.shape[0]
    if not 0 <= n_removed < n_frames:
        raise InputError(f"n_removed: {n_removed}, expected 0 to {n_frames - 1} ({n_frames} frames)")
    if n_kept is not None and not 1 <= n_kept <= n_frames - n_removed:
        raise InputError(f"n_kept: {n_kept}, expected 1 to {n_frames - n_removed}, or all")
    if method not in get_args(Method):
        raise InputError(f"method: {method!r}, expected one of {', '.join(get_args(Method))}")
    xp = array_module(iq)
    matrix = xp.ascontiguousarray(iq, dtype=np.complex64).reshape(n_frames, -1)
    last = n_frames if n_kept is None else n_removed + n_kept
    if n_removed == 0 and last == n_frames:
        return matrix.reshape(iq.shape).copy()
    # whichever is known to be few: what goes, or what stays
    wanted = (0, n_removed) if last == n_frames else (n_removed, last)
    threads = count_workers(workers)
    if method == "exact":
        vectors = exact_components(matrix, *wanted)
    elif on_gpu(matrix):
        raise InputError("method: 'randomized', expected 'exact' for images on a GPU")
    elif generator is None:
        raise InputError("generator: None, expected a NumPy generator for method 'randomized'")
    else:
        if oversampling < 0 or power_iterations < 0:
            raise InputError(
                f"oversampling, power_iterations: {oversampling}, {power_iterations}, expected at least 0"
            )
        n_vectors = min(wanted[1] + oversampling, n_frames)
        vectors = random_components(matrix, n_vectors, power_iterations, generator, threads)[
            :, slice(*wanted)
        ]
    basis = vectors.astype(np.complex64)
    return project(matrix, basis, complement=last == n_frames, workers=threads).reshape(iq.shape)


def adaptive_svd_filter(
    iq: NDArray[np.complex64],
    *,
    criterion: Criterion = "double_decay",
    cut_noise: bool = False,
    pulse_repetition_frequency: float | None = None,
    cutoff_frequency: float | None = None,
    workers: int | None = None,
) -> FilteredBlock:
    """Remove as many singular components as the block itself says are tissue, and perhaps those of noise.

    How well each criterion finds the number is measured by `benchmarks/clutter.py`.

    Parameters
    ----------
    iq
        (frame, z, x) complex NumPy array, one block.
    criterion
        "double_decay": `double_decay` of the singular values. "similarity": `similarity_squares` of the spatial
        singular vectors. "frequency": `slow_components`, those below `cutoff_frequency`.
    cut_noise
        Whether to remove those components, too, that are no stronger than noise alone makes them
        (`n_above_noise`). It takes with it bubbles that are weak, fast or seen shortly.
    pulse_repetition_frequency, cutoff_frequency
        Images per second and largest mean frequency of tissue, Hz; "frequency" needs both.
    workers
        Threads; see `ulmpipe.parallel.count_workers`.

    Returns
    -------
    Filtered images and the numbers of components.

    Raises
    ------
    InputError
        A criterion that is not known or lacks a frequency; images that `svd_filter` refuses.

    """
    if criterion not in get_args(Criterion):
        raise InputError(f"criterion: {criterion!r}, expected one of {', '.join(get_args(Criterion))}")
    if criterion == "frequency" and (pulse_repetition_frequency is None or cutoff_frequency is None):
        raise InputError("criterion: 'frequency', expected pulse_repetition_frequency and cutoff_frequency")
    components = decompose(iq)
    n_frames = len(components.values)
    if criterion == "double_decay":
        n_removed = double_decay(components.values)
    elif criterion == "similarity":
        n_removed, _ = similarity_squares(spatial_similarity(iq, components, workers=workers))
    else:
        assert pulse_repetition_frequency is not None
        assert cutoff_frequency is not None
        n_removed = slow_components(
            components.temporal,
            pulse_repetition_frequency=pulse_repetition_frequency,
            cutoff_frequency=cutoff_frequency,
        )
    n_removed = min(n_removed, n_frames - 1)
    last = max(n_above_noise(components.values), n_removed + 1) if cut_noise else n_frames
    kept = keep_components(iq, components, first=n_removed, last=last, workers=workers)
    return FilteredBlock(kept, n_removed=n_removed, n_kept=last - n_removed)
