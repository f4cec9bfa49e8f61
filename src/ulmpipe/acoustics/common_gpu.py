"""What both families of the simulator's kernels on the GPU share: `composed_gpu` and `tiled_gpu`.

The source needs no CUDA library, so that a test can compile it for the host too, with a shim over the CUDA built-ins.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.kernel_tables import KernelTables
from ulmpipe.acoustics.transform_gpu import SOURCE as TRANSFORM_SOURCE
from ulmpipe.acoustics.transform_gpu import fused_radices, rows_at_a_time

WARP = 32  # frequency bins side by side
MOST_ROWS = 16  # transformed at a time
REGISTERS, REGISTERS_OF_THREAD = 65536, 128  # of a multiprocessor, and what `simulate` is given of them
MORE_REGISTERS = 168  # given where polynomials are long

# Needs the macros of `transform_gpu`, and ELEMENTS (of a thread), CHUNKS (of ELEMENTS elements), BINS, PADDED_BINS (to
# a multiple of four), BIN_TILES (of 32), FUSED and ATTENUATED (0 or 1), DIRECTIVITY_DEGREE, INTERVALS and TABLE_LENGTH
# (coefficients) of the elevation table, RESIDENT (thread blocks that share a multiprocessor), DEGREE_0 to DEGREE_4.
SOURCE = (
    TRANSFORM_SOURCE
    + r"""#define LANES (CHUNKS * ELEMENTS)
#define STENCIL 6

/* WORK(degree) for the place of a degree among those compiled. */
#define BY_DEGREE(PLACE, WORK) \
    switch (PLACE) { \
    case 0: WORK(DEGREE_0); break; \
    case 1: WORK(DEGREE_1); break; \
    case 2: WORK(DEGREE_2); break; \
    case 3: WORK(DEGREE_3); break; \
    default: WORK(DEGREE_4); \
    }

/* Of two neighbouring elements. */
struct __align__(16) Pair { float re_0, im_0, re_1, im_1; };

INLINE bool is_present(const double *position)
{
    return fabs(position[0]) < 1e3 && fabs(position[1]) < 1e3 && position[2] >= 0.0 && position[2] < 1e3;
}

/* Which thread blocks of an event have made their bins, none yet; here, since it saves a launch. */
INLINE void clear(int *counters, int n_events)
{
    for (int event = blockIdx.x * blockDim.x + threadIdx.x; event < n_events; event += gridDim.x * blockDim.x)
        counters[event] = 0;
}

/* A distance, its inverse, and what a float leaves out of it. */
struct Distance { float r, low, inverse; };

INLINE Distance distance_of(double squared, float shortest)
{
    Distance d;
    d.inverse = rsqrtf(fmaxf((float)squared, 1e-30f));
    d.r = (float)squared * d.inverse;
    d.low = 0.5f * (float)(squared - (double)d.r * (double)d.r) * d.inverse; /* a step of Newton's */
    if (d.r < shortest) { d.r = shortest; d.low = 0.0f; d.inverse = 1.0f / shortest; }
    return d;
}

/* Six-point Lagrange interpolation at p, points at 0 to 5. */
INLINE void interpolate(float p, float *weights)
{
    const float denominators[STENCIL] = {-120.0f, 24.0f, -12.0f, 12.0f, -24.0f, 120.0f};
    #pragma unroll
    for (int i = 0; i < STENCIL; ++i) {
        weights[i] = 1.0f / denominators[i];
        #pragma unroll
        for (int k = 0; k < STENCIL; ++k)
            if (k != i) weights[i] *= p - k;
    }
}

/* Conjugated propagation over twice the mean distance, which the responses leave out. */
INLINE Complex there_and_back(const double *wave, int bin, float nepers, float mean)
{
    const double both_ways = 2.0 * (wave[0] + bin * wave[1]) * mean;
    Complex factor;
    __sincosf(6.28318531f * (float)(both_ways - rint(both_ways)), &factor.im, &factor.re);
    const float kept = ATTENUATED ? __expf(-2.0f * nepers * mean) : 1.0f;
    return complex(factor.re * kept, factor.im * -kept);
}

/* Adds what the elements of a thread receive of one scatterer. */
INLINE void receive(const Pair *responses, Complex echo, Complex *received)
{
    #pragma unroll
    for (int e = 0; e < ELEMENTS; e += 2) {
        const Pair a = responses[e / 2 * THREADS];
        received[e].re = fmaf(echo.re, a.re_0, fmaf(-echo.im, a.im_0, received[e].re));
        received[e].im = fmaf(echo.re, a.im_0, fmaf(echo.im, a.re_0, received[e].im));
        received[e + 1].re = fmaf(echo.re, a.re_1, fmaf(-echo.im, a.im_1, received[e + 1].re));
        received[e + 1].im = fmaf(echo.re, a.im_1, fmaf(echo.im, a.re_1, received[e + 1].im));
    }
}

/* Writes a thread's bins to where an inverse transform wants them. The last thread block of an event to have done so
   transforms it, while its bins are in the cache, in `memory`, which is all shared memory. */
