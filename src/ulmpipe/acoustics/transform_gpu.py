"""Inverse Fourier transform of short rows on the GPU, as device code for the simulator's kernel.

Stockham's arrangement (Van Loan 1992, Computational Frameworks for the FFT, §1.7), rows in shared memory between the
passes, padded so that neighbouring threads meet different banks. Rows that do not fit there, or whose length has a
large prime factor, go to cuFFT.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ulmpipe.acoustics.baseband import transform_radices

LARGEST_RADIX = 31

# Needs the macros ROW_LENGTH, ROWS (at a time), THREADS, and if FUSED, RADICES (a list, their product ROW_LENGTH) and
# N_RADICES.
SOURCE = r"""
#define PADDED (ROW_LENGTH + (ROW_LENGTH - 1) / 8 + 1)

struct __align__(8) Complex { float re, im; };

static constexpr unsigned radices[] = RADICES;

#define INLINE static __device__ __forceinline__

INLINE Complex complex(float re, float im) { Complex c = {re, im}; return c; }
INLINE Complex add(Complex a, Complex b) { return complex(a.re + b.re, a.im + b.im); }
INLINE Complex take(Complex a, Complex b) { return complex(a.re - b.re, a.im - b.im); }
INLINE Complex times(Complex a, Complex b) { return complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re); }
INLINE Complex read_past_cache(const Complex *from)
{
    const float2 value = __ldcg((const float2 *)from);
    return complex(value.x, value.y);
}
INLINE Complex quarter(Complex a) { return complex(-a.im, a.re); } /* times i */

/* Inverse transform of P values. roots: exp(2 pi i k / ROW_LENGTH). */
template <unsigned P>
struct Butterfly {
    INLINE void apply(Complex *x, const Complex *roots)
    {
        Complex y[P];
        #pragma unroll
        for (unsigned m = 0; m < P; ++m) {
            y[m] = x[0];
            #pragma unroll
            for (unsigned k = 1; k < P; ++k) y[m] = add(y[m], times(x[k], roots[m * k % P * (ROW_LENGTH / P)]));
        }
        #pragma unroll
        for (unsigned m = 0; m < P; ++m) x[m] = y[m];
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

/* Three and four have no common factor: no twiddles between them (Good and Thomas). */
template <>
struct Butterfly<12> {
    INLINE void apply(Complex *x, const Complex *roots)
    {
        Complex y[3][4];
        #pragma unroll
        for (int n = 0; n < 4; ++n) {
            Complex three[3] = {x[3 * n], x[(3 * n + 4) % 12], x[(3 * n + 8) % 12]};
            Butterfly<3>::apply(three, roots);
            #pragma unroll
            for (int k = 0; k < 3; ++k) y[k][n] = three[k];
        }
        #pragma unroll
        for (int k = 0; k < 3; ++k) {
            Butterfly<4>::apply(y[k], roots);
            #pragma unroll
            for (int m = 0; m < 4; ++m) x[(4 * k + 9 * m) % 12] = y[k][m];
        }
    }
};

INLINE unsigned padded(unsigned place) { return place + place / 8; }

/* Place of first + k * STEP in a padded row, with as little arithmetic as the step allows. */
template <unsigned STEP>
INLINE unsigned padded_step(unsigned first, unsigned k)
{
    return STEP % 8 == 0 ? padded(first) + k * (STEP + STEP / 8) : padded(first + k * STEP);
}

/* Pass I and those after it; STRIDE is the product of the radices before it. */
template <unsigned I, unsigned STRIDE>
struct Pass {
    INLINE void run(Complex *rows, unsigned n_rows, Complex *from, Complex *to, const Complex *roots)
    {
        constexpr unsigned P = radices[I], TASKS = ROW_LENGTH / P;
        constexpr bool LAST = I == N_RADICES - 1;
        const unsigned n_tasks = n_rows * TASKS;
        for (unsigned i = threadIdx.x; i < n_tasks; i += THREADS) {
            const unsigned row = i / TASKS, task = i % TASKS, part = task % STRIDE, group = task / STRIDE;
            Complex *own = rows + row * ROW_LENGTH;
            Complex x[P];
            if (I == 0) { /* past the first cache: other thread blocks have written them */
                #pragma unroll
                for (unsigned k = 0; k < P; ++k) x[k] = read_past_cache(own + task + k * TASKS);
            } else {
                const Complex *source = from + row * PADDED;
                #pragma unroll
                for (unsigned k = 0; k < P; ++k) x[k] = source[padded_step<TASKS>(task, k)];
            }
            Butterfly<P>::apply(x, roots);
            if (LAST) {
                #pragma unroll
                for (unsigned m = 0; m < P; ++m) own[task + STRIDE * m] = x[m];
                continue;
            }
            #pragma unroll
            for (unsigned m = 1; m < P; ++m) x[m] = times(x[m], roots[group * STRIDE * m]);
            Complex *target = to + row * PADDED;
            #pragma unroll
            for (unsigned m = 0; m < P; ++m)
                if (STRIDE == 1 && P == 8) target[9 * group + m] = x[m];
                else target[padded_step<STRIDE>(part + STRIDE * P * group, m)] = x[m];
        }
        __syncthreads();
        Pass<I + 1, STRIDE * P>::run(rows, n_rows, to, from, roots);
    }
};

template <unsigned STRIDE>
struct Pass<N_RADICES, STRIDE> {
    INLINE void run(Complex *, unsigned, Complex *, Complex *, const Complex *) {}
};

/* Sums over all bins, unscaled, by all threads of a block, of up to ROWS rows; one, other: shared, ROWS * PADDED. */
INLINE void inverse_transform(Complex *rows, int n_rows, Complex *one, Complex *other, const Complex *roots)
{
    Pass<0, 1>::run(rows, n_rows, one, other, roots);
}
"""


def fused_radices(length: int, shared_bytes: int) -> tuple[int, ...]:
    """Of rows that the device code can transform in so much shared memory; none if it cannot."""
    radices = transform_radices(length, first=8)
    if radices[-2:] == (4, 3):  # a pass less
        radices = (*radices[:-2], 12)
    fits = rows_at_a_time(length, shared_bytes) > 0 and max(radices, default=1) <= LARGEST_RADIX
    return radices if fits else ()


def rows_at_a_time(length: int, shared_bytes: int) -> int:
    """As many rows as two copies of them fit into shared memory."""
    return shared_bytes // (16 * (length + (length - 1) // 8 + 1))


def transform_by_library(samples: Any) -> None:
    """Replace bins by samples along the last axis, unscaled, by cuFFT: a CuPy array, contiguous, complex64."""
    import cupy

    length = samples.shape[-1]
    _plan(length, samples.size // length).fft(samples, samples, cupy.cuda.cufft.CUFFT_INVERSE)


@lru_cache(maxsize=4)
def _plan(length: int, n_rows: int) -> Any:
    import cupy

    return cupy.cuda.cufft.Plan1d(length, cupy.cuda.cufft.CUFFT_C2C, n_rows)
