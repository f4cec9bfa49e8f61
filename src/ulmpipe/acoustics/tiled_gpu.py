"""The simulator on the GPU where one polynomial cannot serve a whole array: shallow windows, large elevations.

`composed_gpu` is for all others. The same tables and elevation polynomials as `kernels_cpu`, several across the array
or, next to the probe, Chebyshev series, but exp(−ikr) is evaluated afresh for each item, with r counted from the
array's mean distance to the bubble: one float is then enough for a phase, and what is left out is put back once per
bubble and bin. Between transmit and receive the responses wait in shared memory; the sums over the bubbles stay in
registers until the end.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ulmpipe.acoustics import common_gpu
from ulmpipe.acoustics.common_gpu import Kernels, shape_of
from ulmpipe.acoustics.kernel_tables import KernelTables

PREPARING_THREADS = 128
GEOMETRY_BYTES = 16  # of an element
FEW_POWERS = 9  # of elevation polynomials that leave enough registers

# Needs the macros of `common_gpu`, and TILES (elevation polynomials among the elements of a thread), TILE (elements of
# one), SETS (elevation polynomials of a scatterer), POWERS (of one), and SERIES (0 or 1).
SOURCE = (
    common_gpu.SOURCE
    + r"""
/* Of one element and one scatterer: r less the scatterer's mean distance, argument of the elevation polynomial,
   sin^2 theta, obliquity over r. */
struct __align__(16) Geometry { float path, argument, sine2, weight; };

/* Of one scatterer and set: the degree of its elevation polynomial, as a place among those compiled, -1 if the
   scatterer is absent; its mean distance, half way from the least to the largest; and its reflectivity. */
struct __align__(16) Header { int degree; float mean; Complex strength; };

struct __align__(16) Four { float a, b, c, d; };

/* What of a scatterer does not depend on elements and bins together, by a thread block: headers (scatterer, set),
   geometry (scatterer, lane) and elevation polynomials (scatterer, set, part and power, bin), interpolated between the
   rows of the table. A set serves TILE elements.
   table (row, interval, part and power, bin); constants: shortest distance, soft baffle, spherical waves. */
