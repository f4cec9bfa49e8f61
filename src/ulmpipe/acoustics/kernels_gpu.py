"""The simulator on the GPU: one CUDA kernel, a thread for each frequency bin of ELEMENTS neighbouring elements.

The same tables and elevation polynomials as `kernels_cpu`, but exp(−ikr) is evaluated afresh for each item, with r
counted from the array's distance to the bubble: one float is then enough for a phase, and what is left out is put
back once per bubble and bin. A thread keeps the responses of its elements in registers between transmit and receive,
and the sums over the bubbles until the end; only the pressure at a bubble passes through shared memory. The source
needs no CUDA library, so that a test can compile it for the host too, with a shim over the CUDA built-ins.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.kernel_tables import KernelTables

WARP = 32  # frequency bins side by side
MOST_CHUNKS = 12  # of ELEMENTS elements: a warp each, so that a thread may have 168 registers
BINS_PER_BLOCK = 1  # in warps
BYTES_AT_ONCE = 256 * 2**20  # of samples for the host
REGISTERS = 65536  # of a multiprocessor; the kernel is compiled for as many threads as find room with 168 each

# Needs the macros ELEMENTS, TILES (elevation polynomials among them), CHUNKS, BIN_WARPS, DIRECTIVITY_DEGREE,
# ATTENUATED, SERIES (0 or 1), RESIDENT (thread blocks on a multiprocessor) and DEGREE_0 to DEGREE_4.
SOURCE = r"""
#define LANES (CHUNKS * ELEMENTS)
#define THREADS (32 * CHUNKS * BIN_WARPS)
#define STENCIL 6

struct Complex { float re, im; };

/* Of one element and one scatterer: r less the scatterer's least distance, argument of the elevation polynomial,
   sin^2 theta, obliquity over r. */
struct __align__(16) Geometry { float path, argument, sine2, weight; };

/* What the threads of a block share about one scatterer. */
struct Scene {
    Geometry elements[LANES];
    int interval[CHUNKS * TILES];
    float row_weights[STENCIL];
    int row;
    float nearest;
};

/* What all elements share at one frequency bin. */
struct Bin { float turns, nepers; float directivity[DIRECTIVITY_DEGREE + 1]; };

