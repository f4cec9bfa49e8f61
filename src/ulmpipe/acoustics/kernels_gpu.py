"""The simulator on the GPU: geometry of each bubble first, then a thread for a frequency bin of 32 elements.

The same tables and elevation polynomials as `kernels_cpu`, but exp(−ikr) is evaluated afresh for each item, with r
counted from the array's mean distance to the bubble: one float is then enough for a phase, and what is left out is
put back once per bubble and bin. Between transmit and receive the responses wait in shared memory; the sums over the
bubbles stay in registers until the end. The source needs no CUDA library, so that a test can compile it for the host
too, with a shim over the CUDA built-ins.
"""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.kernel_tables import KernelTables
from ulmpipe.acoustics.transform_gpu import inverse_transform

WARP = 32  # frequency bins side by side
PREPARING_THREADS = 128
PARTS = 3  # of the frames, in two streams
BYTES_AT_ONCE = 256 * 2**20  # of what is prepared, and of samples for the host
REGISTERS, REGISTERS_OF_THREAD = 65536, 128  # of a multiprocessor, and what the kernel is given of them

# Needs the macros ELEMENTS (of a thread), TILES (elevation polynomials among them), CHUNKS (of ELEMENTS elements), SETS
# (of elevation polynomials), DIRECTIVITY_DEGREE, ATTENUATED, SERIES (0 or 1), RESIDENT (thread blocks that share a
# multiprocessor) and DEGREE_0 to DEGREE_4.
SOURCE = r"""
#define LANES (CHUNKS * ELEMENTS)
#define THREADS (32 * CHUNKS)
#define STENCIL 6

struct __align__(8) Complex { float re, im; };

/* Of one element and one scatterer: r less the scatterer's mean distance, argument of the elevation polynomial,
   sin^2 theta, obliquity over r. */
struct __align__(16) Geometry { float path, argument, sine2, weight; };

static __device__ __forceinline__ Complex multiply(Complex a, Complex b)
{
    Complex product = {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
    return product;
}

/* What of a scatterer does not depend on elements and bins together, by a thread block: its geometry (scatterer, lane),
   its elevation polynomials (scatterer, set, part and power, bin), interpolated between the rows of the table, their
   degrees (scatterer, set), -1 if it is absent, and its mean distance, half way from the least to the largest. A set
   serves `tile` elements.
   table (row, interval, part and power, bin); constants: shortest distance, soft baffle, spherical waves. */
extern "C" __global__ void prepare(
    const double *positions, const double *elements, const float *table, const int *degrees, const double *intervals,
    const double *steps, const double *constants, int n_bins, int n_elements, int n_intervals, int n_powers,
    int tile, Geometry *geometry, float *polynomials, int *chosen_degrees, float *mean_distances)
{
    __shared__ int chosen[SETS];
    const int compiled[] = {DEGREE_0, DEGREE_1, DEGREE_2, DEGREE_3, DEGREE_4};
    const double *position = positions + 3 * (size_t)blockIdx.x;
    const double x = position[0], y = position[1] * constants[2], z = position[2];
    if (!(fabs(x) < 1e3 && fabs(position[1]) < 1e3 && z >= 0.0 && z < 1e3)) {
        if (threadIdx.x < SETS) chosen_degrees[(size_t)blockIdx.x * SETS + threadIdx.x] = -1;
        return;
    }
    const double across = z * z + y * y;
    const float shortest = (float)constants[0], soft = (float)constants[1];
    const float outside = (float)fmax(fmax(elements[0] - x, x - elements[n_elements - 1]), 0.0);
    const float opposite = (float)fmax(fabs(elements[0] - x), fabs(x - elements[n_elements - 1]));
    const float mean = 0.5f * (sqrtf(outside * outside + (float)across) + sqrtf(opposite * opposite + (float)across));
    const double place = y * y / steps[0];
    const int row = (int)place;

    if (threadIdx.x == 0) mean_distances[blockIdx.x] = mean;
    for (int set = threadIdx.x; set < SETS; set += blockDim.x) {
        const double left = elements[set * tile], right = elements[set * tile + tile - 1];
        const double apart = fmax(fmax(left - x, x - right), 0.0);
        const double ratio = sqrt(apart * apart + across) / steps[1];
        int interval = (int)(logf(fmaxf((float)ratio, 1.0f)) / (float)steps[2]);
        if (interval > n_intervals - 1) interval = n_intervals - 1;
        chosen[set] = interval;
        chosen_degrees[(size_t)blockIdx.x * SETS + set] = degrees[row * n_intervals + interval];
    }
    __syncthreads();
    for (int e = threadIdx.x; e < LANES; e += blockDim.x) {
        const int interval = chosen[SETS > 1 ? e / tile : 0];
        const double dx = x - elements[e], squared = dx * dx + across;
        float r = sqrtf((float)squared);
        float low = 0.5f * (float)(squared - (double)r * (double)r) / fmaxf(r, 1e-15f);
        if (r < shortest) { r = shortest; low = 0.0f; }
        const float dx2 = (float)dx * (float)dx;
        const float rho2 = fmaxf(dx2 + (float)z * (float)z, 1e-30f);
        const float spreading = constants[2] > 0.0 ? 1.0f / r : 1.0f / sqrtf(r);
        Geometry own;
        own.path = (r - mean) + low;
        own.argument = (float)intervals[2 * interval] / r + (float)intervals[2 * interval + 1];
        own.sine2 = dx2 / rho2;
        own.weight = e < n_elements ? (1.0f + soft * ((float)z / sqrtf(rho2) - 1.0f)) * spreading : 0.0f;
        geometry[(size_t)blockIdx.x * LANES + e] = own;
    }
    /* six-point Lagrange interpolation in y^2 */
    const float p = (float)(place - row) + 2.0f;
    const float denominators[STENCIL] = {-120.0f, 24.0f, -12.0f, 12.0f, -24.0f, 120.0f};
    float weights[STENCIL];
    #pragma unroll
    for (int i = 0; i < STENCIL; ++i) {
        weights[i] = 1.0f / denominators[i];
        #pragma unroll
        for (int k = 0; k < STENCIL; ++k)
            if (k != i) weights[i] *= p - k;
    }
    const int row_size = n_intervals * 2 * n_powers * n_bins;
    for (int set = 0; set < SETS; ++set) {
        const int n_wanted = compiled[degrees[row * n_intervals + chosen[set]]] + 1;
        const float *from = table + (size_t)row * row_size + chosen[set] * 2 * n_powers * n_bins;
        float *to = polynomials + ((size_t)blockIdx.x * SETS + set) * 2 * POWERS * n_bins;
        for (int bin = threadIdx.x; bin < n_bins; bin += blockDim.x)
            #pragma unroll 2
            for (int i = 0; i < 2 * n_wanted; ++i) {
                const int part = i >= n_wanted, power = i - part * n_wanted;
                const float *entry = from + (part * n_powers + power) * n_bins + bin;
                float sum = 0.0f;
                #pragma unroll
                for (int k = 0; k < STENCIL; ++k, entry += row_size) sum = fmaf(weights[k], *entry, sum);
                to[(part * POWERS + power) * n_bins + bin] = sum;
            }
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

/* What all elements share at one frequency bin. */
struct Bin { float radians, nepers, directivity[DIRECTIVITY_DEGREE + 1]; Complex step; };

/* Of two neighbouring elements. */
struct __align__(16) Pair { float re_0, im_0, re_1, im_1; };

/* An elevation polynomial of one bin: real and imaginary part. */
struct Polynomial { float re[POWERS], im[POWERS]; };

static __device__ __forceinline__ void read(const float *from, int n_bins, Polynomial &polynomial)
{
    #pragma unroll
    for (int j = 0; j < POWERS; ++j) {
        polynomial.re[j] = from[j * n_bins];
        polynomial.im[j] = from[(POWERS + j) * n_bins];
    }
}

/* Conjugated responses of some elements, less exp(-ik mean distance), kept in `responses`; and what arrives of them at
   the scatterer: each fires what its neighbour fires times one factor, which is summed by Horner's rule, last first. */
template <int DEGREE>
static __device__ __forceinline__ void respond(const Geometry *geometry, const Polynomial &g, const Bin &here,
                                               Pair *responses, Complex &pressure)
{
    if (DEGREE >= POWERS) return; /* no scatterer needs it */
    #pragma unroll 2
    for (int pair = ELEMENTS / TILES / 2 - 1; pair >= 0; --pair) {
        Complex a[2];
        #pragma unroll
        for (int which = 1; which >= 0; --which) {
            const Geometry element = geometry[2 * pair + which];
            float sine, cosine;
            __sincosf(here.radians * element.path, &sine, &cosine);
            float d = here.directivity[DIRECTIVITY_DEGREE];
            #pragma unroll
            for (int j = DIRECTIVITY_DEGREE - 1; j >= 0; --j) d = fmaf(d, element.sine2, here.directivity[j]);
            d *= element.weight;
            if (ATTENUATED) d *= __expf(-here.nepers * element.path);
            const float g_re = d * evaluate<DEGREE>(g.re, element.argument);
            const float g_im = d * evaluate<DEGREE>(g.im, element.argument);
            a[which].re = fmaf(cosine, g_re, sine * g_im);
            a[which].im = fmaf(cosine, g_im, -sine * g_re);
            const Complex sum = {fmaf(pressure.re, here.step.re, fmaf(-pressure.im, here.step.im, a[which].re)),
                                 fmaf(pressure.re, here.step.im, fmaf(pressure.im, here.step.re, a[which].im))};
            pressure = sum;
        }
        const Pair kept = {a[0].re, a[0].im, a[1].re, a[1].im};
        responses[pair * THREADS] = kept;
    }
}

/* Spectra of the channels: output (frame, angle, element, row_length), bins where an inverse transform wants them.
   fired (angle, chunk, bin): exp(-i omega delay) of the first element of a chunk; fired_step (angle, bin): of each
   element over the one before it. directivity (coefficient, bin); wave: turns/m, Np/m of the first bin, and steps.
   What a scatterer needs is read while the one before it is received. */
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) simulate(
    const Geometry *geometry, const float *polynomials, const int *chosen_degrees, const float *mean_distances,
    const Complex *reflectivity, const Complex *fired, const Complex *fired_step, const Complex *spectrum_weights,
    const float *directivity, const double *wave, int n_geometries, int n_angles, int n_scatterers, int n_bins,
    int n_elements, int row_length, Complex *output)
{
    extern __shared__ Geometry memory[];
    Geometry *elements = memory; /* (LANES) */
    Complex *sums = (Complex *)(memory + LANES); /* (2, THREADS) */
    Pair *responses = (Pair *)(sums + 2 * THREADS) + threadIdx.x; /* (ELEMENTS / 2, THREADS), each thread its own */
    const int frame = blockIdx.x / n_angles, angle = blockIdx.x % n_angles;
    const int chunk = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int wanted_bin = blockIdx.y * 32 + lane;
    const int bin = wanted_bin < n_bins ? wanted_bin : n_bins - 1; /* idle threads repeat the last bin */
    const double exact_turns = wave[0] + bin * wave[1];
    Bin here;
    here.radians = (float)(6.283185307179586 * exact_turns);
    here.nepers = (float)(wave[2] + bin * wave[3]);
    here.step = fired_step[angle * n_bins + bin];
    #pragma unroll
    for (int j = 0; j <= DIRECTIVITY_DEGREE; ++j) here.directivity[j] = directivity[j * n_bins + bin];
    const Complex first_fired = fired[(angle * CHUNKS + chunk) * n_bins + bin];
    const Complex weight = spectrum_weights[bin];
    const int own_element = chunk * ELEMENTS + lane % ELEMENTS;
    const int first_set = SETS > 1 ? chunk * TILES : 0, polynomial_size = 2 * POWERS * n_bins;
    const size_t first_scatterer = ((size_t)frame * n_geometries + (n_geometries > 1 ? angle : 0)) * n_scatterers;
    geometry += first_scatterer * LANES;
    polynomials += (first_scatterer * SETS + first_set) * polynomial_size + bin;
    chosen_degrees += first_scatterer * SETS;
    mean_distances += first_scatterer;
    reflectivity += (size_t)frame * n_scatterers;

    Complex received[ELEMENTS];
    #pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) received[e].re = received[e].im = 0.0f;

    int s = 0;
    while (s < n_scatterers && chosen_degrees[s * SETS] < 0) ++s; /* absent ones */
    Polynomial polynomial;
    Geometry own;
    if (s < n_scatterers) {
        own = geometry[(size_t)s * LANES + own_element];
        read(polynomials + ((size_t)s * SETS + TILES - 1) * polynomial_size, n_bins, polynomial);
    }
    for (int turn = 0; s < n_scatterers; turn = THREADS - turn) {
        __syncwarp();
        elements[own_element] = own;
        __syncwarp();
        Complex pressure = {0.0f, 0.0f};
        #pragma unroll
        for (int t = TILES - 1; t >= 0; --t) {
            const int first = t * (ELEMENTS / TILES);
            if (t < TILES - 1) read(polynomials + ((size_t)s * SETS + t) * polynomial_size, n_bins, polynomial);
            #define RESPOND(DEGREE) \
                respond<DEGREE>(elements + chunk * ELEMENTS + first, polynomial, here, \
                                responses + first / 2 * THREADS, pressure)
            switch (chosen_degrees[s * SETS + first_set + t]) {
            case 0: RESPOND(DEGREE_0); break;
            case 1: RESPOND(DEGREE_1); break;
            case 2: RESPOND(DEGREE_2); break;
            case 3: RESPOND(DEGREE_3); break;
            default: RESPOND(DEGREE_4);
            }
        }
        sums[turn + threadIdx.x] = multiply(pressure, first_fired);
        const float mean = mean_distances[s];
        const Complex strength = multiply(reflectivity[s], weight);
        do ++s;
        while (s < n_scatterers && chosen_degrees[s * SETS] < 0);
        if (s < n_scatterers) {
            own = geometry[(size_t)s * LANES + own_element];
            read(polynomials + ((size_t)s * SETS + TILES - 1) * polynomial_size, n_bins, polynomial);
        }
        /* there and back at the mean distance, which the responses left out */
        const double both_ways = 2.0 * exact_turns * mean;
        Complex there_and_back;
        __sincosf(6.28318531f * (float)(both_ways - rint(both_ways)), &there_and_back.im, &there_and_back.re);
        const float kept = ATTENUATED ? __expf(-2.0f * here.nepers * mean) : 1.0f;
        there_and_back.re *= kept;
        there_and_back.im *= -kept;
        __syncthreads();
        pressure.re = pressure.im = 0.0f;
        #pragma unroll
        for (int c = 0; c < CHUNKS; ++c) {
            const Complex part = sums[turn + 32 * c + lane];
            pressure.re += part.re;
            pressure.im += part.im;
        }
        const Complex echo = multiply(multiply(strength, there_and_back), pressure);
        #pragma unroll
        for (int e = 0; e < ELEMENTS; e += 2) {
            const Pair a = responses[e / 2 * THREADS];
            received[e].re = fmaf(echo.re, a.re_0, fmaf(-echo.im, a.im_0, received[e].re));
            received[e].im = fmaf(echo.re, a.im_0, fmaf(echo.im, a.re_0, received[e].im));
            received[e + 1].re = fmaf(echo.re, a.re_1, fmaf(-echo.im, a.im_1, received[e + 1].re));
            received[e + 1].im = fmaf(echo.re, a.im_1, fmaf(echo.im, a.re_1, received[e + 1].im));
        }
    }
    if (wanted_bin >= n_bins) return;
    const int offset = bin - n_bins / 2, column = offset < 0 ? offset + row_length : offset;
    Complex *to = output + ((size_t)blockIdx.x * n_elements + chunk * ELEMENTS) * row_length + column;
    const int n_own = n_elements - chunk * ELEMENTS;
    #pragma unroll
    for (int e = 0; e < ELEMENTS; ++e, to += row_length)
        if (e < n_own) *to = received[e];
}
"""