extern "C" __global__ void prepare(
    const double *positions, const Complex *reflectivity, const double *elements, const float *table,
    const int *degrees, const double *intervals, const double *steps, const double *constants, int n_elements,
    int n_geometries, int n_scatterers, int n_events, int *counters, Header *headers, Geometry *geometry,
    float *polynomials)
{
    __shared__ int chosen[SETS];
    const double *position = positions + 3 * (size_t)blockIdx.x;
    const double x = position[0], y = position[1] * constants[2], z = position[2];
    clear(counters, n_events);
    if (!is_present(position)) {
        for (int set = threadIdx.x; set < SETS; set += blockDim.x) headers[(size_t)blockIdx.x * SETS + set].degree = -1;
        return;
    }
    const double across = z * z + y * y;
    const float outside = (float)fmax(fmax(elements[0] - x, x - elements[n_elements - 1]), 0.0);
    const float opposite = (float)fmax(fabs(elements[0] - x), fabs(x - elements[n_elements - 1]));
    const float mean = 0.5f * (sqrtf(outside * outside + (float)across) + sqrtf(opposite * opposite + (float)across));
    const double place = y * y / steps[0];
    const int row = (int)place, frame = blockIdx.x / (n_geometries * n_scatterers);
    const Complex strength = reflectivity[frame * n_scatterers + blockIdx.x % n_scatterers];

    for (int set = threadIdx.x; set < SETS; set += blockDim.x) {
        const double left = elements[set * TILE], right = elements[set * TILE + TILE - 1];
        const float apart = (float)fmax(fmax(left - x, x - right), 0.0);
        const float ratio = sqrtf(apart * apart + (float)across) / (float)steps[1];
        int interval = (int)(logf(fmaxf(ratio, 1.0f)) / (float)steps[2]);
        if (interval > INTERVALS - 1) interval = INTERVALS - 1;
        chosen[set] = interval;
        const Header header = {degrees[row * INTERVALS + interval], mean, strength};
        headers[(size_t)blockIdx.x * SETS + set] = header;
    }
    __syncthreads();
    const float shortest = (float)constants[0], soft = (float)constants[1];
    for (int e = threadIdx.x; e < LANES; e += blockDim.x) {
        const int interval = chosen[SETS > 1 ? e / TILE : 0];
        const double dx = x - elements[e], squared = dx * dx + across;
        const Distance d = distance_of(squared, shortest);
        const float dx2 = (float)dx * (float)dx;
        const float inverse_rho = rsqrtf(fmaxf(dx2 + (float)z * (float)z, 1e-30f));
        Geometry own;
        own.path = (d.r - mean) + d.low;
        own.argument = fmaf((float)intervals[2 * interval], d.inverse, (float)intervals[2 * interval + 1]);
        own.sine2 = dx2 * inverse_rho * inverse_rho;
        own.weight = 1.0f + soft * ((float)z * inverse_rho - 1.0f);
        own.weight *= constants[2] > 0.0 ? d.inverse : sqrtf(d.inverse);
        if (e >= n_elements) own.weight = 0.0f;
        geometry[(size_t)blockIdx.x * LANES + e] = own;
    }
    float weights[STENCIL]; /* of rows in y^2 */
    interpolate((float)(place - row) + 2.0f, weights);
    /* four bins of a power at once */
    const int compiled[] = {DEGREE_0, DEGREE_1, DEGREE_2, DEGREE_3, DEGREE_4};
    const int n_fours = PADDED_BINS / 4, row_size = INTERVALS * 2 * TABLE_LENGTH * n_fours;
    for (int set = 0; set < SETS; ++set) {
        const int n_wanted = (compiled[degrees[row * INTERVALS + chosen[set]]] + 1) * n_fours;
        const Four *from = (const Four *)table + (size_t)row * row_size + chosen[set] * 2 * TABLE_LENGTH * n_fours;
        Four *to = (Four *)polynomials + ((size_t)blockIdx.x * SETS + set) * 2 * POWERS * n_fours;
        for (int i = threadIdx.x; i < 2 * n_wanted; i += blockDim.x) {
            const int part = i >= n_wanted, place = i - part * n_wanted;
            const Four *entry = from + part * TABLE_LENGTH * n_fours + place;
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
    const Header *headers, const Geometry *geometry, const float *polynomials, const Complex *fired,
    const Complex *fired_step, const Complex *spectrum_weights, const float *directivity, const double *wave,
    const Complex *roots, int n_geometries, int n_angles, int n_scatterers, int n_elements, int *counters,
    Complex *output)
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
            BY_DEGREE(header.degree, RESPOND)
        }
        sums[turn + threadIdx.x] = times(pressure, fired[(angle * CHUNKS + chunk) * BINS + bin]);
        const Complex strong = times(header.strength, spectrum_weights[bin]);
        const Complex outside = times(strong, there_and_back(wave, bin, here.nepers, header.mean));
        if (s + 1 < n_scatterers) { READ_AHEAD(s + 1) }
        __syncthreads();
        pressure.re = pressure.im = 0.0f;
        #pragma unroll
        for (int c = 0; c < CHUNKS; ++c) pressure = add(pressure, sums[turn + 32 * c + lane]);
        turn = THREADS - turn;
        const Complex echo = times(outside, pressure);
        receive(responses, echo, received);
    }
    finish(received, event, chunk, wanted_bin, n_elements, memory, roots, counters, output);
}
"""
)


def definitions(tables: KernelTables, n_powers: int, oversampling: int = 1) -> str:
    """The macros of the source, for elevation polynomials of `n_powers` coefficients."""
    shape = shape_of(tables)
    common = common_gpu.definitions(
        tables,
        oversampling,
        shared_bytes=shape.shared_bytes(GEOMETRY_BYTES),
        registers=(common_gpu.REGISTERS_OF_THREAD if n_powers <= FEW_POWERS else common_gpu.MORE_REGISTERS),
        degrees=tables.compiled_degrees,
    )
    return common_gpu.as_source(
        common
        | {
            "TILES": shape.tiles,
            "TILE": tables.tile,
            "SETS": shape.n_sets,
            "POWERS": n_powers,
            "SERIES": int(tables.series),
        }
    )


@lru_cache(maxsize=16)
def kernels(tables: KernelTables, n_powers: int, oversampling: int) -> Kernels:
    """For elevation polynomials of `n_powers` coefficients at most."""
    shape, n_bins = shape_of(tables), tables.elevation.shape[-2]
    there = common_gpu.constant(tables, n_bins * oversampling)
    macros = definitions(tables, n_powers, oversampling)
    shared_bytes = shape.shared_bytes(GEOMETRY_BYTES)
    prepare, simulate = common_gpu.compiled(macros + SOURCE, shared_bytes)
    return Kernels(
        prepare=prepare,
        simulate=simulate,
        n_threads=(PREPARING_THREADS, shape.n_threads),
        shared_bytes=shared_bytes,
        fused="#define FUSED 1" in macros,
        n_bins=n_bins,
        preparing=(there.elements, there.table, there.degrees, there.intervals, there.steps, there.constants),
        simulating=(
            there.fired,
            there.fired_step,
            there.spectrum_weights,
            there.directivity,
            there.wave,
            there.roots,
        ),
        prepared=(
            ((shape.n_sets, 4), np.int32),
            ((shape.n_lanes, 4), np.float32),
            ((shape.n_sets, 2 * n_powers, common_gpu.padded(n_bins)), np.float32),
        ),
    )