static __device__ __forceinline__ Complex multiply(Complex a, Complex b)
{
    Complex product = {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
    return product;
}

/* The first scatterer from s on that is there: finite, not behind the probe. */
static __device__ __forceinline__ int next_present(const double *positions, int s, int n_scatterers)
{
    for (; s < n_scatterers; ++s) {
        const double *at = positions + 3 * s;
        if (fabs(at[0]) < 1e3 && fabs(at[1]) < 1e3 && at[2] >= 0.0 && at[2] < 1e3) break;
    }
    return s;
}

/* Interval of the elevation table that serves the elements first to last. */
static __device__ __forceinline__ int find_interval(double x, float across, const double *elements, int first,
                                                    int last, const double *steps, int n_intervals)
{
    float outside = (float)fmax(fmax(elements[first] - x, x - elements[last]), 0.0);
    float ratio = sqrtf(outside * outside + across) / (float)steps[1];
    int interval = (int)(logf(fmaxf(ratio, 1.0f)) / (float)steps[2]);
    return interval < n_intervals - 1 ? interval : n_intervals - 1;
}

/* All of a scatterer's geometry, by all threads of the block. constants: shortest distance, soft baffle, spherical. */
static __device__ __forceinline__ void measure(Scene *scene, const double *position, const double *elements,
                                               const double *intervals, int n_intervals, const double *steps,
                                               const double *constants, int n_elements, int tile)
{
    const double x = position[0], y = position[1] * constants[2], z = position[2];
    const double across = z * z + y * y;
    const float shortest = (float)constants[0], soft = (float)constants[1];
    const float outside = (float)fmax(fmax(elements[0] - x, x - elements[n_elements - 1]), 0.0);
    const float nearest = fmaxf(sqrtf(outside * outside + (float)across), shortest);

    for (int e = threadIdx.x; e < LANES; e += THREADS) {
        const int first = TILES > 1 ? e / tile * tile : 0, last = TILES > 1 ? first + tile - 1 : tile - 1;
        const int interval = find_interval(x, (float)across, elements, first, last, steps, n_intervals);
        if (e == first || (TILES == 1 && e % ELEMENTS == 0)) scene->interval[e * TILES / ELEMENTS] = interval;
        const double dx = x - elements[e], squared = dx * dx + across;
        float r = sqrtf((float)squared);
        float low = 0.5f * (float)(squared - (double)r * (double)r) / fmaxf(r, 1e-15f);
        if (r < shortest) { r = shortest; low = 0.0f; }
        const float dx2 = (float)dx * (float)dx;
        const float rho2 = fmaxf(dx2 + (float)z * (float)z, 1e-30f);
        const float spreading = constants[2] > 0.0 ? 1.0f / r : 1.0f / sqrtf(r);
        Geometry geometry;
        geometry.path = (r - nearest) + low;
        geometry.argument = (float)intervals[2 * interval] / r + (float)intervals[2 * interval + 1];
        geometry.sine2 = dx2 / rho2;
        geometry.weight = e < n_elements ? (1.0f + soft * ((float)z / sqrtf(rho2) - 1.0f)) * spreading : 0.0f;
        scene->elements[e] = geometry;
    }
    /* six-point Lagrange interpolation in y^2 */
    const double place = y * y / steps[0];
    const int row = (int)place;
    if (threadIdx.x < STENCIL) {
        const float p = (float)(place - row) + 2.0f;
        float weight = 1.0f;
        for (int k = 0; k < STENCIL; ++k)
            if (k != (int)threadIdx.x) weight *= (p - k) / (float)((int)threadIdx.x - k);
        scene->row_weights[threadIdx.x] = weight;
        scene->row = row;
        scene->nearest = nearest;
    }
}

/* Elevation polynomial, of powers or, by Clenshaw's recurrence, a Chebyshev series. */
template <int DEGREE>
static __device__ __forceinline__ float evaluate(const float *g, float u)
{
    float value = g[DEGREE];
    if (!SERIES) {
        #pragma unroll
        for (int j = DEGREE - 1; j >= 0; --j) value = fmaf(value, u, g[j]);
        return value;
    }
    float above = 0.0f;
    #pragma unroll
    for (int j = DEGREE - 1; j > 0; --j) {
        float next = fmaf(value, 2.0f * u, g[j] - above);
        above = value;
        value = next;
    }
    return fmaf(value, u, g[0] - above);
}

/* Elevation coefficients of one bin, interval and part (real or imaginary), interpolated between rows. */
template <int DEGREE>
static __device__ __forceinline__ void interpolate(const Scene *scene, const float *entry, size_t row_size, int n_bins,
                                                   float *g)
{
    #pragma unroll
    for (int j = 0; j <= DEGREE; ++j) g[j] = 0.0f;
    const int at_once = DEGREE > 6 ? 1 : 3;
    #pragma unroll at_once
    for (int i = 0; i < STENCIL; ++i) {
        const float weight = scene->row_weights[i];
        #pragma unroll
        for (int j = 0; j <= DEGREE; ++j) g[j] = fmaf(weight, entry[i * row_size + j * n_bins], g[j]);
    }
}

/* Conjugated responses of the elements of one tile, less exp(-ik nearest). real, imaginary: table of this bin and
   interval. High degrees take one part after the other, to need fewer registers. */
template <int DEGREE>
static __device__ __forceinline__ void respond(const Scene *scene, int first, const Bin &here, const float *real,
                                               const float *imaginary, size_t row_size, int n_bins,
                                               Complex *responses)
{
    const int SPLIT = DEGREE > 6;
    float g[2][DEGREE + 1];
    interpolate<DEGREE>(scene, real, row_size, n_bins, g[0]);
    if (SPLIT) {
        #pragma unroll
        for (int e = 0; e < ELEMENTS / TILES; ++e)
            responses[e].re = evaluate<DEGREE>(g[0], scene->elements[first + e].argument);
    }
    interpolate<DEGREE>(scene, imaginary, row_size, n_bins, g[1]);
    #pragma unroll
    for (int e = 0; e < ELEMENTS / TILES; ++e) {
        const Geometry element = scene->elements[first + e];
        /* the turns' fraction, from which the rounded product is taken off exactly; adding 1.5 * 2^23 rounds */
        const float whole = fmaf(here.turns, element.path, 12582912.0f) - 12582912.0f;
        const float radians = 6.28318531f * fmaf(here.turns, element.path, -whole);
        float sine, cosine;
        __sincosf(radians, &sine, &cosine);
        float d = here.directivity[DIRECTIVITY_DEGREE];
        #pragma unroll
        for (int j = DIRECTIVITY_DEGREE - 1; j >= 0; --j) d = fmaf(d, element.sine2, here.directivity[j]);
        d *= element.weight;
        if (ATTENUATED) d *= __expf(-here.nepers * element.path);
        const float g_re = d * (SPLIT ? responses[e].re : evaluate<DEGREE>(g[0], element.argument));
        const float g_im = d * evaluate<DEGREE>(g[1], element.argument);
        responses[e].re = cosine * g_re + sine * g_im;
        responses[e].im = cosine * g_im - sine * g_re;
    }
}

/* Spectra of the channels: output (frame, angle, element, row_length), bins where an inverse transform wants them.
   fired (angle, chunk, bin): exp(-i omega delay) of the first element of a chunk; fired_step (angle, bin): of each
   element over the one before it. directivity (coefficient, bin); table (row, interval, part and power, bin). */
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) simulate(
    const double *positions, const Complex *reflectivity, const double *elements, const Complex *fired,
    const Complex *fired_step, const Complex *spectrum_weights, const float *directivity, const float *table,
    const int *degrees, const double *intervals, const double *steps, const double *wave, const double *constants,
    int n_geometries, int n_angles, int n_scatterers, int n_bins, int n_elements, int n_intervals, int n_powers,
    int tile, int row_length, Complex *output)
{
    __shared__ Scene scenes[2];
    __shared__ Complex sums[2][THREADS];
    const int frame = blockIdx.x / n_angles, angle = blockIdx.x % n_angles;
    const int warp = threadIdx.x / 32, chunk = warp % CHUNKS;
    const int wanted_bin = (blockIdx.y * BIN_WARPS + warp / CHUNKS) * 32 + threadIdx.x % 32;
    const int bin = wanted_bin < n_bins ? wanted_bin : n_bins - 1; /* idle threads repeat the last bin */
    const double exact_turns = wave[0] + bin * wave[1];
    Bin here;
    here.turns = (float)exact_turns;
    here.nepers = (float)(wave[2] + bin * wave[3]);
    #pragma unroll
    for (int j = 0; j <= DIRECTIVITY_DEGREE; ++j) here.directivity[j] = directivity[j * n_bins + bin];
    const Complex first_fired = fired[(angle * CHUNKS + chunk) * n_bins + bin];
    const Complex step = fired_step[angle * n_bins + bin];
    const size_t row_size = (size_t)n_intervals * 2 * n_powers * n_bins;
    const double *from = positions
        + ((size_t)frame * n_geometries + (n_geometries > 1 ? angle : 0)) * n_scatterers * 3;

    Complex received[ELEMENTS];
    #pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) received[e].re = received[e].im = 0.0f;

    int s = next_present(from, 0, n_scatterers);
    if (s < n_scatterers)
        measure(&scenes[0], from + 3 * s, elements, intervals, n_intervals, steps, constants, n_elements, tile);
    __syncthreads();
    for (int turn = 0; s < n_scatterers; turn ^= 1) {
        const Scene *scene = &scenes[turn];
        const int next = next_present(from, s + 1, n_scatterers);
        if (next < n_scatterers)
            measure(&scenes[turn ^ 1], from + 3 * next, elements, intervals, n_intervals, steps, constants,
                    n_elements, tile);

        Complex responses[ELEMENTS];
        #pragma unroll
        for (int t = 0; t < TILES; ++t) {
            const int interval = scene->interval[chunk * TILES + t];
            const float *entry = table + scene->row * row_size + (size_t)interval * 2 * n_powers * n_bins + bin;
            #define RESPOND(DEGREE) \
                respond<DEGREE>(scene, chunk * ELEMENTS + t * (ELEMENTS / TILES), here, entry, \
                                entry + n_powers * n_bins, row_size, n_bins, responses + t * (ELEMENTS / TILES))
            switch (degrees[scene->row * n_intervals + interval]) {
            case 0: RESPOND(DEGREE_0); break;
            case 1: RESPOND(DEGREE_1); break;
            case 2: RESPOND(DEGREE_2); break;
            case 3: RESPOND(DEGREE_3); break;
            default: RESPOND(DEGREE_4);
            }
        }
        /* what the elements fire differs by one factor from each to the next: Horner's rule */
        Complex pressure = responses[ELEMENTS - 1];
        #pragma unroll
        for (int e = ELEMENTS - 2; e >= 0; --e) {
            Complex sum = {fmaf(pressure.re, step.re, fmaf(-pressure.im, step.im, responses[e].re)),
                           fmaf(pressure.re, step.im, fmaf(pressure.im, step.re, responses[e].im))};
            pressure = sum;
        }
        sums[turn][threadIdx.x] = multiply(pressure, first_fired);
        const float nearest = scene->nearest; /* from here on threads may be measuring the scatterer after the next */
        __syncthreads();
        pressure.re = pressure.im = 0.0f;
        #pragma unroll
        for (int c = 0; c < CHUNKS; ++c) {
            Complex part = sums[turn][threadIdx.x + 32 * (c - chunk)];
            pressure.re += part.re;
            pressure.im += part.im;
        }
        /* there and back at the nearest distance, which the responses left out */
        const double both_ways = 2.0 * exact_turns * nearest;
        Complex there_and_back;
        __sincosf(6.28318531f * (float)(both_ways - rint(both_ways)), &there_and_back.im, &there_and_back.re);
        const float kept = ATTENUATED ? __expf(-2.0f * here.nepers * nearest) : 1.0f;
        there_and_back.re *= kept;
        there_and_back.im *= -kept;
        const Complex strength
            = multiply(reflectivity[(size_t)frame * n_scatterers + s], spectrum_weights[bin]);
        const Complex echo = multiply(multiply(strength, there_and_back), pressure);
        #pragma unroll
        for (int e = 0; e < ELEMENTS; ++e) {
            received[e].re = fmaf(echo.re, responses[e].re, fmaf(-echo.im, responses[e].im, received[e].re));
            received[e].im = fmaf(echo.re, responses[e].im, fmaf(echo.im, responses[e].re, received[e].im));
        }
        s = next;
    }
    if (wanted_bin >= n_bins) return;
    const int offset = bin - n_bins / 2, column = offset < 0 ? offset + row_length : offset;
    Complex *to = output + ((size_t)blockIdx.x * n_elements + chunk * ELEMENTS) * row_length + column;
    #pragma unroll
    for (int e = 0; e < ELEMENTS; ++e)
        if (chunk * ELEMENTS + e < n_elements) to[(size_t)e * row_length] = received[e];
}
"""


def elements_per_thread(tables: KernelTables) -> int:
    """16 or 32 of the padded elements, more only where the array is longer than the registers like."""
    least = 32 if len(tables.elements) % 32 == 0 else 16
    return max(least, 32 * math.ceil(len(tables.elements) / (32 * MOST_CHUNKS)))


def launch_shape(n_events: int, tables: KernelTables) -> tuple[tuple[int, int], int]:
    """Thread blocks and threads of each for a number of (frame, angle) events."""
    n_chunks = math.ceil(len(tables.elements) / elements_per_thread(tables))
    n_bins = tables.delay_phases.shape[1]
    return (n_events, math.ceil(n_bins / (WARP * BINS_PER_BLOCK))), WARP * n_chunks * BINS_PER_BLOCK


def table_arguments(tables: KernelTables) -> tuple[NDArray[Any], ...]:
    """The kernel's arrays that do not depend on the scatterers, as it wants them."""
    per_thread = elements_per_thread(tables)
    n_lanes = per_thread * math.ceil(len(tables.elements) / per_thread)
    pitch = tables.elements[1] - tables.elements[0]
    phases = tables.delay_phases.astype(np.float64)
    fired = np.ascontiguousarray((phases[:, :, 0] + 1j * phases[:, :, 1]).transpose(0, 2, 1))
    steps = fired[:, 1] / fired[:, 0] if tables.n_elements > 1 else np.ones_like(fired[:, 0])
    arrays = (
        tables.elements[0] + np.arange(n_lanes) * pitch,
        fired[:, ::per_thread].astype(np.complex64),
        (steps / np.abs(steps)).astype(np.complex64),
        tables.spectrum_weights,
        tables.directivity.T,
        tables.elevation.transpose(0, 1, 3, 2),
        tables.degrees.astype(np.int32),
        tables.intervals,
        np.array(tables.steps, dtype=np.float64),
        np.array([*tables.wave_turns, *tables.nepers], dtype=np.float64),
        np.array(tables.constants, dtype=np.float64),
    )
    return tuple(np.ascontiguousarray(array) for array in arrays)