INLINE void finish(const Complex *received, int event, int chunk, int wanted_bin, int n_elements, void *memory,
                   const Complex *roots, int *counters, Complex *output)
{
    Complex *rows = output + (size_t)event * n_elements * ROW_LENGTH;
    const int n_own = n_elements - chunk * ELEMENTS, offset = wanted_bin - BINS / 2;
    if (wanted_bin < BINS) {
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

    def shared_bytes(self, geometry_bytes: int) -> int:
        """Of a thread block: a scatterer's geometry, the responses, and twice the sums of its warps."""
        return geometry_bytes * self.n_lanes + 8 * self.n_threads * (self.per_thread + 2)


def shape_of(tables: KernelTables) -> Shape:
    """32 elements a thread, or 16 where those fit better."""
    n_lanes, tile = len(tables.elements), tables.tile
    per_thread = 32 if n_lanes % 32 == 0 else 16
    n_chunks = n_lanes // per_thread
    if tile == n_lanes:
        return Shape(per_thread, 1, n_chunks, 1)
    return Shape(per_thread, per_thread // tile, n_chunks, n_lanes // tile)


def definitions(
    tables: KernelTables, oversampling: int, *, shared_bytes: int, registers: int, degrees: tuple[int, ...]
) -> dict[str, Any]:
    """The macros that both sources need."""
    shape, n_bins = shape_of(tables), tables.delay_phases.shape[1]
    row_length = n_bins * oversampling
    radices = fused_radices(row_length, shared_bytes)
    return {
        "ELEMENTS": shape.per_thread,
        "CHUNKS": shape.n_chunks,
        "THREADS": shape.n_threads,
        "BINS": n_bins,
        "PADDED_BINS": padded(n_bins),
        "BIN_TILES": -(-n_bins // WARP),
        "ROW_LENGTH": row_length,
        "RESIDENT": max(1, REGISTERS // (registers * shape.n_threads)),
        "DIRECTIVITY_DEGREE": tables.directivity.shape[1] - 1,
        "INTERVALS": len(tables.intervals),
        "TABLE_LENGTH": tables.elevation.shape[-1] // 2,
        "ATTENUATED": int(any(tables.nepers)),
        "FUSED": int(bool(radices) or row_length == 1),
        "ROWS": max(1, min(MOST_ROWS, rows_at_a_time(row_length, shared_bytes))),
        "RADICES": "{" + ",".join(map(str, radices or (1,))) + "}",
        "N_RADICES": len(radices),
        **{f"DEGREE_{i}": degree for i, degree in enumerate(degrees)},
    }


def as_source(macros: dict[str, Any]) -> str:
    """Macros as the beginning of a source."""
    return "".join(f"#define {name} {value}\n" for name, value in macros.items())


def padded(n_bins: int) -> int:
    """To a multiple of four."""
    return 4 * -(-n_bins // 4)


class Kernels(NamedTuple):
    """Compiled kernels, and what of a launch does not depend on the scatterers."""

    prepare: Any
    simulate: Any
    n_threads: tuple[int, int]  # of a thread block of each
    shared_bytes: int  # of a thread block of `simulate`
    fused: bool  # whether `simulate` transforms its rows
    n_bins: int
    preparing: tuple[Any, ...]  # arguments of `prepare`
    simulating: tuple[Any, ...]  # of `simulate`
    prepared: tuple[
        tuple[tuple[int, ...], type[np.generic]], ...
    ]  # shape and type of each array of a scatterer

    @property
    def bytes_of_scatterer(self) -> int:
        """Of what is prepared."""
        return sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in self.prepared)


class Constant(NamedTuple):
    """Arrays on the device that do not depend on the scatterers; see the kernels for their axes."""

    elements: Any
    table: Any
    degrees: Any  # as places among those compiled
    table_degrees: Any  # the degrees themselves
    intervals: Any
    steps: Any
    constants: Any
    fired: Any
    fired_step: Any
    spectrum_weights: Any
    directivity: Any
    wave: Any
    roots: Any


@lru_cache(maxsize=16)
def constant(tables: KernelTables, row_length: int) -> Constant:
    """Copies of the tables on the device, arranged for the kernels."""
    import cupy

    n_bins = tables.elevation.shape[-2]
    padding = [(0, 0)] * 3 + [(0, -n_bins % 4)]
    phases = tables.delay_phases.astype(np.float64)
    fired = (phases[:, :, 0] + 1j * phases[:, :, 1]).transpose(0, 2, 1)  # (angle, lane, bin)
    step = fired[:, 1] / fired[:, 0] if tables.n_elements > 1 else np.ones_like(fired[:, 0])
    arrays: dict[str, NDArray[Any]] = {
        "elements": tables.elements,
        "table": np.pad(tables.elevation.transpose(0, 1, 3, 2), padding),
        "degrees": tables.degrees.astype(np.int32),
        "table_degrees": np.take(tables.compiled_degrees, tables.degrees).astype(np.int32),
        "intervals": tables.intervals,
        "steps": np.array(tables.steps, dtype=np.float64),
        "constants": np.array(tables.constants, dtype=np.float64),
        "fired": fired[:, :: shape_of(tables).per_thread].astype(np.complex64),
        "fired_step": (step / np.abs(step)).astype(np.complex64),
        "spectrum_weights": tables.spectrum_weights,
        "directivity": tables.directivity.T,
        "wave": np.array([*tables.wave_turns, *tables.nepers], dtype=np.float64),
        "roots": np.exp(2j * np.pi * np.arange(row_length) / row_length).astype(np.complex64),
    }
    return Constant(**{name: cupy.asarray(np.ascontiguousarray(array)) for name, array in arrays.items()})


def compiled(source: str, shared_bytes: int) -> tuple[Any, Any]:
    """The kernels `prepare` and `simulate`."""
    import cupy

    module = cupy.RawModule(code=source, options=("--std=c++14",))
    prepare, simulate = module.get_function("prepare"), module.get_function("simulate")
    simulate.max_dynamic_shared_size_bytes = shared_bytes
    return prepare, simulate
