"""Delay-and-sum on the CPU: numba, frames innermost.

A task is one block of pixels in one tile of frames. It reads the few samples its pixels need from a group of
channels, oversamples them with frames side by side (so that every inner loop is a loop over frames, which
vectorises whatever the delays are), and adds them to its pixels. Tasks share nothing that they write: results
do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numba
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ulmpipe.beamforming.das import DelayTables

# Compile-time constants, so that LLVM sees every stream of an inner loop at a fixed distance from the others.
LANES = 128  # frames of a tile
IMAGINARY = LANES  # a row is LANES real parts, LANES imaginary parts,
ROW = 2 * LANES + 16  # and padding that spreads the rows over the sets of the cache
GROUP = 4  # elements added to a pixel at once: fewer trips of its accumulator
VECTOR = 16  # frames are padded to this, so that no remainder loop rounds differently


def beamform(
    data: NDArray[np.complex64],
    taps: NDArray[np.float32],
    tables: Iterable[DelayTables],
    image: NDArray[np.complex64],
) -> None:
    """Fill image (frame, pixel) from data (frame, angle, element, sample); see `das.delay_and_sum`."""
    for table in tables:
        _beamform_blocks(
            data,
            taps,
            table.transmit_position,
            table.transmit_phase,
            table.receive_position,
            table.receive_phase,
            table.block_start,
            table.pixel,
            image,
        )


@numba.njit(parallel=True, cache=True, nogil=True)
def _beamform_blocks(  # type: ignore[no-untyped-def]
    data,
    taps,
    transmit_position,
    transmit_phase,
    receive_position,
    receive_phase,
    block_start,
    pixel,
    image,
):
    n_blocks = block_start.size - 1
    n_tiles = (data.shape[0] + LANES - 1) // LANES
    for task in numba.prange(n_tiles * n_blocks):
        first_frame = (task // n_blocks) * LANES
        block = task % n_blocks
        chosen = slice(block_start[block], block_start[block + 1])
        _beamform_tile(
            data[first_frame : first_frame + LANES],
            taps,
            transmit_position[:, chosen],
            transmit_phase[:, chosen],
            receive_position[:, chosen],
            receive_phase[:, chosen],
            pixel[chosen],
            image[first_frame : first_frame + LANES],
        )


@numba.njit(cache=True, nogil=True)
def _beamform_tile(  # type: ignore[no-untyped-def]
    data,
    taps,
    transmit_position,
    transmit_phase,
    receive_position,
    receive_phase,
    pixel,
    image,
):
    n_frames, n_angles, n_elements, n_samples = data.shape
    n_pixels = pixel.size
    n_lanes = (n_frames + VECTOR - 1) // VECTOR * VECTOR
    n_rows = (n_samples - 1) * taps.shape[0] + 2
    coarse = np.zeros((n_samples + 1 + taps.shape[1]) * ROW, dtype=np.float32)
    fine = np.zeros(GROUP * n_rows * ROW, dtype=np.float32)
    sums = np.zeros(n_pixels * ROW, dtype=np.float32)
    start = np.zeros((GROUP, n_pixels), dtype=np.int64)
    weight = np.zeros((n_pixels, 4 * GROUP), dtype=np.float32)
    for angle in range(n_angles):
        for first_element in range(0, n_elements, GROUP):
            any_inside = False
            for member in range(GROUP):
                element = first_element + member
                if element >= n_elements:
                    weight[:, 4 * member : 4 * member + 4] = 0.0
                    continue
                first_row, last_row = _place(
                    transmit_position[angle],
                    transmit_phase[angle],
                    receive_position[element],
                    receive_phase[element],
                    n_rows,
                    member,
                    start,
                    weight,
                )
                if first_row <= last_row:
                    any_inside = True
                    samples = data[:, angle, element]
                    _refine(samples, taps, first_row, last_row, n_lanes, coarse, fine, member * n_rows * ROW)
            if any_inside:
                _accumulate(fine, start, weight, n_lanes, sums)
    for frame in range(n_frames):
        for index in range(n_pixels):
            at = index * ROW + frame
            image[frame, pixel[index]] = complex(sums[at], sums[at + IMAGINARY])


@numba.njit(cache=True, nogil=True)
def _place(  # type: ignore[no-untyped-def]
    transmit_position, transmit_phase, receive_position, receive_phase, n_rows, member, start, weight
):
    """Where a channel's two samples lie and what multiplies them, per pixel; the range of rows in use."""
    first_row, last_row = n_rows, -1
    base = member * n_rows * ROW
    for index in range(transmit_position.size):
        position = transmit_position[index] + receive_position[index]
        phase = transmit_phase[index] * receive_phase[index]
        inside = position >= 0 and position <= n_rows - 2 and (phase.real != 0 or phase.imag != 0)
        row = int(position) if inside else 0
        fraction = position - np.float32(row) if inside else np.float32(0.0)
        if not inside:
            phase = np.complex64(0.0)
        else:
            first_row = min(first_row, row)
            last_row = max(last_row, row + 1)
        start[member, index] = base + row * ROW
        near = np.float32(1.0) - fraction
        weight[index, 4 * member] = near * phase.real
        weight[index, 4 * member + 1] = near * phase.imag
        weight[index, 4 * member + 2] = fraction * phase.real
        weight[index, 4 * member + 3] = fraction * phase.imag
    return first_row, last_row


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _refine(samples, taps, first_row, last_row, n_lanes, coarse, fine, base):  # type: ignore[no-untyped-def]
    """Oversampled rows first_row to last_row of one channel, frames innermost, into fine."""
    oversampling, n_taps = taps.shape
    if oversampling == 1:
        _transpose(samples, first_row, last_row, fine, base + first_row * ROW)
        return
    lead = n_taps // 2 - 1
    first_sample = first_row // oversampling - lead
    last_sample = last_row // oversampling + n_taps - lead
    _transpose(samples, first_sample, last_sample, coarse, 0)
    for row in range(first_row, last_row + 1):
        sample = row // oversampling - first_sample  # coarse row of the sample at or before this row
        phase = row % oversampling
        out = fine[base + row * ROW : base + (row + 1) * ROW]
        if phase == 0:
            out[:] = coarse[sample * ROW : (sample + 1) * ROW]
            continue
        out[:] = 0.0
        for tap in range(0, n_taps, 4):
            source = coarse[(sample - lead + tap) * ROW : (sample - lead + tap + 4) * ROW]
            a, b, c, d = taps[phase, tap], taps[phase, tap + 1], taps[phase, tap + 2], taps[phase, tap + 3]
            for lane in range(n_lanes):
                out[lane] += (
                    a * source[lane]
                    + b * source[lane + ROW]
                    + c * source[lane + 2 * ROW]
                    + d * source[lane + 3 * ROW]
                )
                out[lane + IMAGINARY] += (
                    a * source[lane + IMAGINARY]
                    + b * source[lane + IMAGINARY + ROW]
                    + c * source[lane + IMAGINARY + 2 * ROW]
                    + d * source[lane + IMAGINARY + 3 * ROW]
                )


