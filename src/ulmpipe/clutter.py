"""Clutter filter: tissue is what the frames of a block have most in common.

The singular value decomposition of the block's (frame, pixel) matrix puts tissue, strong and coherent, into
its first components (Demené et al., IEEE TMI 34(11) 2015); they are subtracted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, eigh

from ulmpipe.device import array_module, on_gpu
from ulmpipe.errors import InputError

PIXELS_AT_ONCE = 8192  # bounds the float64 copy


def svd_filter(iq: NDArray[np.complex64], *, n_removed: int) -> NDArray[np.complex64]:
    """Remove the n_removed largest singular components of a block of images.

    With X the (frame, pixel) matrix and U its leading left singular vectors, the result is X - U U* X. U are
    the leading eigenvectors of the small Gram matrix X X*, which squares the singular values: it is summed
    and decomposed in float64, so that components 60 dB and more below the tissue are still told apart.
    Run BLAS on one thread: it is faster at this size, and then the result does not depend on the machine's
    number of cores.

    Parameters
    ----------
    iq
        (frame, z, x) complex, one block. CuPy's images are filtered on the GPU.
    n_removed
        Number of components, from 0 (nothing is removed) to less than the number of frames.

    Returns
    -------
    complex64, shape of `iq`, and where it is.

    Raises
    ------
    InputError
        A number of components outside its range, images of another rank or not finite.

    """
    if iq.ndim != 3:
        raise InputError(f"clutter filter: images of shape {iq.shape}, expected (frame, z, x)")
    n_frames = iq.shape[0]
    if not 0 <= n_removed < n_frames:
        raise InputError(f"n_removed: {n_removed}, expected 0 to {n_frames - 1} ({n_frames} frames)")
    xp = array_module(iq)
    matrix = xp.ascontiguousarray(iq, dtype=np.complex64).reshape(n_frames, -1)
    if n_removed == 0:
        return matrix.reshape(iq.shape).copy()
    gram = _gram_matrix_on_gpu(matrix) if on_gpu(matrix) else _gram_matrix(matrix)
    if not xp.isfinite(gram.diagonal()).all():
        raise InputError("clutter filter: images that are not finite")
    if on_gpu(matrix):
        vectors = xp.linalg.eigh(gram, UPLO="U")[1][:, n_frames - n_removed :]
    else:
        largest = (n_frames - n_removed, n_frames - 1)
        _, vectors = eigh(gram, lower=False, overwrite_a=True, check_finite=False, subset_by_index=largest)
    basis = vectors.astype(np.complex64)
    clutter = basis @ (basis.conj().T @ matrix)
    return xp.subtract(matrix, clutter, out=clutter).reshape(iq.shape)


def _gram_matrix_on_gpu(matrix: Any) -> Any:
    """X X*, (frame, frame), a CuPy array, summed in float64."""
    gram = 0
    for first in range(0, matrix.shape[1], PIXELS_AT_ONCE):
        some = matrix[:, first : first + PIXELS_AT_ONCE].astype(np.complex128)
        gram = some @ some.conj().T + gram
    return gram


def _gram_matrix(matrix: NDArray[np.complex64]) -> NDArray[np.complex128]:
    """Upper triangle of X X*, (frame, frame), summed in float64 over a bounded number of pixels at a time."""
    n_frames, n_pixels = matrix.shape
    gram = np.zeros((n_frames, n_frames), dtype=np.complex128, order="F")
    for first in range(0, n_pixels, PIXELS_AT_ONCE):
        some = matrix[:, first : first + PIXELS_AT_ONCE].astype(np.complex128, order="F")
        gram = blas.zherk(1.0, some, beta=1.0, c=gram, overwrite_c=True)
    return gram
