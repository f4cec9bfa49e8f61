"""The simulator on the GPU where one polynomial in 1/r serves a whole array; `tiled_gpu` is for the rest.

What is left of a response beside exp(−ikr) is composed first: per bubble and bin, elevation factor, directivity,
obliquity, spreading and attenuation are one complex function of the distance, smooth over the little more than the
aperture that a bubble sees. `prepare` interpolates it at Chebyshev nodes of just that range of 1/r and cuts it off
where it may be: degree 4 or 5 instead of an elevation polynomial of 5 for the whole interval of the table, one of
degree 4 for the directivity, and a weight. Where even the highest degree would not do, `degrees_for` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ulmpipe.acoustics import common_gpu
from ulmpipe.acoustics.common_gpu import WARP, Kernels, shape_of
from ulmpipe.acoustics.elevation import ROWS_BELOW
from ulmpipe.acoustics.kernel_tables import KernelTables

TOLERANCE = 3e-5  # of what is cut off, relative to the largest response of the same bubble
LARGEST_ERROR = 1e-4  # of interpolating and cutting off, relative to a bubble's root mean square response
FEW_DEGREES, MORE_DEGREES = (3, 4, 5, 6, 8), (4, 5, 6, 8, 12)  # that the kernels are compiled for
GEOMETRY_BYTES = 8  # of an element
N_BINS = 5  # in which the interpolation is tried

# Needs the macros of `common_gpu`, and POWERS (of the highest degree), TABLE_POWERS (coefficients that are needed of
# those of the elevation table), FILLED_UP (0 or 1: there are lanes that are no elements), TOLERANCE, PREPARING_RESIDENT
# (thread blocks of `prepare` that share a multiprocessor), and the tables NODES, TO_SERIES and TO_POWERS.
SOURCE = (
    common_gpu.SOURCE
    + r"""
/* Of a value, not negative, by a thread block of one warp. */
INLINE int largest_of_warp(int value)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_max_sync(0xffffffffu, value);
#else
    __shared__ int largest;
    if (threadIdx.x == 0) largest = 0;
    __syncthreads();
    atomicMax(&largest, value);
    __syncthreads();
    value = largest;
    __syncthreads();
    return value;
#endif
}

/* Of one element and one scatterer: r less the scatterer's mean distance, half way from the least to the largest; and
   1/r, from -1 at the farthest element to 1 at the nearest. */
struct __align__(8) Geometry { float path, argument; };

/* At one of the distances between which a response is interpolated. */
struct __align__(16) Node { float argument, sine2, weight, path; };

static __device__ constexpr float nodes[] = NODES; /* zeros of the Chebyshev polynomial of degree POWERS */
static __device__ constexpr float to_series[] = TO_SERIES; /* (order, node) */
static __device__ constexpr float to_powers[] = TO_POWERS; /* (power, order) */
static __device__ constexpr int compiled[] = {DEGREE_0, DEGREE_1, DEGREE_2, DEGREE_3, DEGREE_4};

/* What of a scatterer does not depend on elements and bins together, by a thread block: the degree of its polynomials,
   as a place among those compiled, -1 if it is absent; geometry (scatterer, lane); polynomials (scatterer, power,
   bin); and what its echo is multiplied by besides what arrives at it, outside (scatterer, bin).
   A polynomial is all of a response but exp(-ik (r - mean)): elevation factor, directivity, obliquity, spreading and
   attenuation, interpolated over just the distances at which the scatterer has elements, and cut off where what is left
   out is within the tolerance at all bins.
   table (row, interval, part and power, bin); constants: shortest distance, soft baffle, spherical waves. */