def size_arguments(n_geometries: int, n_scatterers: int, row_length: int, tables: KernelTables) -> list[np.int32]:
    """The kernel's whole numbers, which follow the arrays and precede the output."""
    n_angles, n_bins = tables.delay_phases.shape[:2]
    sizes = [
        n_geometries,
        n_angles,
        n_scatterers,
        n_bins,
        tables.n_elements,
        len(tables.intervals),
        tables.elevation.shape[-1] // 2,
        tables.tile,
        row_length,
    ]
    return [np.int32(size) for size in sizes]


def macros(tables: KernelTables) -> tuple[str, ...]:
    """Compiler options with the sizes that the kernel unrolls."""
    per_thread = elements_per_thread(tables)
    n_threads = launch_shape(1, tables)[1]
    values = {
        "ELEMENTS": per_thread,
        "TILES": per_thread // tables.tile if tables.tile < len(tables.elements) else 1,
        "CHUNKS": math.ceil(len(tables.elements) / per_thread),
        "BIN_WARPS": BINS_PER_BLOCK,
        "RESIDENT": max(1, REGISTERS // (168 * n_threads)),
        "DIRECTIVITY_DEGREE": tables.directivity.shape[1] - 1,
        "ATTENUATED": int(any(tables.nepers)),
        "SERIES": int(tables.series),
        **{f"DEGREE_{i}": degree for i, degree in enumerate(tables.compiled_degrees)},
    }
    return tuple(f"-D{name}={value}" for name, value in values.items())


def simulate_samples(
    positions: NDArray[np.float64],
    reflectivity: NDArray[np.complex64],
    tables: KernelTables,
    *,
    oversampling: int,
    samples: Any,
) -> None:
    """Fill baseband samples as `kernels_cpu.simulate_samples` does, by the current CUDA device.

    Parameters
    ----------
    samples : numpy.ndarray or cupy.ndarray
        NumPy's are copied from the device some frames at a time, which bounds its memory.
    """
    import cupy

    on_device = isinstance(samples, cupy.ndarray)
    at_once = len(samples) if on_device else max(1, BYTES_AT_ONCE // max(1, samples[0].nbytes))
    for first in range(0, len(samples), at_once):
        part = slice(first, first + at_once)
        target = samples[part] if on_device else cupy.empty(samples[part].shape, np.complex64)
        _simulate(positions[part], reflectivity[part], tables, oversampling, target)
        if not on_device:
            samples[part] = target.get()


def _simulate(
    positions: NDArray[np.float64],
    reflectivity: NDArray[np.complex64],
    tables: KernelTables,
    oversampling: int,
    samples: Any,
) -> None:
    import cupy

    n_frames, n_geometries, n_scatterers = positions.shape[:3]
    n_angles, n_elements, row_length = samples.shape[1:]
    if oversampling > 1:
        samples[...] = 0  # the bins beyond the band
    grid, n_threads = launch_shape(n_frames * n_angles, tables)
    arguments = (
        cupy.asarray(positions),
        cupy.asarray(reflectivity),
        *_on_device(tables),
        *size_arguments(n_geometries, n_scatterers, row_length, tables),
        samples,
    )
    _compiled(macros(tables))(grid, (n_threads,), arguments)
    inverse = cupy.cuda.cufft.CUFFT_INVERSE
    _transform(row_length, n_frames * n_angles * n_elements).fft(samples, samples, inverse)


@lru_cache(maxsize=4)
def _transform(length: int, batch: int) -> Any:
    import cupy

    return cupy.cuda.cufft.Plan1d(length, cupy.cuda.cufft.CUFFT_C2C, batch)


@lru_cache(maxsize=4)
def _on_device(tables: KernelTables) -> tuple[Any, ...]:
    import cupy

    return tuple(cupy.asarray(array) for array in table_arguments(tables))


@lru_cache(maxsize=8)
def _compiled(options: tuple[str, ...]) -> Any:
    import cupy

    return cupy.RawKernel(SOURCE, "simulate", options=("--std=c++14", *options))
