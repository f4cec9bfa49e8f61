"""Inverse Fourier transform of many short rows on the GPU, in place: the last step of the simulator.

Stockham's arrangement (Van Loan 1992, Computational Frameworks for the FFT, §1.7), rows in shared memory between the
passes, padded so that neighbouring threads meet different banks. Rows that do not fit there, or whose length has a
large prime factor, go to cuFFT.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ulmpipe.acoustics.baseband import transform_radices

THREADS = 128
VALUES_OF_BLOCK = 1536  # about: rows of a thread block times their length
LONGEST_ROW = 2304
LARGEST_RADIX = 31

# Needs the macros LENGTH, ROWS (of a thread block), THREADS, N_PASSES and RADICES (a list, their product LENGTH).
SOURCE = r"""
#define PADDED (LENGTH + (LENGTH - 1) / 8 + 1)

struct __align__(8) Complex { float re, im; };

static constexpr int radices[] = RADICES;

#define INLINE static __device__ __forceinline__

INLINE Complex complex(float re, float im) { Complex c = {re, im}; return c; }
INLINE Complex add(Complex a, Complex b) { return complex(a.re + b.re, a.im + b.im); }
INLINE Complex take(Complex a, Complex b) { return complex(a.re - b.re, a.im - b.im); }
INLINE Complex times(Complex a, Complex b) { return complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re); }
INLINE Complex quarter(Complex a) { return complex(-a.im, a.re); } /* times i */

/* Inverse transform of P values. roots: exp(2 pi i k / LENGTH). */
template <int P>
struct Butterfly {
    INLINE void apply(Complex *x, const Complex *roots)
    {
        Complex y[P];
        #pragma unroll
        for (int m = 0; m < P; ++m) {
            y[m] = x[0];
            #pragma unroll
            for (int k = 1; k < P; ++k) y[m] = add(y[m], times(x[k], roots[m * k % P * (LENGTH / P)]));
        }
        #pragma unroll
        for (int m = 0; m < P; ++m) x[m] = y[m];
    }
};

template <>
struct Butterfly<2> {
    INLINE void apply(Complex *x, const Complex *)
    {
        const Complex a = x[0];
        x[0] = add(a, x[1]);
        x[1] = take(a, x[1]);
    }
};

template <>
struct Butterfly<3> {
    INLINE void apply(Complex *x, const Complex *)
    {
        const Complex sum = add(x[1], x[2]), apart = quarter(take(x[1], x[2]));
        const float sine = 0.866025404f; /* of 60 degrees */
        const Complex middle = complex(x[0].re - 0.5f * sum.re, x[0].im - 0.5f * sum.im);
        x[0] = add(x[0], sum);
        x[1] = complex(middle.re + sine * apart.re, middle.im + sine * apart.im);
        x[2] = complex(middle.re - sine * apart.re, middle.im - sine * apart.im);
    }
};

template <>
struct Butterfly<4> {
    INLINE void apply(Complex *x, const Complex *)
    {
        const Complex a = add(x[0], x[2]), b = take(x[0], x[2]), c = add(x[1], x[3]), d = quarter(take(x[1], x[3]));
        x[0] = add(a, c); x[1] = add(b, d); x[2] = take(a, c); x[3] = take(b, d);
    }
};

template <>
struct Butterfly<8> {
    INLINE void apply(Complex *x, const Complex *roots)
    {
        Complex even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
        Butterfly<4>::apply(even, roots);
        Butterfly<4>::apply(odd, roots);
        const float half = 0.707106781f; /* the square root of one half */
        odd[1] = complex(half * (odd[1].re - odd[1].im), half * (odd[1].re + odd[1].im));
        odd[2] = quarter(odd[2]);
        odd[3] = complex(-half * (odd[3].re + odd[3].im), half * (odd[3].re - odd[3].im));
        #pragma unroll
        for (int m = 0; m < 4; ++m) { x[m] = add(even[m], odd[m]); x[m + 4] = take(even[m], odd[m]); }
    }
};

