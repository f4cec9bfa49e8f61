"""Delay-and-sum on the GPU: one CUDA kernel, the twin of `kernels_cpu`.

A thread block makes a square tile of the images of FRAMES frames. Channel by channel it copies the samples that the
tile looks at into shared memory, oversamples them there, and adds them to its pixels: oversampled channels would not
fit into the caches, and most of a record lies outside a tile's depths. A delay is worked out once for all frames.
The source uses only what a small shim over the CUDA built-ins can stand in for, so that tests compile it for the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ulmpipe.beamforming.das import Scan

FRAMES = 8  # of a thread block, even
MOST_THREADS = 256
# that keep a GPU busy: a small image is made by several groups of elements, and then added up
WANTED_BLOCKS = 256
SHARED_BYTES = 48 * 1024  # that every GPU grants
SIDES = (32, 16, 8, 4, 2, 1)  # of a tile, pixels: the first whose samples fit into shared memory
PIXELS_AT_ONCE = 16384  # bounds the memory of the delay tables while they are made
BYTES_AT_ONCE = 256 * 2**20  # of channel data that are copied to the device in one go

# Needs the macros FRAMES, THREADS, WARP, RESIDENT (thread blocks that share a multiprocessor), PIXELS (of a thread),
# SAMPLES_OF_LANE (of a channel, read by a thread), OVERSAMPLING, TAPS and FILTER (a list of floats).
SOURCE = r"""
#define ROW (FRAMES + 2) /* oversampled samples of all frames side by side, and what keeps rows in different banks */
#define WARPS (THREADS / WARP)
#define FRAMES_OF_WARP ((FRAMES + WARPS - 1) / WARPS)
#define BEFORE (OVERSAMPLING > 1 ? TAPS / 2 - 1 : 0)

static __constant__ float filter[OVERSAMPLING][TAPS] = FILTER;

/* Oversampled samples first * OVERSAMPLING and following, row by row, from raw ones that begin BEFORE `first`. */
static __device__ __forceinline__ void refine(const float2 *raw, int stride, int n_samples, float2 *fine)
{
    for (int i = threadIdx.x; i < n_samples * FRAMES; i += THREADS) {
        const int frame = i % FRAMES, sample = i / FRAMES;
        const float2 *source = raw + frame * stride + sample;
        float2 sum[OVERSAMPLING];
        #pragma unroll
        for (int q = 0; q < OVERSAMPLING; ++q) sum[q] = make_float2(0.0f, 0.0f);
        #pragma unroll
        for (int tap = 0; tap < TAPS; ++tap) {
            const float2 value = source[tap];
            #pragma unroll
            for (int q = 0; q < OVERSAMPLING; ++q) {
                sum[q].x += filter[q][tap] * value.x;
                sum[q].y += filter[q][tap] * value.y;
            }
        }
        #pragma unroll
        for (int q = 0; q < OVERSAMPLING; ++q) fine[(sample * OVERSAMPLING + q) * ROW + frame] = sum[q];
    }
}

/* A channel, and which of its samples a tile looks at: the first one and how many; none after the last channel. */
struct Channel { int element, angle, first, count; };

/* The first channel from this one on of which the tile sees something, angle after angle of each element. */
static __device__ __forceinline__ Channel next_seen(Channel channel, int end_element, int n_angles,
                                                    const float2 *transmit_range, const float2 *receive_range,
                                                    int tile, int n_tiles, int last_row)
{
    for (; channel.element < end_element; ++channel.element, channel.angle = 0) {
        const float2 seen = receive_range[(size_t)channel.element * n_tiles + tile];
        if (!(seen.x <= seen.y)) continue;
        for (; channel.angle < n_angles; ++channel.angle) {
            const float2 sent = transmit_range[(size_t)channel.angle * n_tiles + tile];
            const float from = floorf(fmaxf(sent.x + seen.x, 0.0f));
            const float to = floorf(fminf(sent.y + seen.y, (float)last_row)) + 1.0f;
            if (!(from < to)) continue;
            channel.first = (int)from / OVERSAMPLING;
            channel.count = (int)to / OVERSAMPLING - channel.first + 1;
            return channel;
        }
    }
    channel.count = 0;
    return channel;
}

