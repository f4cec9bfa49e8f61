"""The simulator on the GPU: one CUDA kernel, a thread block per (frame, angle) and a thread per frequency bin.

The same tables and elevation polynomials as `kernels_cpu`, but exp(−ikr) is evaluated afresh for each item,
with the phase in turns as a sum of two floats. The source needs no CUDA library, so that a test can compile it
for the host too, with a shim over the CUDA built-ins.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.baseband import place_bins
from ulmpipe.acoustics.kernel_tables import KernelTables

MOST_THREADS = 256  # frequency bins of a thread block; more bins make more blocks
ROWS = 6  # shared floats per element

# Needs the macros DIRECTIVITY_DEGREE, SERIES (0 or 1) and DEGREE_0 to DEGREE_4.
SOURCE = r"""
struct Complex { float re, im; };

/* Of one element and one scatterer: r as a sum of two floats, argument and interval of the elevation
   polynomials, sin^2 theta, obliquity over r. */
struct Geometry { float r, r_low, argument, interval, sine2, weight; };

/* What all elements share at one frequency bin. */
struct Bin {
    const float *table, *directivity;
    int n_intervals, n_powers, bin, n_bins;
    float turns, turns_low, nepers;
};

/* Elevation coefficients of one interval and frequency bin: six-point Lagrange interpolation in y^2. */
template <int DEGREE>
static __device__ void interpolate(const Bin &here, double place, int interval, float *coefficients)
{
    int row = (int)place;
    float p = (float)(place - row) + 2.0f;
    for (int j = 0; j < 2 * (DEGREE + 1); ++j) coefficients[j] = 0.0f;
    for (int i = 0; i < 6; ++i) {
        float weight = 1.0f;
        for (int k = 0; k < 6; ++k)
            if (k != i) weight *= (p - k) / (float)(i - k);
        const float *entry = here.table
            + (((size_t)(row + i) * here.n_intervals + interval) * here.n_bins + here.bin) * 2 * here.n_powers;
        for (int j = 0; j <= DEGREE; ++j) {
            coefficients[j] = fmaf(weight, entry[j], coefficients[j]);
            coefficients[DEGREE + 1 + j] = fmaf(weight, entry[here.n_powers + j], coefficients[DEGREE + 1 + j]);
        }
    }
}

/* Elevation polynomial, of powers or, by Clenshaw's recurrence, a Chebyshev series. */
template <int DEGREE>
static __device__ float evaluate(const float *g, float u)
{
    float value = g[DEGREE];
    if (!SERIES) {
        for (int j = DEGREE - 1; j >= 0; --j) value = fmaf(value, u, g[j]);
        return value;
    }
    float above = 0.0f;
    for (int j = DEGREE - 1; j > 0; --j) {
        float next = fmaf(value, 2.0f * u, g[j] - above);
        above = value;
        value = next;
    }
    return fmaf(value, u, g[0] - above);
}

/* Conjugated response A of one element at one frequency. */
template <int DEGREE>
static __device__ Complex respond(const Geometry &element, const float *g, const Bin &here)
{
    float product = here.turns * element.r;
    float rest = fmaf(here.turns, element.r, -product)
        + (here.turns * element.r_low + here.turns_low * element.r);
    float phase = (product - rintf(product)) + rest;
    float sine, cosine;
    sincospif(-2.0f * phase, &sine, &cosine);
    float g_re = evaluate<DEGREE>(g, element.argument);
    float g_im = evaluate<DEGREE>(g + DEGREE + 1, element.argument);
    float d = here.directivity[DIRECTIVITY_DEGREE];
    for (int j = DIRECTIVITY_DEGREE - 1; j >= 0; --j) d = fmaf(d, element.sine2, here.directivity[j]);
    d *= element.weight * expf(-here.nepers * element.r);
    Complex a;
    a.re = d * (cosine * g_re - sine * g_im);
    a.im = d * (cosine * g_im + sine * g_re);
    return a;
}

/* Elements first to last: add the pressure that `fired` makes at the scatterer, or, where there is an echo, what
   each element receives of it. */
