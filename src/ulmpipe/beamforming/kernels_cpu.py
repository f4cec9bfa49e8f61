"""Delay-and-sum on the CPU: numba, in vectors of sixteen frames.

A task is one block of pixels in up to 128 frames. For a few channels at a time it works out, once, where every
pixel finds its samples and what multiplies them; then, sixteen frames after another, it reads the samples that
the block needs, oversamples them, and adds them to the pixels. The frames lie side by side, so that every step
is one on whole vectors whatever the delays are. Tasks share nothing that they write: results do not depend on
the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from ulmpipe.lanes import (
    LANES,
    at_most,
    floor,
    larger,
    load,
    narrow,
    nearest_integer,
    pointer,
    sine_cosine,
    smaller,
    spread,
    square_root,
    store,
    transpose,
)
from ulmpipe.parallel import in_threads

if TYPE_CHECKING:
    from ulmpipe.beamforming.das import Scan

PART = 16  # pixels in depth whose samples stay in the nearest cache
BLOCK_SIDE = 32  # pixels: a block's sums stay in a core's own cache
FRAMES = 8 * LANES  # of a task
GROUP = 4  # channels added to a pixel at once: fewer trips of its sums
PAIR = 2 * LANES  # real, then imaginary parts of sixteen frames
ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)
NOWHERE = np.float32(1e9)  # beyond the last sample of any record
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


class _Geometry(NamedTuple):
    """A `Scan` for the kernels; lengths in metres, times in samples of the oversampled record."""

    x: NDArray[np.float64]  # (pixel,), in blocks
    z: NDArray[np.float64]
    target: NDArray[np.int64]  # (pixel,): its place in the image
    block_start: NDArray[np.int64]  # (block + 1,), multiples of sixteen
    element: NDArray[np.float64]
    sine: NDArray[np.float64]  # (angle,)
    cosine: NDArray[np.float64]
    samples_per_metre: float
    origin: NDArray[np.float64]  # (angle,): start of the record from when the wave's centre leaves x = 0
    turns: float  # of the carrier, per sample
    start_turns: float  # of the carrier, at the first sample
    double_f_number: float
    half_array: float  # half the length of the full aperture
    taper: float
    lens: NDArray[np.float64]  # (path or phase, power of lens_focus / distance)
    lens_focus: float
    lens_range: tuple[float, float]


def beamform(data: NDArray[np.complex64], scan: Scan, image: NDArray[np.complex64], workers: int) -> None:
    """Fill image (frame, pixel) from data (frame, angle, element, sample); see `das.delay_and_sum`."""
    samples, taps, pixels = data.view(np.float32), scan.interpolation_filter, image.view(np.float32)
    geometry = _geometry(scan)

    def run(first: int, last: int) -> None:
        _beamform_tasks(samples, taps, geometry, first, last, pixels)

    n_blocks = geometry.block_start.size - 1
    in_threads(run, -(-len(data) // FRAMES) * n_blocks, workers=workers)


def _geometry(scan: Scan) -> _Geometry:
    blocks = _pixel_blocks(scan.grid.shape)
    pixel = np.concatenate(blocks)
    n_x = scan.grid.x.size
    return _Geometry(
        scan.grid.x[pixel % n_x],
        scan.grid.z[pixel // n_x],
        pixel,
        np.cumsum([0, *(block.size for block in blocks)], dtype=np.int64),
        scan.element_positions,
        np.sin(scan.angles),
        np.cos(scan.angles),
        scan.sampling_frequency / scan.speed_of_sound,
        (scan.first_firing + scan.start_time) * scan.sampling_frequency,
        scan.demodulation_frequency / scan.sampling_frequency,
        scan.demodulation_frequency * scan.start_time,
        2 * scan.f_number,
        scan.half_array,
        scan.taper,
        scan.lens,
        scan.lens_focus,
        scan.lens_range,
    )


def _pixel_blocks(shape: tuple[int, int]) -> list[NDArray[np.int64]]:
    """Flat pixel indices of near-equal blocks of at most BLOCK_SIDE² pixels, which share their samples.

    Columns first, since neighbours in z read neighbouring samples; the last pixel is repeated up to a multiple
    of sixteen.
    """
    index = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)
    blocks = [
        np.concatenate([part.T.ravel() for part in np.array_split(block, -(-len(block) // PART))])
        for band in np.array_split(index, -(-shape[0] // BLOCK_SIDE), axis=0)
        for block in np.array_split(band, -(-shape[1] // BLOCK_SIDE), axis=1)
    ]
    return [np.pad(block, (0, -block.size % LANES), mode="edge") for block in blocks]


@numba.njit(**OPTIONS)
def _aligned(memory):  # type: ignore[no-untyped-def]
    """The part of float32 `memory` that begins on a cache line; sixteen numbers shorter."""
    first = (LANES - memory.ctypes.data // 4 % LANES) % LANES
    return memory[first : first + memory.size - LANES]


@numba.njit(**OPTIONS)
def _beamform_tasks(data, taps, geometry, first_task, last_task, image):  # type: ignore[no-untyped-def]
    n_blocks = geometry.block_start.size - 1
    for task in range(first_task, last_task):
        first_frame = (task // n_blocks) * FRAMES
        block = task % n_blocks
        _beamform_block(
            data[first_frame : first_frame + FRAMES],
            taps,
            geometry,
            geometry.block_start[block],
            geometry.block_start[block + 1],
            image[first_frame : first_frame + FRAMES],
        )


@numba.njit(**OPTIONS)
def _beamform_block(data, taps, geometry, first_pixel, last_pixel, image):  # type: ignore[no-untyped-def]
    n_frames, n_angles, n_elements = data.shape[:3]
    n_samples = data.shape[3] // 2
    oversampling, n_taps = taps.shape
    n_pixels = last_pixel - first_pixel
    n_rows = (n_samples - 1) * oversampling + 2
    n_tiles = (n_frames + LANES - 1) // LANES
    # coarse (sample, part, frame): a channel as recorded; fine (channel, row, part, frame): oversampled;
    # sums (tile, pixel, part, frame); weights (pixel, channel, near and far × real and imaginary part);
    # rows (channel, pixel): sample at or before the delay; start (pixel, channel): its place in fine
    coarse = _aligned(np.empty((n_samples + n_taps + 2 * LANES) * PAIR + LANES, dtype=np.float32))
    fine = _aligned(np.empty(GROUP * (n_rows + 2) * PAIR + LANES, dtype=np.float32))
    sums = _aligned(np.zeros(n_tiles * n_pixels * PAIR + LANES, dtype=np.float32))
    weights = _aligned(np.zeros(n_pixels * LANES + LANES, dtype=np.float32))
    rows = _aligned(np.zeros(GROUP * n_pixels + LANES, dtype=np.float32))
    square = _aligned(np.zeros(LANES * LANES + LANES, dtype=np.float32))
    bounds = _aligned(np.zeros(GROUP * PAIR + LANES, dtype=np.float32))
    start = np.zeros(n_pixels * GROUP, dtype=np.int64)
    ranges = np.zeros((GROUP, 2), dtype=np.int64)
    for angle in range(n_angles):
        for first_element in range(0, n_elements, GROUP):
            n_group = min(GROUP, n_elements - first_element)
            in_use = _place(
                geometry, angle, first_element, n_group, first_pixel, n_pixels, n_rows,
                pointer(weights), pointer(rows), pointer(square), pointer(bounds), start, ranges,
            )  # fmt: skip
            if not in_use:
                continue
            for tile in range(n_tiles):
                for member in range(n_group):
                    element = first_element + member
                    _refine(
                        data[tile * LANES : (tile + 1) * LANES, angle, element], taps,
                        ranges[member, 0], ranges[member, 1], coarse, pointer(fine), member * (n_rows + 2) * PAIR,
                    )  # fmt: skip
                _accumulate(
                    pointer(fine), pointer(start), pointer(weights), n_pixels,
                    pointer(sums), tile * n_pixels * PAIR,
                )  # fmt: skip
    for frame in range(n_frames):
        tile, lane = frame // LANES, frame % LANES
        for index in range(n_pixels):
            at = (tile * n_pixels + index) * PAIR + lane
            to = 2 * geometry.target[first_pixel + index]
            image[frame, to] = sums[at]
            image[frame, to + 1] = sums[at + LANES]


@numba.njit(**OPTIONS)
def _place(  # type: ignore[no-untyped-def]
    geometry, angle, first_element, n_group, first_pixel, n_pixels, n_rows,
    weights, rows, square, bounds, start, ranges,
):  # fmt: skip
    """Where each pixel finds the two samples of a few channels, and what multiplies them.

    Fills `start`, `weights` and the range of rows that each channel uses; returns whether any is used. A pixel
    that the channel does not reach gets weights of zero.
    """
    x, z = pointer(geometry.x), pointer(geometry.z)
    last_row = spread(np.float32(n_rows - 2))
    for member in range(GROUP):
        store(bounds, member * PAIR, spread(NOWHERE))
        store(bounds, member * PAIR + LANES, spread(-NOWHERE))
    for index in range(0, n_pixels, LANES):
        px, pz = load(x, first_pixel + index), load(z, first_pixel + index)
        sent = px * geometry.sine[angle] + pz * geometry.cosine[angle]
        sent_path, sent_phase = _lens(geometry, pz / geometry.cosine[angle])
        for member in range(GROUP):
            element = geometry.element[first_element + min(member, n_group - 1)]
            dx = px - element
            distance = square_root(dx * dx + pz * pz)
            delay = (sent + distance) * geometry.samples_per_metre - geometry.origin[angle]
            turns = delay * geometry.turns + geometry.start_turns
            if geometry.lens.size > 0:
                path, phase = _lens(geometry, distance)
                delay = delay + (sent_path + path) * geometry.samples_per_metre
                turns = turns + (sent_phase + phase)
            sine, cosine = sine_cosine(narrow(turns - nearest_integer(turns)))
            position = narrow(delay)
            reached = at_most(spread(ZERO), position) * at_most(position, last_row)
            off_axis = spread(np.float32(abs(element) / geometry.half_array))
            if geometry.double_f_number > 0.0:
                beside, half_aperture = larger(dx, ZERO - dx), pz / geometry.double_f_number
                reached = reached * at_most(beside, half_aperture)
                off_axis = narrow(beside / larger(half_aperture, spread(1e-30)))
            amplitude = reached * (np.float32(1.0 / geometry.sine.size) if member < n_group else ZERO)
            if geometry.taper > 0.0:
                amplitude = amplitude * _taper(off_axis, np.float32(geometry.taper))
            position = smaller(larger(position, spread(ZERO)), last_row)
            whole = floor(position)
            far = amplitude * (position - whole)
            near = amplitude - far
            store(rows, member * n_pixels + index, whole)
            store(square, 4 * member * LANES, near * cosine)
            store(square, (4 * member + 1) * LANES, near * sine)
            store(square, (4 * member + 2) * LANES, far * cosine)
            store(square, (4 * member + 3) * LANES, far * sine)
            unused = (ONE - reached) * NOWHERE
            at = member * PAIR
            store(bounds, at, smaller(load(bounds, at), whole + unused))
            store(bounds, at + LANES, larger(load(bounds, at + LANES), whole - unused))
        transpose(square, 0, LANES, weights, index * LANES, LANES)
    in_use = False
    for member in range(GROUP):
        first, last = NOWHERE, -NOWHERE
        for lane in range(LANES):
            first = min(first, bounds[member * PAIR + lane])
            last = max(last, bounds[member * PAIR + LANES + lane])
        if first > last or member >= n_group:
            first, last = ZERO, ZERO
        else:
            in_use = True
        ranges[member, 0], ranges[member, 1] = int(first), int(last) + 1
        base = min(member, n_group - 1) * (n_rows + 2) - int(first)
        for index in range(n_pixels):
            row = min(max(rows[member * n_pixels + index], first), last)
            start[index * GROUP + member] = (base + int(row)) * PAIR
    return in_use


@numba.njit(**OPTIONS)
def _lens(geometry, distance):  # type: ignore[no-untyped-def]
    """Path and phase that the elevation lens adds to a way of this length."""
    path, phase = spread(0.0), spread(0.0)
    nearest, farthest = geometry.lens_range
    near = geometry.lens_focus / smaller(larger(distance, spread(nearest)), spread(farthest))
    for power in range(geometry.lens.shape[1] - 1, -1, -1):
        path = path * near + geometry.lens[0, power]
        phase = phase * near + geometry.lens[1, power]
    return path, phase


@numba.njit(**OPTIONS)
def _taper(off_axis, taper):  # type: ignore[no-untyped-def]
    """Tukey window: 1, then half a period of a cosine over the outer `taper` of the aperture."""
    outer = smaller(larger((off_axis - (ONE - taper)) / taper, spread(ZERO)), spread(ONE))
    _, cosine = sine_cosine(outer * HALF)
    return HALF + cosine * HALF


@numba.njit(**OPTIONS)
def _refine(samples, taps, first_row, last_row, coarse, fine, base):  # type: ignore[no-untyped-def]
    """Oversampled rows first_row to last_row of one channel in sixteen frames, from `base` on in fine."""
    oversampling, n_taps = taps.shape
    if oversampling == 1:
        _read(samples, first_row, last_row, coarse)
        source = pointer(coarse)
        for k in range(0, (last_row - first_row + 1) * PAIR, LANES):
            store(fine, base + k, load(source, k))
        return
    lead = n_taps // 2 - 1
    first_sample = first_row // oversampling - lead
    _read(samples, first_sample, last_row // oversampling + n_taps - lead, coarse)
    source, weights = pointer(coarse), pointer(taps)
    for row in range(first_row, last_row + 1):
        at = (row // oversampling - lead - first_sample) * PAIR
        phase, to = row % oversampling, base + (row - first_row) * PAIR
        first_of_four = row - phase
        if oversampling != 4 or first_of_four < first_row or first_of_four + 3 > last_row:
            _interpolate(source, at, weights, phase * n_taps, n_taps, fine, to)
        elif phase == 0:
            _interpolate_four(source, at, weights, n_taps, fine, to)


@numba.njit(**OPTIONS)
def _interpolate(source, at, weights, phase, n_taps, fine, to):  # type: ignore[no-untyped-def]
    """One row between two samples."""
    real, imaginary = spread(ZERO), spread(ZERO)
    for tap in range(n_taps):
        weight = spread(weights[phase + tap])
        real = real + load(source, at + tap * PAIR) * weight
        imaginary = imaginary + load(source, at + tap * PAIR + LANES) * weight
    store(fine, to, real)
    store(fine, to + LANES, imaginary)


@numba.njit(**OPTIONS)
def _interpolate_four(source, at, weights, n_taps, fine, to):  # type: ignore[no-untyped-def]
    """The four rows of a sample oversampled four times; sums in the order of `_interpolate`, to the last bit."""
    re_0, im_0, re_1, im_1 = spread(ZERO), spread(ZERO), spread(ZERO), spread(ZERO)
    re_2, im_2, re_3, im_3 = spread(ZERO), spread(ZERO), spread(ZERO), spread(ZERO)
    for tap in range(n_taps):
        re, im = load(source, at + tap * PAIR), load(source, at + tap * PAIR + LANES)
        w_0, w_1 = weights[tap], weights[n_taps + tap]
        w_2, w_3 = weights[2 * n_taps + tap], weights[3 * n_taps + tap]
        re_0, im_0 = re_0 + re * w_0, im_0 + im * w_0
        re_1, im_1 = re_1 + re * w_1, im_1 + im * w_1
        re_2, im_2 = re_2 + re * w_2, im_2 + im * w_2
        re_3, im_3 = re_3 + re * w_3, im_3 + im * w_3
    store(fine, to, re_0)
    store(fine, to + LANES, im_0)
    store(fine, to + PAIR, re_1)
    store(fine, to + PAIR + LANES, im_1)
    store(fine, to + 2 * PAIR, re_2)
    store(fine, to + 2 * PAIR + LANES, im_2)
    store(fine, to + 3 * PAIR, re_3)
    store(fine, to + 3 * PAIR + LANES, im_3)


@numba.njit(**OPTIONS)
def _read(samples, first, last, coarse):  # type: ignore[no-untyped-def]
    """Samples first to last (zero outside the record) of up to sixteen frames, frames side by side."""
    n_frames, n_samples = samples.shape[0], samples.shape[1] // 2
    begin, end = min(max(first, 0), n_samples), max(min(last + 1, n_samples), 0)
    target = pointer(coarse)
    for sample in range(first, last + 1):
        if sample < begin or sample >= end or n_frames < LANES:
            store(target, (sample - first) * PAIR, spread(ZERO))
            store(target, (sample - first) * PAIR + LANES, spread(ZERO))
    whole = begin
    if n_frames == LANES:
        source, step = pointer(samples), samples.strides[0] // 4
        while whole + LANES // 2 <= end:
            transpose(source, 2 * whole, step, target, (whole - first) * PAIR, LANES)
            whole += LANES // 2
    for frame in range(n_frames):
        for sample in range(whole, end):
            coarse[(sample - first) * PAIR + frame] = samples[frame, 2 * sample]
            coarse[(sample - first) * PAIR + LANES + frame] = samples[frame, 2 * sample + 1]


@numba.njit(**OPTIONS)
def _accumulate(fine, start, weights, n_pixels, sums, sums_at):  # type: ignore[no-untyped-def]
    """Add the interpolated, rotated samples of GROUP channels in sixteen frames to every pixel."""
    for index in range(n_pixels):
        to = sums_at + index * PAIR
        real, imaginary = load(sums, to), load(sums, to + LANES)
        more_real, more_imaginary = spread(ZERO), spread(ZERO)
        for member in range(0, GROUP, 2):
            real, imaginary = _add(
                fine, start[index * GROUP + member], weights, index * LANES + 4 * member, real, imaginary
            )
            more_real, more_imaginary = _add(
                fine, start[index * GROUP + member + 1], weights, index * LANES + 4 * member + 4,
                more_real, more_imaginary,
            )  # fmt: skip
        store(sums, to, real + more_real)
        store(sums, to + LANES, imaginary + more_imaginary)


@numba.njit(**OPTIONS)
def _add(fine, at, weights, k, real, imaginary):  # type: ignore[no-untyped-def]
    near_re, near_im = load(fine, at), load(fine, at + LANES)
    far_re, far_im = load(fine, at + PAIR), load(fine, at + PAIR + LANES)
    c, s, far_c, far_s = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
    real = real + near_re * c - near_im * s + far_re * far_c - far_im * far_s
    imaginary = imaginary + near_re * s + near_im * c + far_re * far_s + far_im * far_c
    return real, imaginary