extern "C" __global__ void __launch_bounds__(32, PREPARING_RESIDENT) prepare(
    const double *positions, const Complex *reflectivity, const double *elements, const float *table,
    const int *degrees, const double *intervals, const double *steps, const double *constants, const float *directivity,
    const double *wave, const Complex *spectrum_weights, int n_elements, int n_geometries, int n_scatterers,
    int n_events, int *counters, int *chosen_degrees, Geometry *geometry, Complex *polynomials, Complex *outside)
{
    __shared__ Node known[POWERS];
    const double *position = positions + 3 * (size_t)blockIdx.x;
    const double x = position[0], y = position[1] * constants[2], z = position[2];
    clear(counters, n_events);
    if (!is_present(position)) {
        for (int tile = threadIdx.x; tile < BIN_TILES; tile += 32) chosen_degrees[blockIdx.x * BIN_TILES + tile] = -1;
        return;
    }
    const double across = z * z + y * y;
    const float far_left = (float)(elements[0] - x), far_right = (float)(x - elements[n_elements - 1]);
    const float beside = fmaxf(fmaxf(far_left, far_right), 0.0f), opposite = fmaxf(fabsf(far_left), fabsf(far_right));
    const float shortest = (float)constants[0], soft = (float)constants[1];
    const float least2 = fmaxf(beside * beside + (float)across, shortest * shortest);
    const float most2 = fmaxf(opposite * opposite + (float)across, least2);
    const float nearest = rsqrtf(least2), farthest = rsqrtf(most2); /* inverse distances */
    const float least = least2 * nearest, mean = 0.5f * (least + most2 * farthest);
    const float middle = 0.5f * (nearest + farthest), half = fmaxf(0.5f * (nearest - farthest), 1e-5f * middle);
    const float inverse_half = 1.0f / half;
    const double place = y * y / steps[0];
    const int row = (int)place;
    int interval = (int)(logf(fmaxf(least / (float)steps[1], 1.0f)) / (float)steps[2]);
    if (interval > INTERVALS - 1) interval = INTERVALS - 1;

    for (int e = threadIdx.x; e < LANES; e += 32) {
        const double dx = x - elements[e < n_elements ? e : n_elements - 1], squared = dx * dx + across;
        const Distance d = distance_of(squared, shortest);
        const Geometry own = {(d.r - mean) + d.low, (d.inverse - middle) * inverse_half};
        geometry[(size_t)blockIdx.x * LANES + e] = own;
    }
    for (int k = threadIdx.x; k < POWERS; k += 32) {
        const float inverse = fmaf(half, nodes[k], middle), r = 1.0f / inverse;
        const float dx2 = fmaxf(r * r - (float)across, 0.0f), height = (float)z;
        const float inverse_rho = rsqrtf(fmaxf(dx2 + height * height, 1e-30f));
        Node node;
        node.argument = fmaf((float)intervals[2 * interval], inverse, (float)intervals[2 * interval + 1]);
        node.sine2 = dx2 * inverse_rho * inverse_rho;
        node.weight = (1.0f + soft * (height * inverse_rho - 1.0f)) * (constants[2] > 0.0 ? inverse : sqrtf(inverse));
        node.path = r - mean;
        known[k] = node;
    }
    float weights[STENCIL]; /* of rows in y^2 */
    interpolate((float)(place - row) + 2.0f, weights);
    __syncthreads();
    const int n_wanted = degrees[row * INTERVALS + interval] + 1; /* powers of the table's */
    /* known when compiled, so that no addresses are computed */
    constexpr int row_size = INTERVALS * 2 * TABLE_LENGTH * PADDED_BINS;
    const int frame = blockIdx.x / (n_geometries * n_scatterers);
    const Complex strength = reflectivity[frame * n_scatterers + blockIdx.x % n_scatterers];
    float argument[POWERS];
    #pragma unroll
    for (int k = 0; k < POWERS; ++k) argument[k] = known[k].argument;
    #pragma unroll 1
    for (int tile = 0; tile < BIN_TILES; ++tile) {
        const int wanted_bin = 32 * tile + threadIdx.x;
        const int bin = wanted_bin < BINS ? wanted_bin : BINS - 1; /* idle threads repeat the last bin */
        const float *from = table + (size_t)row * row_size + interval * (2 * TABLE_LENGTH * PADDED_BINS) + bin;
        Complex g[TABLE_POWERS];
        #pragma unroll
        for (int j = 0; j < TABLE_POWERS; ++j) {
            g[j].re = g[j].im = 0.0f;
            if (j < n_wanted) {
                #pragma unroll
                for (int i = 0; i < STENCIL; ++i) {
                    g[j].re = fmaf(weights[i], from[i * row_size + j * PADDED_BINS], g[j].re);
                    g[j].im = fmaf(weights[i], from[i * row_size + (TABLE_LENGTH + j) * PADDED_BINS], g[j].im);
                }
            }
        }
        const float nepers = (float)(wave[2] + bin * wave[3]);
        float own_directivity[DIRECTIVITY_DEGREE + 1];
        #pragma unroll
        for (int j = 0; j <= DIRECTIVITY_DEGREE; ++j) own_directivity[j] = directivity[j * BINS + bin];
        Complex value[POWERS]; /* at the nodes; Horner's rule for all of them side by side */
        #pragma unroll
        for (int k = 0; k < POWERS; ++k) value[k].re = value[k].im = 0.0f;
        #pragma unroll
        for (int j = TABLE_POWERS - 1; j >= 0; --j)
            if (j < n_wanted) {
                #pragma unroll
                for (int k = 0; k < POWERS; ++k) {
                    value[k].re = fmaf(value[k].re, argument[k], g[j].re);
                    value[k].im = fmaf(value[k].im, argument[k], g[j].im);
                }
            }
        #pragma unroll
        for (int k = 0; k < POWERS; ++k) {
            const Node node = known[k];
            float d = own_directivity[DIRECTIVITY_DEGREE];
            #pragma unroll
            for (int j = DIRECTIVITY_DEGREE - 1; j >= 0; --j) d = fmaf(d, node.sine2, own_directivity[j]);
            d *= node.weight;
            if (ATTENUATED) d *= __expf(-nepers * node.path);
            value[k].re *= d;
            value[k].im *= d;
        }
        Complex series[POWERS];
        #pragma unroll
        for (int j = 0; j < POWERS; ++j) series[j].re = series[j].im = 0.0f;
        #pragma unroll
        for (int k = 0; k < (POWERS + 1) / 2; ++k) { /* an order is even or odd, so are its values at opposite nodes */
            const Complex other = 2 * k == POWERS - 1 ? complex(0.0f, 0.0f) : value[POWERS - 1 - k];
            const Complex even = add(value[k], other), odd = take(value[k], other);
            #pragma unroll
            for (int j = 0; j < POWERS; ++j) {
                series[j].re = fmaf(to_series[j * POWERS + k], j % 2 ? odd.re : even.re, series[j].re);
                series[j].im = fmaf(to_series[j * POWERS + k], j % 2 ? odd.im : even.im, series[j].im);
            }
        }
        float tail[POWERS]; /* of this order and those above */
        #pragma unroll
        for (int j = POWERS - 1; j >= 0; --j) {
            const float re = fabsf(series[j].re), im = fabsf(series[j].im);
            tail[j] = fmaf(0.4f, fminf(re, im), fmaxf(re, im)); /* of the absolute value, 0.93 to 1.08 */
            if (j < POWERS - 1) tail[j] += tail[j + 1];
        }
        const float allowed = __int_as_float(largest_of_warp(__float_as_int(tail[0]))) * TOLERANCE;
        int chosen = 0;
        #pragma unroll
        for (int i = 0; i < 4; ++i)
            if (compiled[i] < POWERS - 1) chosen += tail[compiled[i] + 1 < POWERS ? compiled[i] + 1 : 0] > allowed;
        chosen = largest_of_warp(chosen);
        if (threadIdx.x == 0) chosen_degrees[blockIdx.x * BIN_TILES + tile] = chosen;
        if (wanted_bin >= BINS) continue;
        const int degree = compiled[chosen];
        #pragma unroll
        for (int j = 0; j < POWERS; ++j)
            if (j > degree) series[j].re = series[j].im = 0.0f;
        #pragma unroll
        for (int i = 0; i < POWERS; ++i) {
            Complex power = {0.0f, 0.0f};
            #pragma unroll
            for (int j = i; j < POWERS; j += 2) {
                power.re = fmaf(to_powers[i * POWERS + j], series[j].re, power.re);
                power.im = fmaf(to_powers[i * POWERS + j], series[j].im, power.im);
            }
            if (i <= degree) polynomials[((size_t)blockIdx.x * POWERS + i) * PADDED_BINS + bin] = power;
        }
        const Complex strong = times(strength, spectrum_weights[bin]);
        outside[(size_t)blockIdx.x * PADDED_BINS + bin] = times(strong, there_and_back(wave, bin, nepers, mean));
    }
}