@numba.njit(cache=True, nogil=True)
def _transpose(samples, first, last, rows, base):  # type: ignore[no-untyped-def]
    """Samples first to last (zero outside the record) of every frame, as rows with frames innermost."""
    n_frames, n_samples = samples.shape
    for sample in range(first, last + 1):
        if sample < 0 or sample >= n_samples:
            at = base + (sample - first) * ROW
            rows[at : at + ROW] = 0.0
    begin, end = max(first, 0), min(last + 1, n_samples)
    for frame in range(n_frames):
        for sample in range(begin, end):
            at = base + (sample - first) * ROW + frame
            value = samples[frame, sample]
            rows[at] = value.real
            rows[at + IMAGINARY] = value.imag


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _accumulate(fine, start, weight, n_lanes, sums):  # type: ignore[no-untyped-def]
    """sums[pixel] += the interpolated, rotated samples of GROUP (four) channels."""
    span = ROW + 2 * LANES
    for index in range(start.shape[1]):
        s = sums[index * ROW : (index + 1) * ROW]
        w = weight[index]
        a = fine[start[0, index] : start[0, index] + span]
        b = fine[start[1, index] : start[1, index] + span]
        c = fine[start[2, index] : start[2, index] + span]
        d = fine[start[3, index] : start[3, index] + span]
        a0, a1, a2, a3 = w[0], w[1], w[2], w[3]
        b0, b1, b2, b3 = w[4], w[5], w[6], w[7]
        c0, c1, c2, c3 = w[8], w[9], w[10], w[11]
        d0, d1, d2, d3 = w[12], w[13], w[14], w[15]
        for lane in range(n_lanes):
            ar, ai = a[lane], a[lane + IMAGINARY]
            br, bi = b[lane], b[lane + IMAGINARY]
            cr, ci = c[lane], c[lane + IMAGINARY]
            dr, di = d[lane], d[lane + IMAGINARY]
            er, ei = a[lane + ROW], a[lane + ROW + IMAGINARY]
            fr, fi = b[lane + ROW], b[lane + ROW + IMAGINARY]
            gr, gi = c[lane + ROW], c[lane + ROW + IMAGINARY]
            hr, hi = d[lane + ROW], d[lane + ROW + IMAGINARY]
            s[lane] += (
                (a0 * ar - a1 * ai + a2 * er - a3 * ei)
                + (b0 * br - b1 * bi + b2 * fr - b3 * fi)
                + (c0 * cr - c1 * ci + c2 * gr - c3 * gi)
                + (d0 * dr - d1 * di + d2 * hr - d3 * hi)
            )
            s[lane + IMAGINARY] += (
                (a0 * ai + a1 * ar + a2 * ei + a3 * er)
                + (b0 * bi + b1 * br + b2 * fi + b3 * fr)
                + (c0 * ci + c1 * cr + c2 * gi + c3 * gr)
                + (d0 * di + d1 * dr + d2 * hi + d3 * hr)
            )
