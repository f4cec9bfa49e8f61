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

# Needs the macros DEGREE and DIRECTIVITY_DEGREE.
SOURCE = r"""
struct Complex { float re, im; };

/* Of one element and one scatterer: r as a sum of two floats, argument and interval of the elevation
   polynomials, sin^2 theta, obliquity over r. */
struct Geometry { float r, r_low, offset, interval, sine2, weight; };

/* Elevation coefficients of one interval and frequency bin: six-point Lagrange interpolation in y^2. */
static __device__ void interpolate(const float *table, double place, int interval, int n_intervals,
                                   int bin, int n_bins, float *coefficients)
{
    const int n_coefficients = 2 * (DEGREE + 1);
    int row = (int)place;
    float p = (float)(place - row) + 2.0f;
    for (int j = 0; j < n_coefficients; ++j) coefficients[j] = 0.0f;
    for (int i = 0; i < 6; ++i) {
        float weight = 1.0f;
        for (int k = 0; k < 6; ++k)
            if (k != i) weight *= (p - k) / (float)(i - k);
        const float *entry =
            table + (((size_t)(row + i) * n_intervals + interval) * n_bins + bin) * n_coefficients;
        for (int j = 0; j < n_coefficients; ++j) coefficients[j] = fmaf(weight, entry[j], coefficients[j]);
    }
}

/* Conjugated response A of one element at one frequency. */
static __device__ Complex respond(Geometry element, const float *g, const float *directivity,
                                  float turns, float turns_low, float nepers)
{
    float product = turns * element.r;
    float rest = fmaf(turns, element.r, -product) + (turns * element.r_low + turns_low * element.r);
    float phase = (product - rintf(product)) + rest;
    float sine, cosine;
    sincospif(-2.0f * phase, &sine, &cosine);
    float u = element.offset, g_re = g[DEGREE], g_im = g[2 * DEGREE + 1];
    for (int j = DEGREE - 1; j >= 0; --j) {
        g_re = fmaf(g_re, u, g[j]);
        g_im = fmaf(g_im, u, g[DEGREE + 1 + j]);
    }
    float d = directivity[DIRECTIVITY_DEGREE];
    for (int j = DIRECTIVITY_DEGREE - 1; j >= 0; --j) d = fmaf(d, element.sine2, directivity[j]);
    d *= element.weight * expf(-nepers * element.r);
    Complex a;
    a.re = d * (cosine * g_re - sine * g_im);
    a.im = d * (cosine * g_im + sine * g_re);
    return a;
}

static __device__ Geometry measure(double x, double y, double z, const double *elements, int e, int tile,
                                   const double *intervals, int n_intervals, const double *steps,
                                   const double *constants)
{
    double middle = 0.5 * (elements[e / tile * tile] + elements[e / tile * tile + tile - 1]);
    double to_middle = sqrt((x - middle) * (x - middle) + y * y + z * z) - steps[1];
    int interval = (int)(fmax(to_middle, 0.0) / steps[2]);
    if (interval > n_intervals - 1) interval = n_intervals - 1;
    double dx = x - elements[e];
    double rho2 = fmax(dx * dx + z * z, 1e-30);
    double r = fmax(sqrt(dx * dx + z * z + y * y), constants[0]);
    Geometry geometry;
    geometry.r = (float)r;
    geometry.r_low = (float)(r - (double)geometry.r);
    geometry.offset = (float)(intervals[2 * interval] / r + intervals[2 * interval + 1]);
    geometry.interval = (float)interval;
    geometry.sine2 = (float)(dx * dx / rho2);
    geometry.weight = (float)((1.0 + constants[1] * (z / sqrt(rho2) - 1.0)) / r);
    return geometry;
}

/* output (frame, angle, element, bin), complex, adds to what is there; delay_phases (angle, element, bin). */
extern "C" __global__ void simulate(
    const double *positions, const Complex *reflectivity, const double *elements, const Complex *delay_phases,
    const Complex *spectrum_weights, const float *directivity, const float *table, const double *intervals,
    const double *steps, const double *wave, const double *constants, int n_geometries, int n_angles,
    int n_scatterers, int n_bins, int n_elements, int n_intervals, int tile, Complex *output)
{
    extern __shared__ Geometry geometry[];
    int frame = blockIdx.x / n_angles, angle = blockIdx.x % n_angles;
    int bin = blockIdx.y * blockDim.x + threadIdx.x;
    double exact_turns = wave[0] + bin * wave[1];
    float turns = (float)exact_turns, turns_low = (float)(exact_turns - (double)turns);
    float nepers = (float)(wave[2] + bin * wave[3]);
    const float *my_directivity = directivity + (size_t)bin * (DIRECTIVITY_DEGREE + 1);
    const Complex *fired = delay_phases + (size_t)angle * n_elements * n_bins + bin;
    Complex *received = output + (size_t)blockIdx.x * n_elements * n_bins + bin;
    const double *place = positions
        + ((size_t)frame * n_geometries + (n_geometries > 1 ? angle : 0)) * n_scatterers * 3;

    for (int s = 0; s < n_scatterers; ++s) {
        double x = place[3 * s], y = place[3 * s + 1], z = place[3 * s + 2];
        /* Absent: not finite or behind the probe; the whole thread block agrees. */
        if (!(fabs(x) < 1e3 && fabs(y) < 1e3 && z >= 0.0 && z < 1e3)) continue;
        __syncthreads();
        for (int e = threadIdx.x; e < n_elements; e += blockDim.x)
            geometry[e] = measure(x, y, z, elements, e, tile, intervals, n_intervals, steps, constants);
        __syncthreads();
        if (bin >= n_bins) continue;

        float coefficients[2 * (DEGREE + 1)];
        Complex pressure = {0.0f, 0.0f}, echo = {0.0f, 0.0f};
        for (int way = 0; way < 2; ++way) { /* transmit, then receive */
            int interval = -1;
            for (int e = 0; e < n_elements; ++e) {
                Geometry element = geometry[e];
                if ((int)element.interval != interval) {
                    interval = (int)element.interval;
                    interpolate(table, y * y / steps[0], interval, n_intervals, bin, n_bins, coefficients);
                }
                Complex a = respond(element, coefficients, my_directivity, turns, turns_low, nepers);
                if (way == 0) {
                    Complex t = fired[(size_t)e * n_bins];
                    pressure.re += a.re * t.re - a.im * t.im;
                    pressure.im += a.re * t.im + a.im * t.re;
                } else {
                    Complex *to = received + (size_t)e * n_bins;
                    to->re += echo.re * a.re - echo.im * a.im;
                    to->im += echo.re * a.im + echo.im * a.re;
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
        tables.tile,
    ]
    return [np.ascontiguousarray(array) for array in arrays] + [np.int32(size) for size in sizes]


def macros(tables: KernelTables) -> tuple[str, ...]:
    """Compiler options with the sizes that the kernel unrolls."""
    return (f"-DDEGREE={tables.degree}", f"-DDIRECTIVITY_DEGREE={tables.directivity.shape[1] - 1}")


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