template <int DEGREE>
static __device__ void transfer(const Geometry *geometry, int first, int last, const Bin &here, double place,
                                const Complex *fired, Complex *pressure, const Complex *echo, Complex *received)
{
    float coefficients[2 * (DEGREE + 1)];
    interpolate<DEGREE>(here, place, (int)geometry[first].interval, coefficients);
    for (int e = first; e < last; ++e) {
        Complex a = respond<DEGREE>(geometry[e], coefficients, here);
        if (echo) {
            Complex *to = received + (size_t)e * here.n_bins;
            to->re += echo->re * a.re - echo->im * a.im;
            to->im += echo->re * a.im + echo->im * a.re;
        } else {
            Complex t = fired[(size_t)e * here.n_bins];
            pressure->re += a.re * t.re - a.im * t.im;
            pressure->im += a.re * t.im + a.im * t.re;
        }
    }
}

static __device__ Geometry measure(double x, double y, double z, const double *elements, int e, int tile,
                                   const double *intervals, int n_intervals, const double *steps,
                                   const double *constants)
{
    double left = elements[e / tile * tile], right = elements[e / tile * tile + tile - 1];
    double outside = fmax(fmax(left - x, x - right), 0.0);
    double to_tile = sqrt(outside * outside + y * y + z * z);
    int interval = (int)(log(fmax(to_tile / steps[1], 1.0)) / steps[2]);
    if (interval > n_intervals - 1) interval = n_intervals - 1;
    double dx = x - elements[e];
    double rho2 = fmax(dx * dx + z * z, 1e-30);
    double r = fmax(sqrt(dx * dx + z * z + y * y), constants[0]);
    Geometry geometry;
    geometry.r = (float)r;
    geometry.r_low = (float)(r - (double)geometry.r);
    geometry.argument = (float)(intervals[2 * interval] / r + intervals[2 * interval + 1]);
    geometry.interval = (float)interval;
    geometry.sine2 = (float)(dx * dx / rho2);
    double spreading = constants[2] > 0.0 ? 1.0 / r : 1.0 / sqrt(r);
    geometry.weight = (float)((1.0 + constants[1] * (z / sqrt(rho2) - 1.0)) * spreading);
    return geometry;
}