/* What all elements share at one frequency bin. */
struct Bin { float radians; Complex step; };

/* Of two neighbouring elements. */
struct __align__(16) Places { Geometry at[2]; };

/* All of a response but exp(-ik (r - mean)), in one bin. */
struct Polynomial { Complex power[POWERS]; };

static __device__ __forceinline__ void read(const Complex *from, Polynomial &polynomial)
{
    #pragma unroll
    for (int j = 0; j < POWERS; ++j) polynomial.power[j] = from[j * PADDED_BINS];
}

/* Conjugated responses of some elements, less exp(-ik mean distance), kept in `responses`; and what arrives of them at
   the scatterer: each fires what its neighbour fires times one factor, which is summed by Horner's rule, last first. */
template <int DEGREE>
static __device__ __forceinline__ void respond(const Places *geometry, const Polynomial &g, const Bin &here, int n_own,
                                               Pair *responses, Complex &pressure)
{
    if (DEGREE >= POWERS) return; /* no scatterer needs it */
    #pragma unroll 2
    for (int pair = ELEMENTS / 2 - 1; pair >= 0; --pair) {
        Complex a[2];
        const Places places = geometry[pair];
        #pragma unroll
        for (int which = 1; which >= 0; --which) {
            const Geometry element = places.at[which];
            float sine, cosine;
            __sincosf(here.radians * element.path, &sine, &cosine);
            Complex value = g.power[DEGREE < POWERS ? DEGREE : 0];
            #pragma unroll
            for (int j = DEGREE - 1; j >= 0; --j) {
                value.re = fmaf(value.re, element.argument, g.power[j].re);
                value.im = fmaf(value.im, element.argument, g.power[j].im);
            }
            a[which].re = fmaf(cosine, value.re, sine * value.im);
            a[which].im = fmaf(cosine, value.im, -sine * value.re);
            if (FILLED_UP && 2 * pair + which >= n_own) a[which].re = a[which].im = 0.0f; /* no element */
            const Complex sum = {fmaf(pressure.re, here.step.re, fmaf(-pressure.im, here.step.im, a[which].re)),
                                 fmaf(pressure.re, here.step.im, fmaf(pressure.im, here.step.re, a[which].im))};
            pressure = sum;
        }
        const Pair kept = {a[0].re, a[0].im, a[1].re, a[1].im};
        responses[pair * THREADS] = kept;
    }
}

