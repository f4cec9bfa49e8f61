"""Correlation maps on the GPU: the twin of `kernels_cpu`, sums in the same order of shifts.

A thread block holds a tile of an image and what surrounds it in shared memory; a thread sums PIXELS pixels below each
other, so that a value that it reads serves several of them. The source also compiles for the host, see the tests.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

TILE = 32  # pixels, square
PIXELS = 8  # of a thread
SHARED_BYTES = 48 * 1024  # that a thread block may have

# Needs the macros HALF_Z and HALF_X, of the point spread function.
SOURCE = r"""
#define TILE 32
#define PIXELS 8
#define THREADS (TILE * TILE / PIXELS)
#define WIDE (TILE + 2 * HALF_X)
#define HIGH (TILE + 2 * HALF_Z)

/* Window sums of |image * scale|^2, cut by the borders; a block a tile and frame. */
extern "C" __global__ void local_energy(const float2 *images, float scale, int n_z, int n_x, float *energy)
{
    __shared__ float power[HIGH][WIDE], along_x[HIGH][TILE];
    const int first_x = blockIdx.x * TILE, first_z = blockIdx.y * TILE;
    const size_t frame = (size_t)blockIdx.z * n_z * n_x;
    for (int i = threadIdx.x; i < HIGH * WIDE; i += THREADS) {
        const int z = first_z + i / WIDE - HALF_Z, x = first_x + i % WIDE - HALF_X;
        float value = 0.0f;
        if (z >= 0 && z < n_z && x >= 0 && x < n_x) {
            const float2 at = images[frame + (size_t)z * n_x + x];
            const float re = at.x * scale, im = at.y * scale;
            value = re * re + im * im;
        }
        power[i / WIDE][i % WIDE] = value;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < HIGH * TILE; i += THREADS) {
        float sum = 0.0f;
        #pragma unroll
        for (int shift = 0; shift <= 2 * HALF_X; ++shift) sum += power[i / TILE][i % TILE + shift];
        along_x[i / TILE][i % TILE] = sum;
    }
    __syncthreads();
    const int x = threadIdx.x % TILE;
    for (int z = threadIdx.x / TILE; z < TILE; z += THREADS / TILE) {
        float sum = 0.0f;
        #pragma unroll
        for (int shift = 0; shift <= 2 * HALF_Z; ++shift) sum += along_x[z + shift][x];
        if (first_z + z < n_z && first_x + x < n_x) energy[frame + (size_t)(first_z + z) * n_x + first_x + x] = sum;
    }
}

/* Correlation with the conjugate of psf, over the root of energy + floor. */
extern "C" __global__ void correlate(const float2 *images, const float2 *psf, const float *energy, const float *floor,
                                     float scale, float guard, float empty, int n_z, int n_x, float2 *chi)
{
    __shared__ float2 values[HIGH][WIDE], reference[2 * HALF_Z + 1][2 * HALF_X + 1];
    const int first_x = blockIdx.x * TILE, first_z = blockIdx.y * TILE;
    const size_t frame = (size_t)blockIdx.z * n_z * n_x;
    for (int i = threadIdx.x; i < HIGH * WIDE; i += THREADS) {
        const int z = first_z + i / WIDE - HALF_Z, x = first_x + i % WIDE - HALF_X;
        float2 value = make_float2(0.0f, 0.0f);
        if (z >= 0 && z < n_z && x >= 0 && x < n_x) value = images[frame + (size_t)z * n_x + x];
        values[i / WIDE][i % WIDE] = make_float2(value.x * scale, value.y * scale);
    }
    for (int i = threadIdx.x; i < (2 * HALF_Z + 1) * (2 * HALF_X + 1); i += THREADS)
        reference[i / (2 * HALF_X + 1)][i % (2 * HALF_X + 1)] = psf[i];
    __syncthreads();
    const int x = threadIdx.x % TILE, top = threadIdx.x / TILE * PIXELS;
    float2 sum[PIXELS];
    #pragma unroll
    for (int k = 0; k < PIXELS; ++k) sum[k] = make_float2(0.0f, 0.0f);
    for (int v = 0; v <= 2 * HALF_X; ++v) {
        float2 column[PIXELS + 2 * HALF_Z];
        #pragma unroll
        for (int k = 0; k < PIXELS + 2 * HALF_Z; ++k) column[k] = values[top + k][x + v];
        #pragma unroll
        for (int u = 0; u <= 2 * HALF_Z; ++u) {
            const float2 p = reference[u][v];
            #pragma unroll
            for (int k = 0; k < PIXELS; ++k) {
                sum[k].x += p.x * column[k + u].x + p.y * column[k + u].y;
                sum[k].y += p.x * column[k + u].y - p.y * column[k + u].x;
            }
        }
    }
    if (first_x + x >= n_x) return;
    #pragma unroll
    for (int k = 0; k < PIXELS; ++k) {
        const int z = first_z + top + k;
        if (z >= n_z) break;
        const size_t here = frame + (size_t)z * n_x + first_x + x;
        const float local = energy[here] + floor[0];
        const float factor = local > empty ? guard / sqrtf(local) : 0.0f;
        chi[here] = make_float2(sum[k].x * factor, sum[k].y * factor);
    }
}
"""


def correlate(
    images: Any,
    scale: np.float32,
    psf: NDArray[np.complex64],
    *,
    regularization: float,
    guard: np.float32,
    empty: np.float32,
) -> Any:
    """CuPy images (frame, z, x) correlated with a normalised psf; see `maps.correlation_map`."""
    import cupy

    n_frames, n_z, n_x = images.shape
    shared_bytes = 8 * ((TILE + psf.shape[0] - 1) * (TILE + psf.shape[1] - 1) + psf.size)
    if shared_bytes > SHARED_BYTES:
        raise InputError(
            f"point spread function: shape {psf.shape}, expected at most 45 × 45 pixels or as many on a GPU"
        )
    if images.size == 0:
        return cupy.empty_like(images)
    local_energy, correlate = _compiled(psf.shape[0] // 2, psf.shape[1] // 2)
    grid = (-(-n_x // TILE), -(-n_z // TILE), n_frames)
    threads = (TILE * TILE // PIXELS,)
    energy = cupy.empty(images.shape, dtype=np.float32)
    sizes = (np.int32(n_z), np.int32(n_x))
    local_energy(grid, threads, (images, scale, *sizes, energy))
    floor = (regularization**2 * energy.mean(dtype=np.float64)).astype(np.float32)
    chi = cupy.empty_like(images)
    correlate(grid, threads, (images, cupy.asarray(psf), energy, floor, scale, guard, empty, *sizes, chi))
    return chi


@lru_cache(maxsize=8)
def _compiled(half_z: int, half_x: int) -> tuple[Any, Any]:
    import cupy

    module = cupy.RawModule(code=SOURCE, options=("--std=c++14", f"-DHALF_Z={half_z}", f"-DHALF_X={half_x}"))
    return module.get_function("local_energy"), module.get_function("correlate")