/* output (frame, angle, element, bin), complex, adds to what is there; delay_phases (angle, element, bin). */
extern "C" __global__ void simulate(
    const double *positions, const Complex *reflectivity, const double *elements, const Complex *delay_phases,
    const Complex *spectrum_weights, const float *directivity, const float *table, const int *degrees,
    const double *intervals, const double *steps, const double *wave, const double *constants,
    int n_geometries, int n_angles, int n_scatterers, int n_bins, int n_elements, int n_intervals,
    int n_powers, int tile, Complex *output)
{
    extern __shared__ Geometry geometry[];
    int frame = blockIdx.x / n_angles, angle = blockIdx.x % n_angles;
    int bin = blockIdx.y * blockDim.x + threadIdx.x;
    double exact_turns = wave[0] + bin * wave[1];
    Bin here = {table, directivity + (size_t)bin * (DIRECTIVITY_DEGREE + 1), n_intervals, n_powers, bin,
                n_bins, (float)exact_turns, (float)(exact_turns - (double)(float)exact_turns),
                (float)(wave[2] + bin * wave[3])};
    const Complex *fired = delay_phases + (size_t)angle * n_elements * n_bins + bin;
    Complex *received = output + (size_t)blockIdx.x * n_elements * n_bins + bin;
    const double *from = positions
        + ((size_t)frame * n_geometries + (n_geometries > 1 ? angle : 0)) * n_scatterers * 3;

    for (int s = 0; s < n_scatterers; ++s) {
        double x = from[3 * s], y = from[3 * s + 1], z = from[3 * s + 2];
        /* Absent: not finite or behind the probe; the whole thread block agrees. */
        if (!(fabs(x) < 1e3 && fabs(y) < 1e3 && z >= 0.0 && z < 1e3)) continue;
        y *= constants[2];
        __syncthreads();
        for (int e = threadIdx.x; e < n_elements; e += blockDim.x)
            geometry[e] = measure(x, y, z, elements, e, tile, intervals, n_intervals, steps, constants);
        __syncthreads();
        if (bin >= n_bins) continue;

        double place = y * y / steps[0];
        Complex pressure = {0.0f, 0.0f}, echo;
        for (int way = 0; way < 2; ++way) { /* transmit, then receive */
            for (int first = 0; first < n_elements; first += tile) {
                int last = first + tile < n_elements ? first + tile : n_elements;
                int degree = degrees[(int)place * n_intervals + (int)geometry[first].interval];
                const Complex *answer = way ? &echo : nullptr;
                #define TRANSFER(DEGREE) \
                    transfer<DEGREE>(geometry, first, last, here, place, fired, &pressure, answer, received)
                switch (degree) {
                case 0: TRANSFER(DEGREE_0); break;
                case 1: TRANSFER(DEGREE_1); break;
                case 2: TRANSFER(DEGREE_2); break;
                case 3: TRANSFER(DEGREE_3); break;
                default: TRANSFER(DEGREE_4);
                }
            }
            Complex rc = reflectivity[(size_t)frame * n_scatterers + s], w = spectrum_weights[bin];
            float w_re = rc.re * w.re - rc.im * w.im, w_im = rc.re * w.im + rc.im * w.re;
            echo.re = w_re * pressure.re - w_im * pressure.im;
            echo.im = w_re * pressure.im + w_im * pressure.re;
        }
    }
}
"""


def device_available() -> bool:
    """Whether CuPy is installed and finds a CUDA device."""
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount() > 0)
    except Exception:  # CuPy without a driver raises errors of its own
        return False


def kernel_arguments(
    positions: NDArray[np.float64], reflectivity: NDArray[np.complex64], tables: KernelTables
) -> list[Any]:
    """Arguments of the kernel `simulate` in order, NumPy arrays and int32, without the output."""
    n_angles, n_bins = tables.delay_phases.shape[:2]
    phases = tables.delay_phases[..., : tables.n_elements].transpose(0, 3, 1, 2)
    arrays = [
        positions,
        reflectivity,
        tables.elements,
        phases,
        tables.spectrum_weights,
        tables.directivity,
        tables.elevation,
        tables.degrees.astype(np.int32),
        tables.intervals,
        np.array(tables.steps, dtype=np.float64),
        np.array([*tables.wave_turns, *tables.nepers], dtype=np.float64),
        np.array(tables.constants, dtype=np.float64),
    ]
    n_geometries, n_scatterers = positions.shape[1:3]
    sizes = [
        n_geometries,
        n_angles,
        n_scatterers,
        n_bins,
        tables.n_elements,
        len(tables.intervals),
        tables.elevation.shape[-1] // 2,
        tables.tile,
    ]
    return [np.ascontiguousarray(array) for array in arrays] + [np.int32(size) for size in sizes]


def macros(tables: KernelTables) -> tuple[str, ...]:
    """Compiler options with the sizes that the kernel unrolls."""
    degrees = (f"-DDEGREE_{i}={degree}" for i, degree in enumerate(tables.compiled_degrees))
    return (
        f"-DDIRECTIVITY_DEGREE={tables.directivity.shape[1] - 1}",
        f"-DSERIES={int(tables.series)}",
        *degrees,
    )


def simulate_samples(
    positions: NDArray[np.float64],
    reflectivity: NDArray[np.complex64],
    tables: KernelTables,
    *,
    oversampling: int,
) -> NDArray[np.complex64]:
    """Baseband samples as from `kernels_cpu.simulate_samples`, computed by the current CUDA device."""
    import cupy

    n_frames = len(positions)
    n_angles, n_bins = tables.delay_phases.shape[:2]
    spectra = cupy.zeros((n_frames, n_angles, tables.n_elements, n_bins), dtype=cupy.complex64)
    arguments = [
        cupy.asarray(argument) if isinstance(argument, np.ndarray) else argument
        for argument in kernel_arguments(positions, reflectivity, tables)
    ]
    threads = min(MOST_THREADS, 32 * -(-n_bins // 32))
    grid = (n_frames * n_angles, -(-n_bins // threads))
    shared_bytes = 4 * ROWS * tables.n_elements
    _compile(macros(tables))(grid, (threads,), (*arguments, spectra), shared_mem=shared_bytes)
    padded = cupy.zeros((*spectra.shape[:-1], n_bins * oversampling), dtype=cupy.complex64)
    place_bins(spectra, padded)
    samples = cupy.fft.ifft(padded, norm="forward")
    return cupy.asnumpy(samples).astype(np.complex64, copy=False)


@lru_cache(maxsize=8)
def _compile(options: tuple[str, ...]) -> Any:
    import cupy

    return cupy.RawKernel(SOURCE, "simulate", options=("--std=c++14", *options))