/* As `simulate` in `tiled_gpu`. What a scatterer needs is read while the one before it is received. */
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) simulate(
    const int *degrees, const Geometry *geometry, const Complex *polynomials, const Complex *outside,
    const Complex *fired, const Complex *fired_step, const double *wave, const Complex *roots, int n_geometries,
    int n_angles, int n_scatterers, int n_elements, int *counters, Complex *output)
{
    extern __shared__ Pair memory[];
    Pair *responses = memory + threadIdx.x; /* (ELEMENTS / 2, THREADS), each thread its own */
    Complex *sums = (Complex *)(memory + ELEMENTS / 2 * THREADS); /* (2, THREADS) */
    Geometry *elements = (Geometry *)(sums + 2 * THREADS); /* (LANES) */
    const int event = blockIdx.x / BIN_TILES, frame = event / n_angles, angle = event % n_angles;
    const int chunk = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int wanted_bin = blockIdx.x % BIN_TILES * 32 + lane;
    const int bin = wanted_bin < BINS ? wanted_bin : BINS - 1; /* idle threads repeat the last bin */
    Bin here;
    here.radians = (float)(6.283185307179586 * (wave[0] + bin * wave[1]));
    here.step = fired_step[angle * BINS + bin];
    const Complex first_fired = fired[(angle * CHUNKS + chunk) * BINS + bin];
    const int own_element = chunk * ELEMENTS + lane % ELEMENTS, n_own = n_elements - chunk * ELEMENTS;
    /* indices from here on, not pointers that move: the compiler keeps what it needs of them out of registers */
    const int first_scatterer = (frame * n_geometries + (n_geometries > 1 ? angle : 0)) * n_scatterers;

    Complex received[ELEMENTS];
    #pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) received[e].re = received[e].im = 0.0f;

    Polynomial polynomial;
    Geometry own;
    int degree;
    #define READ_AHEAD(S) \
        own = geometry[(size_t)(first_scatterer + (S)) * LANES + own_element]; \
        degree = degrees[(first_scatterer + (S)) * BIN_TILES + blockIdx.x % BIN_TILES]; \
        read(polynomials + (size_t)(first_scatterer + (S)) * (POWERS * PADDED_BINS) + bin, polynomial);
    if (n_scatterers) { READ_AHEAD(0) }
    for (int s = 0, turn = 0; s < n_scatterers; ++s) {
        if (degree < 0) { /* absent; the whole thread block agrees */
            if (s + 1 < n_scatterers) { READ_AHEAD(s + 1) }
            continue;
        }
        __syncwarp();
        elements[own_element] = own;
        __syncwarp();
        const Complex factor = outside[(size_t)(first_scatterer + s) * PADDED_BINS + bin];
        Complex pressure = {0.0f, 0.0f};
        #define RESPOND(DEGREE) \
            respond<DEGREE>((const Places *)(elements + chunk * ELEMENTS), polynomial, here, n_own, responses, pressure)
        BY_DEGREE(degree, RESPOND)
        sums[turn + threadIdx.x] = times(pressure, first_fired);
        if (s + 1 < n_scatterers) { READ_AHEAD(s + 1) }
        __syncthreads();
        pressure.re = pressure.im = 0.0f;
        #pragma unroll
        for (int c = 0; c < CHUNKS; ++c) pressure = add(pressure, sums[turn + 32 * c + lane]);
        turn = THREADS - turn;
        const Complex echo = times(factor, pressure);
        receive(responses, echo, received);
    }
    finish(received, event, chunk, wanted_bin, n_elements, memory, roots, counters, output);
}
"""
)


@lru_cache(maxsize=64)
def degrees_for(
    tables: KernelTables, n_table_powers: int, last_row: int, lateral: float
) -> tuple[int, ...] | None:
    """Degrees for bubbles up to a row of the elevation table and to |x| = `lateral`; None if none is high enough.

    Parameters
    ----------
    n_table_powers : int
        Coefficients of the table's longest polynomial up to that row.
    lateral : float
        m.
    """
    if shape_of(tables).n_sets > 1 or tables.series:
        return None
    for degrees in (FEW_DEGREES, MORE_DEGREES):
        if (
            n_table_powers <= degrees[-1] + 1
            and relative_error(tables, degrees[-1], last_row, lateral) <= LARGEST_ERROR
        ):
            return degrees
    return None


def relative_error(tables: KernelTables, degree: int, last_row: int, lateral: float) -> float:
    """Largest relative L2 error, over elements and some bins, of responses by polynomials of that degree or less.

    Of the interpolation, and of what may be cut off: few elements' responses may be much larger than most.
    """
    bins = np.linspace(0, tables.elevation.shape[2] - 1, N_BINS).astype(int)
    to_series = _to_series(degree + 1)
    nodes = _nodes(degree + 1)
    worst = 0.0
    for row, interval, x, z in _worst_bubbles(tables, last_row, lateral):
        y2 = row * tables.steps[0] if row else 0.0
        beside = max(x - tables.elements[tables.n_elements - 1], 0.0)
        offsets = np.append(x - tables.elements[: tables.n_elements], beside)
        inverse = 1 / np.maximum(np.sqrt(offsets**2 + y2 + z * z), tables.constants[0])
        middle = 0.5 * (inverse.max() + inverse.min())
        half = max(0.5 * (inverse.max() - inverse.min()), 1e-5 * middle)
        known = _smooth_response(tables, middle + half * nodes, bins, row, interval, z)
        found = chebyshev.chebval((inverse - middle) / half, to_series @ known.T)
        exact = _smooth_response(tables, inverse, bins, row, interval, z)
        size = np.linalg.norm(exact)
        cut_off = TOLERANCE * np.abs(exact).max() * math.sqrt(exact.size) / size
        worst = max(worst, float(np.linalg.norm(found - exact) / size + cut_off))
    return worst


def _worst_bubbles(
    tables: KernelTables, last_row: int, lateral: float
) -> Iterator[tuple[int, int, float, float]]:
    """Row and interval of the table, x and z of the bubbles that see the longest range of distances.

    They are the nearest of each interval, as far to the side as they go, or, where that is beyond the array, between
    its end and there too.
    """
    edge = float(tables.elements[tables.n_elements - 1])
    places = (lateral,) if lateral <= edge else (edge, 0.5 * (edge + lateral), lateral)
    for interval in range(len(tables.intervals)):
        nearest = tables.steps[1] * math.exp(interval * tables.steps[2])
        for row in {0, last_row}:
            for x in places:
                z2 = nearest**2 - (row * tables.steps[0] if row else 0.0) - max(x - edge, 0.0) ** 2
                if z2 >= 0:
                    yield row, interval, x, math.sqrt(z2)


def _smooth_response(
    tables: KernelTables,
    inverse: NDArray[np.float64],
    bins: NDArray[np.int64],
    row: int,
    interval: int,
    z: float,
) -> NDArray[np.complex128]:
    """A response but exp(−ikr), as `prepare` composes it, at distances 1 / `inverse`; shape (bin, distance)."""
    r = 1 / inverse
    rho2 = np.maximum(r * r - (row * tables.steps[0] if row else 0.0), 1e-30)
    scale, shift = tables.intervals[interval]
    real, imaginary = np.split(
        tables.elevation[row + ROWS_BELOW, interval, bins].astype(np.float64), 2, axis=-1
    )
    elevation = np.polynomial.polynomial.polyval(scale * inverse + shift, (real + 1j * imaginary).T)
    sine2 = np.maximum(1 - z * z / rho2, 0.0)
    directivity = np.polynomial.polynomial.polyval(sine2, tables.directivity[bins].astype(np.float64).T)
    obliquity = 1 + tables.constants[1] * (z / np.sqrt(rho2) - 1)
    spreading = inverse if tables.constants[2] else np.sqrt(inverse)
    nepers = (tables.nepers[0] + bins * tables.nepers[1])[:, None]
    response: NDArray[np.complex128] = elevation * directivity * obliquity * spreading * np.exp(-nepers * r)
    return response


def _nodes(n_powers: int) -> NDArray[np.float64]:
    """Zeros of the Chebyshev polynomial of that degree."""
    return np.asarray(np.cos(np.pi * (np.arange(n_powers) + 0.5) / n_powers))


def _to_series(n_powers: int) -> NDArray[np.float64]:
    """From values at the nodes to a Chebyshev series, shape (order, node)."""
    angle = np.pi * (np.arange(n_powers) + 0.5) / n_powers
    to_series = 2 / n_powers * np.cos(np.arange(n_powers)[:, None] * angle)
    to_series[0] /= 2
    return np.asarray(to_series)


def _to_powers(n_powers: int) -> NDArray[np.float64]:
    """From a Chebyshev series to powers, shape (power, order)."""
    to_powers = np.zeros((n_powers, n_powers))
    for order in range(n_powers):
        to_powers[: order + 1, order] = chebyshev.cheb2poly(np.eye(n_powers)[order])[: order + 1]
    return to_powers


def _listed(values: NDArray[np.float64]) -> str:
    return "{" + ",".join(f"{value:.9e}f" for value in values.ravel()) + "}"


def definitions(
    tables: KernelTables, n_table_powers: int, degrees: tuple[int, ...], oversampling: int = 1
) -> str:
    """The macros of the source."""
    shape, n_powers, few = shape_of(tables), degrees[-1] + 1, degrees == FEW_DEGREES
    macros = common_gpu.definitions(
        tables,
        oversampling,
        shared_bytes=shape.shared_bytes(GEOMETRY_BYTES),
        registers=common_gpu.REGISTERS_OF_THREAD if few else common_gpu.MORE_REGISTERS,
        degrees=degrees,
    )
    return common_gpu.as_source(
        macros
        | {
            "POWERS": n_powers,
            "TABLE_POWERS": n_table_powers,
            "FILLED_UP": int(shape.n_lanes > tables.n_elements),
            "TOLERANCE": f"{TOLERANCE}f",
            "PREPARING_RESIDENT": 32 if few else 24,
            "NODES": _listed(_nodes(n_powers)),
            "TO_SERIES": _listed(_to_series(n_powers)),
            "TO_POWERS": _listed(_to_powers(n_powers)),
        }
    )


@lru_cache(maxsize=16)
def kernels(
    tables: KernelTables, n_table_powers: int, degrees: tuple[int, ...], oversampling: int
) -> Kernels:
    """For elevation polynomials of `n_table_powers` coefficients at most, and polynomials of these degrees."""
    shape, n_bins = shape_of(tables), tables.elevation.shape[-2]
    there = common_gpu.constant(tables, n_bins * oversampling)
    macros = definitions(tables, n_table_powers, degrees, oversampling)
    shared_bytes = shape.shared_bytes(GEOMETRY_BYTES)
    prepare, simulate = common_gpu.compiled(macros + SOURCE, shared_bytes)
    return Kernels(
        prepare=prepare,
        simulate=simulate,
        n_threads=(WARP, shape.n_threads),
        shared_bytes=shared_bytes,
        fused="#define FUSED 1" in macros,
        n_bins=n_bins,
        preparing=(
            there.elements,
            there.table,
            there.table_degrees,
            there.intervals,
            there.steps,
            there.constants,
            there.directivity,
            there.wave,
            there.spectrum_weights,
        ),
        simulating=(there.fired, there.fired_step, there.wave, there.roots),
        prepared=(
            ((-(-n_bins // WARP),), np.int32),
            ((shape.n_lanes, 2), np.float32),
            ((degrees[-1] + 1, common_gpu.padded(n_bins)), np.complex64),
            ((common_gpu.padded(n_bins),), np.complex64),
        ),
    )