class Shape(NamedTuple):
    """How a probe's elements are shared out among threads; the kernels are compiled for it."""

    per_thread: int  # elements
    tiles: int  # elevation polynomials among them
    n_chunks: int  # threads of a bin: a warp each of `per_thread` elements
    n_sets: int  # elevation polynomials of a scatterer

    @property
    def n_threads(self) -> int:
        """Of a thread block."""
        return WARP * self.n_chunks

    @property
    def n_lanes(self) -> int:
        """Elements, those included that only fill up the last chunk."""
        return self.per_thread * self.n_chunks

    @property
    def shared_bytes(self) -> int:
        """Of a thread block: a scatterer's geometry, the responses, and twice the sums of its warps."""
        return 16 * self.n_lanes + 8 * self.n_threads * (self.per_thread + 2)


def shape_of(tables: KernelTables) -> Shape:
    """32 elements a thread, or 16 where those fit better."""
    n_lanes, tile = len(tables.elements), tables.tile
    per_thread = 32 if n_lanes % 32 == 0 else 16
    n_chunks = n_lanes // per_thread
    if tile == n_lanes:
        return Shape(per_thread, 1, n_chunks, 1)
    return Shape(per_thread, per_thread // tile, n_chunks, n_lanes // tile)


def count_powers(positions: NDArray[np.float64], tables: KernelTables) -> int:
    """Coefficients of the longest elevation polynomial that scatterers at positions (…, 3) need."""
    present = np.isfinite(positions).all(axis=-1) & (positions[..., 2] >= 0)
    largest = np.max(np.abs(positions[..., 1]), where=present, initial=0.0) * tables.constants[2]
    last_row = int(largest**2 / tables.steps[0])
    return int(tables.compiled_degrees[tables.degrees[: last_row + 1].max()]) + 1


def macros(tables: KernelTables, n_powers: int) -> tuple[str, ...]:
    """Compiler options with the sizes that the kernels unroll, for elevation polynomials of `n_powers` coefficients."""
    shape = shape_of(tables)
    values = {
        "ELEMENTS": shape.per_thread,
        "TILES": shape.tiles,
        "CHUNKS": shape.n_chunks,
        "SETS": shape.n_sets,
        "POWERS": n_powers,
        "RESIDENT": max(1, REGISTERS // (REGISTERS_OF_THREAD * shape.n_threads)),
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

    Some frames at a time, which bounds the memory of what is prepared.

    Parameters
    ----------
    samples : numpy.ndarray or cupy.ndarray
        (frame, angle, element, sample) complex64; NumPy's are copied from the device.
    """
    import cupy

    on_device = isinstance(samples, cupy.ndarray)
    n_powers = count_powers(positions, tables)
    frame_bytes = _bytes_of_scatterer(tables, n_powers) * max(1, positions[0].size // 3)
    if not on_device:
        frame_bytes += samples[0].nbytes
    at_once = max(1, BYTES_AT_ONCE // frame_bytes)
    for first in range(0, len(samples), at_once):
        part = slice(first, first + at_once)
        target = samples[part] if on_device else cupy.empty(samples[part].shape, np.complex64)
        _launch(
            cupy.asarray(positions[part]),
            cupy.asarray(reflectivity[part]),
            tables,
            n_powers,
            oversampling,
            target,
        )
        if not on_device:
            samples[part] = target.get()


def _bytes_of_scatterer(tables: KernelTables, n_powers: int) -> int:
    shape = shape_of(tables)
    return 16 * shape.n_lanes + shape.n_sets * (8 * n_powers * tables.elevation.shape[-2] + 4) + 4


def _launch(
    positions: Any, reflectivity: Any, tables: KernelTables, n_powers: int, oversampling: int, samples: Any
) -> None:
    """Fill samples (frame, angle, element, sample) from arrays that are all on the device."""
    import cupy

    n_geometries, n_scatterers = positions.shape[1:3]
    n_frames, n_angles, n_elements, row_length = samples.shape
    n_bins, n_coefficients = tables.elevation.shape[
        -2:
    ]  # the table's polynomials may be longer than what is needed
    shape, constant = shape_of(tables), _on_device(tables)
    prepare, simulate = _compiled(macros(tables, n_powers), shape.shared_bytes)
    n_places = positions.size // 3
    scatterers = (
        cupy.empty((n_places, shape.n_lanes, 4), dtype=np.float32),
        cupy.empty((n_places, shape.n_sets, 2 * n_powers, n_bins), dtype=np.float32),
        cupy.empty((n_places, shape.n_sets), dtype=np.int32),
        cupy.empty(n_places, dtype=np.float32),
    )
    sizes = (n_bins, n_elements, len(tables.intervals), n_coefficients // 2, tables.tile)
    prepare(
        (n_places,),
        (PREPARING_THREADS,),
        (positions, *constant.preparing, *(np.int32(size) for size in sizes), *scatterers),
    )
    if oversampling > 1:
        samples[...] = 0  # the bins beyond the band
    sizes = (n_geometries, n_angles, n_scatterers, n_bins, n_elements, row_length)
    # the transform of one part, bound by memory, runs beside the spectra of the next, bound by arithmetic
    current, streams = cupy.cuda.get_current_stream(), _streams()
    start = current.record()
    ends = np.linspace(0, n_frames, min(PARTS, n_frames) + 1).astype(int).tolist()
    for number, (first, last) in enumerate(pairwise(ends)):
        stream = streams[number % len(streams)]
        stream.wait_event(start)
        places = slice(first * n_geometries * n_scatterers, last * n_geometries * n_scatterers)
        with stream:
            simulate(
                ((last - first) * n_angles, -(-n_bins // WARP)),
                (shape.n_threads,),
                (
                    *(each[places] for each in scatterers),
                    reflectivity[first:last],
                    *constant.simulating,
                    *(np.int32(size) for size in sizes),
                    samples[first:last],
                ),
                shared_mem=shape.shared_bytes,
            )
            inverse_transform(samples[first:last])
    for stream in streams:
        current.wait_event(stream.record())


@cache
def _streams() -> tuple[Any, ...]:
    import cupy

    return tuple(cupy.cuda.Stream(non_blocking=True) for _ in range(2))


class _Constant(NamedTuple):
    """Arrays on the device that do not depend on the scatterers, in the order of the kernels' arguments."""

    preparing: tuple[Any, ...]
    simulating: tuple[Any, ...]


@lru_cache(maxsize=4)
def _on_device(tables: KernelTables) -> _Constant:
    import cupy

    def copies(*arrays: NDArray[Any]) -> tuple[Any, ...]:
        return tuple(cupy.asarray(np.ascontiguousarray(array)) for array in arrays)

    phases = tables.delay_phases.astype(np.float64)
    fired = (phases[:, :, 0] + 1j * phases[:, :, 1]).transpose(0, 2, 1)  # (angle, lane, bin)
    step = fired[:, 1] / fired[:, 0] if tables.n_elements > 1 else np.ones_like(fired[:, 0])
    return _Constant(
        preparing=copies(
            tables.elements,
            tables.elevation.transpose(0, 1, 3, 2),
            tables.degrees.astype(np.int32),
            tables.intervals,
            np.array(tables.steps, dtype=np.float64),
            np.array(tables.constants, dtype=np.float64),
        ),
        simulating=copies(
            fired[:, :: shape_of(tables).per_thread].astype(np.complex64),
            (step / np.abs(step)).astype(np.complex64),
            tables.spectrum_weights,
            tables.directivity.T,
            np.array([*tables.wave_turns, *tables.nepers], dtype=np.float64),
        ),
    )


@lru_cache(maxsize=8)
def _compiled(options: tuple[str, ...], shared_bytes: int) -> tuple[Any, Any]:
    import cupy

    module = cupy.RawModule(code=SOURCE, options=("--std=c++14", *options))
    prepare, simulate = module.get_function("prepare"), module.get_function("simulate")
    simulate.max_dynamic_shared_size_bytes = shared_bytes
    return prepare, simulate
