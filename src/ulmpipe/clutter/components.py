"""Singular components of a block's (frame, pixel) matrix: all of them, the strongest, and images of some alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, eigh

from ulmpipe.device import array_module, on_gpu
from ulmpipe.errors import InputError
from ulmpipe.parallel import count_workers, in_threads

PIXELS_AT_ONCE = 8192  # bounds the float64 copy


@dataclass(frozen=True)
class SingularComponents:
    """What the singular value decomposition of a block's (frame, pixel) matrix says about slow time.

    Attributes
    ----------
    values
        (component,) float64, singular values, the largest first; as many as frames.
    temporal
        (frame, component) complex128, left singular vectors.

    """

    values: NDArray[np.float64]
    temporal: NDArray[np.complex128]


def decompose(iq: NDArray[np.complex64]) -> SingularComponents:
    """All singular values and left singular vectors of a block, from its Gram matrix in float64.

    Values below about 10⁻⁷ of the largest are lost in the rounding of `iq` and of the Gram matrix.

    Parameters
    ----------
    iq
        (frame, z, x) complex NumPy array, one block.

    Returns
    -------
    As many components as frames; where there are fewer pixels, the last values are 0 but for rounding.

    Raises
    ------
    InputError
        Images of another rank or not finite, or on a GPU.

    """
    check_images(iq)
    if on_gpu(iq):
        raise InputError("clutter filter: images on a GPU, expected a NumPy array")
    matrix = np.ascontiguousarray(iq, dtype=np.complex64).reshape(iq.shape[0], -1)
    squares, vectors = eigh(_finite(_gram_matrix(matrix)), lower=False, overwrite_a=True, check_finite=False)
    return SingularComponents(values=np.sqrt(np.maximum(squares[::-1], 0.0)), temporal=vectors[:, ::-1])


def keep_components(
    iq: NDArray[np.complex64],
    components: SingularComponents,
    *,
    first: int,
    last: int,
    workers: int | None = None,
) -> NDArray[np.complex64]:
    """Only the components from `first` on, and before `last`, of a block.

    Parameters
    ----------
    iq
        (frame, z, x) complex NumPy array, one block.
    components
        Its components.
    first, last
        Counted from 0; 0 ≤ first < last ≤ the number of frames.
    workers
        Threads; see `ulmpipe.parallel.count_workers`.

    Returns
    -------
    complex64, shape of `iq`.

    Raises
    ------
    InputError
        Numbers outside their range.

    """
    n_frames = len(components.values)
    if not 0 <= first < last <= n_frames:
        raise InputError(f"first, last: {first}, {last}, expected 0 ≤ first < last ≤ {n_frames}")
    matrix = np.ascontiguousarray(iq, dtype=np.complex64).reshape(n_frames, -1)
    complement = last == n_frames
    basis = components.temporal[:, slice(0, first) if complement else slice(first, last)]
    kept = project(matrix, basis.astype(np.complex64), complement=complement, workers=count_workers(workers))
    return kept.reshape(iq.shape)


def exact_components(matrix: Any, first: int, last: int) -> Any:
    """Left singular vectors from the first on and before the last, (frame, component), of no certain order."""
    n_frames = matrix.shape[0]
    if on_gpu(matrix):
        gram = _finite(_gram_matrix_on_gpu(matrix))
        return array_module(gram).linalg.eigh(gram, UPLO="U")[1][:, n_frames - last : n_frames - first]
    chosen = (n_frames - last, n_frames - first - 1)
    gram = _finite(_gram_matrix(matrix))
    _, vectors = eigh(gram, lower=False, overwrite_a=True, check_finite=False, subset_by_index=chosen)
    return vectors


def random_components(
    matrix: NDArray[np.complex64],
    n_vectors: int,
    power_iterations: int,
    generator: np.random.Generator,
    workers: int,
) -> NDArray[np.complex128]:
    """Approximate leading left singular vectors, (frame, vector), the strongest first."""
    n_frames, n_pixels = matrix.shape
    vectors = generator.standard_normal((n_frames, n_vectors, 2)).view(np.complex128)[..., 0]
    for _ in range(1 + power_iterations):
        start = np.linalg.qr(vectors)[0].astype(np.complex64)

        # X (X* v), not (X X*) v: single precision then holds components of 10⁻⁶ of the largest, not of 10⁻³
        def through_gram(pixels: slice, start: NDArray[np.complex64] = start) -> NDArray[np.complex128]:
            strip = matrix[:, pixels]
            return (strip @ (start.conj().T @ strip).conj().T).astype(np.complex128)

        vectors = sum_over_strips(through_gram, n_pixels, workers)
        if not np.isfinite(vectors).all():
            raise InputError("clutter filter: images that are not finite")
    basis = np.linalg.qr(vectors)[0]
    adjoint = basis.conj().T.astype(np.complex64)

    def small_gram(pixels: slice) -> NDArray[np.complex128]:
        small = (adjoint @ matrix[:, pixels]).astype(np.complex128)
        return np.asarray(small @ small.conj().T)

    _, rotation = np.linalg.eigh(sum_over_strips(small_gram, n_pixels, workers))
    return np.asarray(basis @ rotation[:, ::-1])


def project(matrix: Any, basis: Any, *, complement: bool, workers: int) -> Any:
    """What of the (frame, pixel) matrix lies in the span of the basis, (frame, component), or what does not."""
    if on_gpu(matrix):
        inside = basis @ (basis.conj().T @ matrix)
        return array_module(matrix).subtract(matrix, inside, out=inside) if complement else inside
    adjoint = basis.conj().T
    projected = np.empty_like(matrix)
    strips = _strips(matrix.shape[1])

    def run(first: int, last: int) -> None:
        for pixels in strips[first:last]:
            inside = basis @ (adjoint @ matrix[:, pixels])
            projected[:, pixels] = matrix[:, pixels] - inside if complement else inside

    in_threads(run, len(strips), workers=workers)
    return projected


def check_images(iq: Any) -> None:
    """Refuse what is no stack of images."""
    if iq.ndim != 3:
        raise InputError(f"clutter filter: images of shape {iq.shape}, expected (frame, z, x)")


def _finite(gram: Any) -> Any:
    """The Gram matrix, if the images were finite."""
    if not array_module(gram).isfinite(gram.diagonal()).all():
        raise InputError("clutter filter: images that are not finite")
    return gram


def _strips(n_pixels: int) -> list[slice]:
    return [slice(first, first + PIXELS_AT_ONCE) for first in range(0, n_pixels, PIXELS_AT_ONCE)]


def sum_over_strips(term: Callable[[slice], NDArray[Any]], n_pixels: int, workers: int) -> NDArray[Any]:
    """Σ term(pixels) over strips of pixels, added in their order however many threads make them."""
    strips = _strips(n_pixels)
    terms: list[NDArray[Any]] = [np.zeros(0)] * len(strips)

    def run(first: int, last: int) -> None:
        for strip in range(first, last):
            terms[strip] = term(strips[strip])

    in_threads(run, len(strips), workers=workers)
    return reduce(np.add, terms)


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
