"""The simulator on the GPU: geometry of each bubble first, then a thread for a frequency bin of 32 elements.

The same tables and elevation polynomials as `kernels_cpu`, but exp(−ikr) is evaluated afresh for each item, with r
counted from the array's mean distance to the bubble: one float is then enough for a phase, and what is left out is
put back once per bubble and bin. Between transmit and receive the responses wait in shared memory; the sums over the
bubbles stay in registers until the end. The source needs no CUDA library, so that a test can compile it for the host
too, with a shim over the CUDA built-ins.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.kernel_tables import KernelTables
from ulmpipe.acoustics.transform_gpu import SOURCE as TRANSFORM_SOURCE
from ulmpipe.acoustics.transform_gpu import fused_radices, rows_at_a_time, transform_by_library
from ulmpipe.acoustics.window import is_present

WARP = 32  # frequency bins side by side
PREPARING_THREADS = 128
MOST_ROWS = 16  # transformed at a time
BYTES_AT_ONCE = 256 * 2**20  # of what is prepared, and of samples for the host
REGISTERS, REGISTERS_OF_THREAD = 65536, 128  # of a multiprocessor, and what the kernel is given of them
MORE_REGISTERS, FEW_POWERS = 168, 9  # given where elevation polynomials have more coefficients than so few

# Needs the macros of `transform_gpu`, and ELEMENTS (of a thread), TILES (elevation polynomials among them), CHUNKS (of
# ELEMENTS elements), SETS (of elevation polynomials), POWERS (of one), BINS, PADDED_BINS (to a multiple of four),
# BIN_TILES (of 32), FUSED, ATTENUATED, SERIES (0 or 1), DIRECTIVITY_DEGREE, RESIDENT (thread blocks that share a
# multiprocessor) and DEGREE_0 to DEGREE_4.
SOURCE = (
    TRANSFORM_SOURCE
    + r"""
#define LANES (CHUNKS * ELEMENTS)
#define STENCIL 6

/* Of one element and one scatterer: r less the scatterer's mean distance, argument of the elevation polynomial,
   sin^2 theta, obliquity over r. */
struct __align__(16) Geometry { float path, argument, sine2, weight; };

/* Of one scatterer and set: the degree of its elevation polynomial, as a place among those compiled, -1 if the
   scatterer is absent; and its mean distance, half way from the least to the largest. */
struct __align__(8) Header { int degree; float mean; };

struct __align__(16) Four { float a, b, c, d; };

/* What of a scatterer does not depend on elements and bins together, by a thread block: headers (scatterer, set),
   geometry (scatterer, lane) and elevation polynomials (scatterer, set, part and power, bin), interpolated between the
   rows of the table. A set serves `tile` elements.
   table (row, interval, part and power, bin); constants: shortest distance, soft baffle, spherical waves. */