/* Its samples of some frames into registers, long before they are wanted. data (frame, angle, element, sample). */
static __device__ __forceinline__ void read_ahead(const float2 *data, Channel channel, int first_frame, int n_frames,
                                                  int n_angles, int n_elements, int n_samples,
                                                  float2 (&ahead)[FRAMES_OF_WARP][SAMPLES_OF_LANE])
{
    #pragma unroll
    for (int j = 0; j < FRAMES_OF_WARP; ++j) {
        const int frame = first_frame + threadIdx.x / WARP + j * WARPS;
        const float2 *from
            = data + (((size_t)frame * n_angles + channel.angle) * n_elements + channel.element) * n_samples;
        #pragma unroll
        for (int i = 0; i < SAMPLES_OF_LANE; ++i) {
            const int place = threadIdx.x % WARP + i * WARP, sample = channel.first - BEFORE + place;
            const bool there = channel.count > 0 && place < channel.count + TAPS - 1 && frame < n_frames;
            ahead[j][i] = there && sample >= 0 && sample < n_samples ? from[sample] : make_float2(0.0f, 0.0f);
        }
    }
}

/* data (frame, angle, element, sample); positions in oversampled samples and phases (angle or element, tile, pixel);
   ranges of the positions within a tile (angle or element, tile), from > to where no pixel of it sees the element;
   pixel (tile, pixel): index into an image, -1 outside it. Shared memory: rows, then raw samples. Thread blocks
   (tile, frames, group of elements); image (group, frame, pixel). */
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) delay_and_sum(
    const float2 *data, const float *transmit_position, const float2 *transmit_phase, const float *receive_position,
    const float2 *receive_phase, const float2 *transmit_range, const float2 *receive_range, const long long *pixel,
    int n_frames, int n_angles, int n_elements, int n_samples, int most_samples, int stride, long long image_size,
    float2 *image)
{
    extern __shared__ float4 memory[];
    float2 *fine = (float2 *)memory;
    float2 *raw = fine + most_samples * OVERSAMPLING * ROW;
    const int tile = blockIdx.x, n_tiles = gridDim.x;
    const int first_frame = blockIdx.y * FRAMES;
    const int first_element = (int)((long long)n_elements * blockIdx.z / gridDim.z);
    const int end_element = (int)((long long)n_elements * (blockIdx.z + 1) / gridDim.z);
    const int last_row = (n_samples - 1) * OVERSAMPLING; /* that a position may reach */
    const size_t tile_size = (size_t)THREADS * PIXELS;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

    float2 sum[PIXELS][FRAMES];
    #pragma unroll
    for (int k = 0; k < PIXELS; ++k)
        #pragma unroll
        for (int f = 0; f < FRAMES; ++f) sum[k][f] = make_float2(0.0f, 0.0f);

    float at[PIXELS] = {};
    float2 receive[PIXELS] = {};
    float2 ahead[FRAMES_OF_WARP][SAMPLES_OF_LANE];
    int last_element = -1;
    Channel next = {first_element, 0, 0, 0};
    next = next_seen(next, end_element, n_angles, transmit_range, receive_range, tile, n_tiles, last_row);
    read_ahead(data, next, first_frame, n_frames, n_angles, n_elements, n_samples, ahead);
    while (next.count > 0) {
        const Channel channel = next;
        if (channel.element != last_element) {
            const size_t received = ((size_t)channel.element * n_tiles + tile) * tile_size + threadIdx.x;
            #pragma unroll
            for (int k = 0; k < PIXELS; ++k) {
                at[k] = receive_position[received + k * THREADS];
                receive[k] = receive_phase[received + k * THREADS];
            }
            last_element = channel.element;
        }
        #pragma unroll
        for (int j = 0; j < FRAMES_OF_WARP; ++j)
            #pragma unroll
            for (int i = 0; i < SAMPLES_OF_LANE; ++i)
                if (warp + j * WARPS < FRAMES && lane + i * WARP < channel.count + TAPS - 1)
                    raw[(warp + j * WARPS) * stride + lane + i * WARP] = ahead[j][i];
        __syncthreads(); /* the rows of the last channel are read, the samples of this one are written */
        refine(raw, stride, channel.count, fine);
        __syncthreads();
        const int first_row = channel.first * OVERSAMPLING;
        ++next.angle;
        next = next_seen(next, end_element, n_angles, transmit_range, receive_range, tile, n_tiles, last_row);
        read_ahead(data, next, first_frame, n_frames, n_angles, n_elements, n_samples, ahead);
        const size_t fired = ((size_t)channel.angle * n_tiles + tile) * tile_size + threadIdx.x;
        #pragma unroll
        for (int k = 0; k < PIXELS; ++k) {
            const float position = transmit_position[fired + k * THREADS] + at[k];
            const float2 transmit = transmit_phase[fired + k * THREADS];
            if (receive[k].x == 0.0f && receive[k].y == 0.0f) continue;
            if (!(position >= 0.0f && position <= (float)last_row)) continue;
            const int row = (int)position;
            const float far = position - (float)row;
            const float re = transmit.x * receive[k].x - transmit.y * receive[k].y;
            const float im = transmit.x * receive[k].y + transmit.y * receive[k].x;
            const float4 *near_row = (const float4 *)(fine + (row - first_row) * ROW);
            #pragma unroll
            for (int pair = 0; pair < FRAMES / 2; ++pair) {
                const float4 a = near_row[pair], b = near_row[ROW / 2 + pair];
                const float x = a.x + far * (b.x - a.x), y = a.y + far * (b.y - a.y);
                const float z = a.z + far * (b.z - a.z), w = a.w + far * (b.w - a.w);
                sum[k][2 * pair].x += re * x - im * y;
                sum[k][2 * pair].y += re * y + im * x;
                sum[k][2 * pair + 1].x += re * z - im * w;
                sum[k][2 * pair + 1].y += re * w + im * z;
            }
        }
    }
    float2 *to = image + (size_t)blockIdx.z * n_frames * image_size;
    #pragma unroll
    for (int k = 0; k < PIXELS; ++k) {
        const long long at = pixel[(size_t)tile * tile_size + threadIdx.x + k * THREADS];
        if (at < 0) continue;
        #pragma unroll
        for (int f = 0; f < FRAMES; ++f)
            if (first_frame + f < n_frames) to[(first_frame + f) * image_size + at] = sum[k][f];
    }
}
"""


class _Tiles(NamedTuple):
    """Delays of some tiles of the grid, on the device; made in float64, the kernel only interpolates and sums."""

    transmit_position: Any  # (angle, tile, pixel) float32: oversampled samples; those of both ways add up
    transmit_phase: (
        Any  # (angle, tile, pixel) complex64: of the carrier, over the number of angles; phases multiply
    )
    receive_position: Any  # (element, tile, pixel) float32
    receive_phase: Any  # (element, tile, pixel) complex64: times the apodization, zero outside the aperture
    transmit_range: Any  # (angle, tile, 2) float32: least and largest position within the tile
    receive_range: Any  # (element, tile, 2) float32: of the pixels that see the element
    pixel: Any  # (tile, pixel) int64: index into the flattened image, -1 outside


class _Plan(NamedTuple):
    """What a scan asks of the device, whatever the data."""

    kernel: Any
    n_threads: int
    tiles: list[_Tiles]
    most_samples: int  # of a channel that a tile looks at
    stride: int  # of the raw samples of one frame in shared memory
    shared_bytes: int


def beamform(data: Any, scan: Scan) -> Any:
    """Images (frame, pixel), a CuPy array, from data (frame, angle, element, sample); see `das.delay_and_sum`.

    Data of NumPy are copied to the device some frames at a time. The delays stay there: 12 bytes per element and pixel.
    """
    import cupy

    n_frames, n_angles, n_elements, n_samples = data.shape
    image = cupy.empty((n_frames, scan.grid.z.size * scan.grid.x.size), dtype=np.complex64)
    frame_bytes = 8 * n_angles * n_elements * n_samples
    at_once = max(1, n_frames if isinstance(data, cupy.ndarray) else BYTES_AT_ONCE // max(1, frame_bytes))
    plan = _plan(scan)
    for first in range(0, n_frames, at_once):
        some = cupy.asarray(data[first : first + at_once])
        sizes = (len(some), n_angles, n_elements, n_samples, plan.most_samples, plan.stride)
        n_blocks = plan.tiles[0].pixel.shape[0] * -(-len(some) // FRAMES)
        n_groups = max(1, min(n_elements, WANTED_BLOCKS // n_blocks))
        parts = cupy.empty((n_groups, len(some), image.shape[1]), dtype=np.complex64)
        for tiles in plan.tiles:
            plan.kernel(
                (tiles.pixel.shape[0], -(-len(some) // FRAMES), n_groups),
                (plan.n_threads,),
                (some, *tiles, *(np.int32(size) for size in sizes), np.int64(image.shape[1]), parts),
                shared_mem=plan.shared_bytes,
            )
        image[first : first + at_once] = parts.sum(axis=0)
    return image


@lru_cache(maxsize=4)
def _plan(scan: Scan) -> _Plan:
    oversampling, n_taps = scan.interpolation_filter.shape
    for side in SIDES:
        tiles = list(_tabulate(scan, side))
        span = max(_widest(each) for each in tiles)
        most_samples = int(span) // oversampling + 3
        n_raw = most_samples + n_taps - 1
        stride = n_raw + (2 - n_raw) % 16  # frames beside each other then lie in different banks
        shared_bytes = 8 * (most_samples * oversampling * (FRAMES + 2) + FRAMES * stride)
        if shared_bytes <= SHARED_BYTES or side == 1:
            break
    kernel = _compiled(definitions(scan.interpolation_filter, side, n_raw))
    return _Plan(kernel, _count_threads(side), tiles, most_samples, stride, shared_bytes)


def _count_threads(side: int) -> int:
    return min(MOST_THREADS, side * side)


def definitions(interpolation_filter: NDArray[np.float32], side: int, n_raw: int) -> str:
    """The macros of the source, for tiles of `side` pixels that look at up to `n_raw` samples of a channel."""
    oversampling, n_taps = interpolation_filter.shape
    n_threads = _count_threads(side)
    literals = ",".join(
        "{" + ",".join(f"{tap:.9e}f" for tap in phase) + "}" for phase in interpolation_filter
    )
    values = {
        "FRAMES": FRAMES,
        "THREADS": n_threads,
        "WARP": min(32, n_threads),
        "RESIDENT": 2,
        "SAMPLES_OF_LANE": -(-n_raw // min(32, n_threads)),
        "PIXELS": side * side // n_threads,
        "OVERSAMPLING": oversampling,
        "TAPS": n_taps,
        "FILTER": "{" + literals + "}",
    }
    return "".join(f"#define {name} {value}\n" for name, value in values.items())


def _widest(tiles: _Tiles) -> float:
    """Largest distance between the positions of a channel within a tile, oversampled samples."""
    widths = [
        float((each[..., 1] - each[..., 0]).max()) for each in (tiles.transmit_range, tiles.receive_range)
    ]
    return max(0.0, sum(widths))


@lru_cache(maxsize=8)
def _compiled(definitions: str) -> Any:
    import cupy

    return cupy.RawKernel(definitions + SOURCE, "delay_and_sum", options=("--std=c++14",))


def _tabulate(scan: Scan, side: int) -> Iterator[_Tiles]:
    """Delays of all square tiles of `side` pixels, a bounded number at a time."""
    import cupy as xp

    n_z, n_x = scan.grid.shape
    tiles_x = -(-n_x // side)
    n_tiles = tiles_x * -(-n_z // side)
    element, angle = (xp.asarray(each)[:, None, None] for each in (scan.element_positions, scan.angles))
    first_firing = xp.asarray(scan.first_firing)[:, None, None]
    grid_z, grid_x = xp.asarray(scan.grid.z), xp.asarray(scan.grid.x)
    within = xp.arange(side * side)
    at_once = max(1, PIXELS_AT_ONCE // side**2)
    for first in range(0, n_tiles, at_once):
        tile = xp.arange(first, min(first + at_once, n_tiles))[:, None]
        row = tile // tiles_x * side + within // side
        column = tile % tiles_x * side + within % side
        inside = (row < n_z) & (column < n_x)
        z, x = grid_z[xp.minimum(row, n_z - 1)], grid_x[xp.minimum(column, n_x - 1)]

        transmit_delay = (x * xp.sin(angle) + z * xp.cos(angle)) / scan.speed_of_sound - first_firing
        distance = xp.hypot(x - element, z)
        receive_delay = distance / scan.speed_of_sound
        sent_later, sent_turns = _lens(scan, z / xp.cos(angle))
        received_later, received_turns = _lens(scan, distance)
        transmit_position = (
            (transmit_delay + sent_later - scan.start_time) * scan.sampling_frequency
        ).astype(np.float32)
        receive_position = ((receive_delay + received_later) * scan.sampling_frequency).astype(np.float32)
        weight = _apodization(scan, element, x, z) * inside
        seen = weight > 0
        yield _Tiles(
            transmit_position,
            _phase(scan.demodulation_frequency * transmit_delay + sent_turns) / np.float32(angle.size),
            receive_position,
            _phase(scan.demodulation_frequency * receive_delay + received_turns) * weight,
            _range(transmit_position, inside[None]),
            _range(receive_position, seen),
            xp.where(inside, row * n_x + column, -1),
        )


def _range(position: Any, counts: Any) -> Any:
    """Least and largest of the positions (…, tile, pixel) that count; none: least above largest."""
    import cupy as xp

    least = xp.where(counts, position, np.float32(np.inf)).min(axis=-1)
    largest = xp.where(counts, position, np.float32(-np.inf)).max(axis=-1)
    return xp.stack([least, largest], axis=-1)


def _lens(scan: Scan, distance: Any) -> tuple[Any, Any]:
    """Delay, s, and phase, turns, that the elevation lens adds to a way of this length."""
    if scan.lens.size == 0:
        return 0.0, 0.0
    near = scan.lens_focus / distance.clip(*scan.lens_range)
    path = turns = 0.0
    for path_term, turns_term in scan.lens.T[::-1].tolist():  # Horner's rule
        path, turns = path * near + path_term, turns * near + turns_term
    return path / scan.speed_of_sound, turns


def _apodization(scan: Scan, element: Any, x: Any, z: Any) -> Any:
    """Weight of every element for every pixel (element, tile, pixel); a Tukey window."""
    import cupy as xp

    if scan.f_number > 0:
        distance, half_aperture = xp.abs(x - element), z / (2 * scan.f_number)
        inside, off_axis = distance <= half_aperture, distance / xp.maximum(half_aperture, 1e-30)
    else:
        inside, off_axis = xp.ones((element.size, *x.shape), bool), xp.abs(element) / scan.half_array
    weight = inside.astype(np.float32)
    if scan.taper > 0:
        outer = ((off_axis - (1 - scan.taper)) / scan.taper).clip(0, 1)
        weight *= (0.5 + 0.5 * xp.cos(np.pi * outer)).astype(np.float32)
    return weight


def _phase(turns: Any) -> NDArray[np.complex64]:
    """exp(2 pi i turns); whole turns are dropped in float64, so that float32 is enough for the rest."""
    import cupy as xp

    radians = (2 * np.pi * (turns - xp.rint(turns))).astype(np.float32)
    phase = xp.empty(turns.shape, dtype=np.complex64)
    phase.real, phase.imag = xp.cos(radians), xp.sin(radians)
    return phase