static __device__ __forceinline__ int padded(int place) { return place + place / 8; }

/* Pass I and those after it; STRIDE is the product of the radices before it. */
template <int I, int STRIDE>
struct Pass {
    INLINE void run(Complex *rows, int n_rows, Complex *from, Complex *to, const Complex *roots)
    {
        constexpr int P = radices[I], TASKS = LENGTH / P;
        constexpr bool LAST = I == N_PASSES - 1;
        for (int i = threadIdx.x; i < ROWS * TASKS; i += THREADS) {
            const int row = i / TASKS, task = i % TASKS, part = task % STRIDE, group = task / STRIDE;
            if (row >= n_rows) continue;
            Complex x[P];
            #pragma unroll
            for (int k = 0; k < P; ++k)
                x[k] = I == 0 ? rows[row * LENGTH + task + k * TASKS] : from[row * PADDED + padded(task + k * TASKS)];
            Butterfly<P>::apply(x, roots);
            if (!LAST) {
                const Complex step = roots[group * STRIDE];
                Complex factor = step;
                #pragma unroll
                for (int m = 1; m < P; ++m) {
                    x[m] = times(x[m], factor);
                    factor = times(factor, step);
                }
            }
            #pragma unroll
            for (int m = 0; m < P; ++m) {
                const int place = part + STRIDE * (P * group + m);
                if (LAST) rows[row * LENGTH + place] = x[m];
                else to[row * PADDED + padded(place)] = x[m];
            }
        }
        __syncthreads();
        Pass<I + 1, STRIDE * P>::run(rows, n_rows, to, from, roots);
    }
};

template <int STRIDE>
struct Pass<N_PASSES, STRIDE> {
    INLINE void run(Complex *, int, Complex *, Complex *, const Complex *) {}
};

/* Sums over all bins, unscaled; rows (row, LENGTH). */
extern "C" __global__ void __launch_bounds__(THREADS) inverse_transform(Complex *rows, const Complex *roots, int n_rows)
{
    __shared__ Complex one[ROWS * PADDED], other[ROWS * PADDED];
    const int first = blockIdx.x * ROWS, here = n_rows - first < ROWS ? n_rows - first : ROWS;
    Pass<0, 1>::run(rows + (size_t)first * LENGTH, here, one, other, roots);
}
"""


def inverse_transform(samples: Any) -> None:
    """Replace bins by samples along the last axis, unscaled: a CuPy array, contiguous, complex64."""
    import cupy

    length = samples.shape[-1]
    if length == 1:
        return
    n_rows = samples.size // length
    radices = transform_radices(length, first=8)
    if length > LONGEST_ROW or max(radices) > LARGEST_RADIX:
        _plan(length, n_rows).fft(samples, samples, cupy.cuda.cufft.CUFFT_INVERSE)
        return
    kernel, roots, rows = _kernel(length, radices)
    kernel((-(-n_rows // rows),), (THREADS,), (samples, roots, np.int32(n_rows)))


@lru_cache(maxsize=16)
def _kernel(length: int, radices: tuple[int, ...]) -> tuple[Any, Any, int]:
    import cupy

    rows = max(1, VALUES_OF_BLOCK // length)
    options = {
        "LENGTH": length,
        "ROWS": rows,
        "THREADS": THREADS,
        "N_PASSES": len(radices),
        "RADICES": "{" + ",".join(map(str, radices)) + "}",
    }
    definitions = "".join(f"#define {name} {value}\n" for name, value in options.items())
    roots = np.exp(2j * np.pi * np.arange(length) / length).astype(np.complex64)
    kernel = cupy.RawKernel(definitions + SOURCE, "inverse_transform", options=("--std=c++14",))
    return kernel, cupy.asarray(roots), rows


@lru_cache(maxsize=4)
def _plan(length: int, n_rows: int) -> Any:
    import cupy

    return cupy.cuda.cufft.Plan1d(length, cupy.cuda.cufft.CUFFT_C2C, n_rows)