extern "C" __global__ void prepare(
    const double *positions, const double *elements, const float *table, const int *degrees, const double *intervals,
    const double *steps, const double *constants, int n_elements, int n_intervals, int n_powers, int tile,
    Header *headers, Geometry *geometry, float *polynomials)
{
    __shared__ int chosen[SETS];
    const double *position = positions + 3 * (size_t)blockIdx.x;
    const double x = position[0], y = position[1] * constants[2], z = position[2];
    if (!(fabs(x) < 1e3 && fabs(position[1]) < 1e3 && z >= 0.0 && z < 1e3)) {
        for (int set = threadIdx.x; set < SETS; set += blockDim.x) headers[(size_t)blockIdx.x * SETS + set].degree = -1;
        return;
    }
    const double across = z * z + y * y;
    const float outside = (float)fmax(fmax(elements[0] - x, x - elements[n_elements - 1]), 0.0);
    const float opposite = (float)fmax(fabs(elements[0] - x), fabs(x - elements[n_elements - 1]));
    const float mean = 0.5f * (sqrtf(outside * outside + (float)across) + sqrtf(opposite * opposite + (float)across));
    const double place = y * y / steps[0];
    const int row = (int)place;

    for (int set = threadIdx.x; set < SETS; set += blockDim.x) {
        const double left = elements[set * tile], right = elements[set * tile + tile - 1];
        const float apart = (float)fmax(fmax(left - x, x - right), 0.0);
        const float ratio = sqrtf(apart * apart + (float)across) / (float)steps[1];
        int interval = (int)(logf(fmaxf(ratio, 1.0f)) / (float)steps[2]);
        if (interval > n_intervals - 1) interval = n_intervals - 1;
        chosen[set] = interval;
        const Header header = {degrees[row * n_intervals + interval], mean};
        headers[(size_t)blockIdx.x * SETS + set] = header;
    }
    __syncthreads();
    const float shortest = (float)constants[0], soft = (float)constants[1];
    for (int e = threadIdx.x; e < LANES; e += blockDim.x) {
        const int interval = chosen[SETS > 1 ? e / tile : 0];
        const double dx = x - elements[e], squared = dx * dx + across;
        float inverse = rsqrtf(fmaxf((float)squared, 1e-30f)), r = (float)squared * inverse;
        float low = 0.5f * (float)(squared - (double)r * (double)r) * inverse; /* a step of Newton's */
        if (r < shortest) { r = shortest; low = 0.0f; inverse = 1.0f / shortest; }
        const float dx2 = (float)dx * (float)dx;
        const float inverse_rho = rsqrtf(fmaxf(dx2 + (float)z * (float)z, 1e-30f));
        Geometry own;
        own.path = (r - mean) + low;
        own.argument = fmaf((float)intervals[2 * interval], inverse, (float)intervals[2 * interval + 1]);
        own.sine2 = dx2 * inverse_rho * inverse_rho;
        own.weight = (1.0f + soft * ((float)z * inverse_rho - 1.0f)) * (constants[2] > 0.0 ? inverse : sqrtf(inverse));
        if (e >= n_elements) own.weight = 0.0f;
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
    /* four bins of a power at once */
    const int compiled[] = {DEGREE_0, DEGREE_1, DEGREE_2, DEGREE_3, DEGREE_4};
    const int n_fours = PADDED_BINS / 4, row_size = n_intervals * 2 * n_powers * n_fours;
    for (int set = 0; set < SETS; ++set) {
        const int n_wanted = (compiled[degrees[row * n_intervals + chosen[set]]] + 1) * n_fours;
        const Four *from = (const Four *)table + (size_t)row * row_size + chosen[set] * 2 * n_powers * n_fours;
        Four *to = (Four *)polynomials + ((size_t)blockIdx.x * SETS + set) * 2 * POWERS * n_fours;
        for (int i = threadIdx.x; i < 2 * n_wanted; i += blockDim.x) {
            const int part = i >= n_wanted, place = i - part * n_wanted;
            const Four *entry = from + part * n_powers * n_fours + place;
            Four sum = {0.0f, 0.0f, 0.0f, 0.0f};
            #pragma unroll
            for (int k = 0; k < STENCIL; ++k, entry += row_size) {
                const Four value = *entry;
                sum.a = fmaf(weights[k], value.a, sum.a);
                sum.b = fmaf(weights[k], value.b, sum.b);
                sum.c = fmaf(weights[k], value.c, sum.c);
                sum.d = fmaf(weights[k], value.d, sum.d);
            }
            to[part * POWERS * n_fours + place] = sum;
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

static __device__ __forceinline__ void read(const float *from, Polynomial &polynomial)
{
    #pragma unroll
    for (int j = 0; j < POWERS; ++j) {
        polynomial.re[j] = from[j * PADDED_BINS];
        polynomial.im[j] = from[(POWERS + j) * PADDED_BINS];
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

/* Samples of the channels: output (frame, angle, element, ROW_LENGTH). A thread block makes 32 bins of an event, and
   the last one of an event to have done so transforms it, while its bins are in the cache; counters (event) begin at 0.
   fired (angle, chunk, bin): exp(-i omega delay) of the first element of a chunk; fired_step (angle, bin): of each
   element over the one before it. directivity (coefficient, bin); wave: turns/m, Np/m of the first bin, and steps.
   What a scatterer needs is read while the one before it is received. */
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) simulate(
    const Header *headers, const Geometry *geometry, const float *polynomials, const Complex *reflectivity,
    const Complex *fired, const Complex *fired_step, const Complex *spectrum_weights, const float *directivity,
    const double *wave, const Complex *roots, int n_geometries, int n_angles, int n_scatterers, int n_elements,
    int *counters, Complex *output)
{
    extern __shared__ Geometry memory[];
    Geometry *elements = memory; /* (LANES) */
    Complex *sums = (Complex *)(memory + LANES); /* (2, THREADS) */
    Pair *responses = (Pair *)(sums + 2 * THREADS) + threadIdx.x; /* (ELEMENTS / 2, THREADS), each thread its own */
    const int event = blockIdx.x / BIN_TILES, frame = event / n_angles, angle = event % n_angles;
    const int chunk = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int wanted_bin = blockIdx.x % BIN_TILES * 32 + lane;
    const int bin = wanted_bin < BINS ? wanted_bin : BINS - 1; /* idle threads repeat the last bin */
    Bin here;
    here.radians = (float)(6.283185307179586 * (wave[0] + bin * wave[1]));
    here.nepers = (float)(wave[2] + bin * wave[3]);
    here.step = fired_step[angle * BINS + bin];
    #pragma unroll
    for (int j = 0; j <= DIRECTIVITY_DEGREE; ++j) here.directivity[j] = directivity[j * BINS + bin];
    const int own_element = chunk * ELEMENTS + lane % ELEMENTS, first_set = SETS > 1 ? chunk * TILES : 0;
    const int polynomial_size = 2 * POWERS * PADDED_BINS;
    /* indices from here on, not pointers that move: the compiler keeps what it needs of them out of registers */
    const int first_scatterer = (frame * n_geometries + (n_geometries > 1 ? angle : 0)) * n_scatterers;
    #define SET(S, T) ((size_t)(first_scatterer + (S)) * SETS + first_set + (T))
    #define POLYNOMIAL(S, T) (polynomials + SET(S, T) * polynomial_size + bin)

    Complex received[ELEMENTS];
    #pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) received[e].re = received[e].im = 0.0f;

    Polynomial polynomial;
    Geometry own;
    Header header;
    #define READ_AHEAD(S) \
        own = geometry[(size_t)(first_scatterer + (S)) * LANES + own_element]; \
        header = headers[SET(S, TILES - 1)]; \
        read(POLYNOMIAL(S, TILES - 1), polynomial);
    if (n_scatterers) { READ_AHEAD(0) }
    for (int s = 0, turn = 0; s < n_scatterers; ++s) {
        if (header.degree < 0) { /* absent; the whole thread block agrees */
            if (s + 1 < n_scatterers) { READ_AHEAD(s + 1) }
            continue;
        }
        __syncwarp();
        elements[own_element] = own;
        __syncwarp();
        Complex pressure = {0.0f, 0.0f};
        #pragma unroll
        for (int t = TILES - 1; t >= 0; --t) {
            const int first = t * (ELEMENTS / TILES);
            if (t < TILES - 1) {
                header = headers[SET(s, t)];
                read(POLYNOMIAL(s, t), polynomial);
            }
            #define RESPOND(DEGREE) \
                respond<DEGREE>(elements + chunk * ELEMENTS + first, polynomial, here, \
                                responses + first / 2 * THREADS, pressure)
            switch (header.degree) {
            case 0: RESPOND(DEGREE_0); break;
            case 1: RESPOND(DEGREE_1); break;
            case 2: RESPOND(DEGREE_2); break;
            case 3: RESPOND(DEGREE_3); break;
            default: RESPOND(DEGREE_4);
            }
        }
        sums[turn + threadIdx.x] = times(pressure, fired[(angle * CHUNKS + chunk) * BINS + bin]);
        /* there and back at the mean distance, which the responses left out */
        const double both_ways = 2.0 * (wave[0] + bin * wave[1]) * header.mean;
        Complex there_and_back;
        __sincosf(6.28318531f * (float)(both_ways - rint(both_ways)), &there_and_back.im, &there_and_back.re);
        const float kept = ATTENUATED ? __expf(-2.0f * here.nepers * header.mean) : 1.0f;
        there_and_back.re *= kept;
        there_and_back.im *= -kept;
        const Complex strength = times(reflectivity[frame * n_scatterers + s], spectrum_weights[bin]);
        const Complex outside = times(strength, there_and_back);
        if (s + 1 < n_scatterers) { READ_AHEAD(s + 1) }
        __syncthreads();
        pressure.re = pressure.im = 0.0f;
        #pragma unroll
        for (int c = 0; c < CHUNKS; ++c) pressure = add(pressure, sums[turn + 32 * c + lane]);
        turn = THREADS - turn;
        const Complex echo = times(outside, pressure);
        #pragma unroll
        for (int e = 0; e < ELEMENTS; e += 2) {
            const Pair a = responses[e / 2 * THREADS];
            received[e].re = fmaf(echo.re, a.re_0, fmaf(-echo.im, a.im_0, received[e].re));
            received[e].im = fmaf(echo.re, a.im_0, fmaf(echo.im, a.re_0, received[e].im));
            received[e + 1].re = fmaf(echo.re, a.re_1, fmaf(-echo.im, a.im_1, received[e + 1].re));
            received[e + 1].im = fmaf(echo.re, a.im_1, fmaf(echo.im, a.re_1, received[e + 1].im));
        }
    }
    Complex *rows = output + (size_t)event * n_elements * ROW_LENGTH;
    const int n_own = n_elements - chunk * ELEMENTS, offset = bin - BINS / 2;
    if (wanted_bin < BINS) { /* to where an inverse transform wants it */
        Complex *to = rows + (size_t)chunk * ELEMENTS * ROW_LENGTH + (offset < 0 ? offset + ROW_LENGTH : offset);
        #pragma unroll
        for (int e = 0; e < ELEMENTS; ++e)
            if (e < n_own) to[e * ROW_LENGTH] = received[e];
    }
    if (!FUSED) return;
    __threadfence();
    __syncthreads();
    int *arrived = (int *)memory;
    if (threadIdx.x == 0) *arrived = atomicAdd(counters + event, 1);
    __syncthreads();
    const bool last = *arrived == BIN_TILES - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();
    Complex *one = (Complex *)memory, *other = one + ROWS * PADDED;
    for (int first = 0; first < n_elements; first += ROWS)
        inverse_transform(rows + (size_t)first * ROW_LENGTH, n_elements - first < ROWS ? n_elements - first : ROWS, one,
                          other, roots);
}
"""
)


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
    largest = (
        np.max(np.abs(positions[..., 1]), where=is_present(positions), initial=0.0) * tables.constants[2]
    )
    last_row = int(largest**2 / tables.steps[0])
    return int(tables.compiled_degrees[tables.degrees[: last_row + 1].max()]) + 1


def definitions(tables: KernelTables, n_powers: int, oversampling: int = 1) -> str:
    """The macros of the source, for elevation polynomials of `n_powers` coefficients."""
    shape, n_bins = shape_of(tables), tables.delay_phases.shape[1]
    row_length = n_bins * oversampling
    radices = fused_radices(row_length, shape.shared_bytes)
    registers = REGISTERS_OF_THREAD if n_powers <= FEW_POWERS else MORE_REGISTERS
    values = {
        "ELEMENTS": shape.per_thread,
        "TILES": shape.tiles,
        "CHUNKS": shape.n_chunks,
        "THREADS": shape.n_threads,
        "SETS": shape.n_sets,
        "POWERS": n_powers,
        "BINS": n_bins,
        "PADDED_BINS": 4 * -(-n_bins // 4),
        "BIN_TILES": -(-n_bins // WARP),
        "ROW_LENGTH": row_length,
        "RESIDENT": max(1, REGISTERS // (registers * shape.n_threads)),
        "DIRECTIVITY_DEGREE": tables.directivity.shape[1] - 1,
        "ATTENUATED": int(any(tables.nepers)),
        "SERIES": int(tables.series),
        "FUSED": int(bool(radices) or row_length == 1),
        "ROWS": max(1, min(MOST_ROWS, rows_at_a_time(row_length, shape.shared_bytes))),
        "RADICES": "{" + ",".join(map(str, radices or (1,))) + "}",
        "N_RADICES": len(radices),
        **{f"DEGREE_{i}": degree for i, degree in enumerate(tables.compiled_degrees)},
    }
    return "".join(f"#define {name} {value}\n" for name, value in values.items())


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
    return 16 * shape.n_lanes + shape.n_sets * 8 * (n_powers * tables.elevation.shape[-2] + 1)


def _launch(
    positions: Any, reflectivity: Any, tables: KernelTables, n_powers: int, oversampling: int, samples: Any
) -> None:
    """Fill samples (frame, angle, element, sample) from arrays that are all on the device."""
    import cupy

    n_geometries, n_scatterers = positions.shape[1:3]
    n_frames, n_angles, n_elements, row_length = samples.shape
    n_bins, n_coefficients = tables.elevation.shape[
        -2:
    ]  # the table may have longer polynomials than are needed
    shape, constant = shape_of(tables), _on_device(tables, row_length)
    macros = definitions(tables, n_powers, oversampling)
    prepare, simulate = _compiled(macros, shape.shared_bytes)
    n_places, n_events = positions.size // 3, n_frames * n_angles
    scatterers = (
        cupy.empty((n_places, shape.n_sets, 2), dtype=np.int32),
        cupy.empty((n_places, shape.n_lanes, 4), dtype=np.float32),
        cupy.empty((n_places, shape.n_sets, 2 * n_powers, 4 * -(-n_bins // 4)), dtype=np.float32),
    )
    sizes = (n_elements, len(tables.intervals), n_coefficients // 2, tables.tile)
    prepare(
        (n_places,),
        (PREPARING_THREADS,),
        (positions, *constant.preparing, *(np.int32(size) for size in sizes), *scatterers),
    )
    if oversampling > 1:
        samples[...] = 0  # the bins beyond the band
    sizes = (n_geometries, n_angles, n_scatterers, n_elements)
    simulate(
        (n_events * -(-n_bins // WARP),),
        (shape.n_threads,),
        (
            *scatterers,
            reflectivity,
            *constant.simulating,
            *(np.int32(size) for size in sizes),
            cupy.zeros(n_events, dtype=np.int32),
            samples,
        ),
        shared_mem=shape.shared_bytes,
    )
    if "#define FUSED 0" in macros:
        transform_by_library(samples)


class _Constant(NamedTuple):
    """Arrays on the device that do not depend on the scatterers, in the order of the kernels' arguments."""

    preparing: tuple[Any, ...]
    simulating: tuple[Any, ...]


@lru_cache(maxsize=16)
def _on_device(tables: KernelTables, row_length: int) -> _Constant:
    import cupy

    def copies(*arrays: NDArray[Any]) -> tuple[Any, ...]:
        return tuple(cupy.asarray(np.ascontiguousarray(array)) for array in arrays)

    n_bins = tables.elevation.shape[-2]
    padding = [(0, 0)] * 3 + [(0, -n_bins % 4)]
    phases = tables.delay_phases.astype(np.float64)
    fired = (phases[:, :, 0] + 1j * phases[:, :, 1]).transpose(0, 2, 1)  # (angle, lane, bin)
    step = fired[:, 1] / fired[:, 0] if tables.n_elements > 1 else np.ones_like(fired[:, 0])
    return _Constant(
        preparing=copies(
            tables.elements,
            np.pad(tables.elevation.transpose(0, 1, 3, 2), padding),
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
            np.exp(2j * np.pi * np.arange(row_length) / row_length).astype(np.complex64),
        ),
    )


@lru_cache(maxsize=8)
def _compiled(macros: str, shared_bytes: int) -> tuple[Any, Any]:
    import cupy

    module = cupy.RawModule(code=macros + SOURCE, options=("--std=c++14",))
    prepare, simulate = module.get_function("prepare"), module.get_function("simulate")
    simulate.max_dynamic_shared_size_bytes = shared_bytes
    return prepare, simulate
