"""The simulator on the CPU: numba kernels in float32 vectors of sixteen elements, frames in parallel threads.

For every scatterer, exp(−ikr) runs over the frequency bins by a recursion, the elevation factor comes from the
polynomials of `elevation`, the directivity from one polynomial in sin²θ. Phases are reduced in turns in
float64 before they become float32. Everything is the conjugate of the formulas in `simus_reference`, since the
signal is the inverse transform of the conjugate. Each frame is computed alone, so the result does not depend
on the number of threads. The functions stay in one file because numba's cache on disk looks at no other file's
date.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.baseband import (
    subsample_phases,
    transform_radices,
    transform_roots,
    transform_twiddles,
)
from ulmpipe.acoustics.kernel_tables import KernelTables
from ulmpipe.lanes import (
    LANES,
    larger,
    load,
    narrow,
    nearest_integer,
    pointer,
    power_of_two,
    sine_cosine,
    spread,
    square_root,
    store,
    total,
    transpose,
    transpose_past_cache,
)
from ulmpipe.memory import aligned, aligned_copy
from ulmpipe.parallel import in_threads

BLOCK = 5  # scatterers whose rows stay in the cache together
STREAMED = 4_000_000  # numbers in a thread's part of a result, beyond which it is written past the cache
CHUNK = 6  # frequency bins answered in one go
RESTART = 48  # frequency bins after which the exponential recursion starts afresh
# Rows of a scatterer's scratch array, over elements: exp(−ikr) and its step from bin to bin, the argument of
# the elevation polynomials, sin²θ, obliquity over distance.
WAVE_RE, WAVE_IM, STEP_RE, STEP_IM, ARGUMENT, SINE2, WEIGHT, N_ROWS = range(8)
PAIR = 2 * LANES  # real, then imaginary parts of sixteen elements
ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)
SINE_60 = np.float32(math.sin(math.pi / 3))
LOG2_E = np.float32(math.log2(math.e))
OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}


def simulate_samples(
    positions: NDArray[np.float64],
    reflectivity: NDArray[np.complex64],
    tables: KernelTables,
    *,
    oversampling: int,
    workers: int,
    samples: NDArray[np.complex64],
) -> None:
    """Fill baseband samples, shape (frame, angle, element, bins · oversampling), complex64.

    Parameters
    ----------
    positions : ndarray, shape (frame, 1 or angle, scatterer, 3), float64
        m.
    reflectivity : ndarray, shape (frame, scatterer), complex64
    tables : KernelTables
        Everything that does not depend on the scatterers.
    oversampling : int
        See `baseband.to_samples`.
    workers : int
        Number of threads.
    samples : ndarray
        The result.
    """
    n_geometries, n_angles = positions.shape[1], samples.shape[1]
    constants, sizes = _constants(tables, oversampling), _sizes(tables)

    def run(first: int, last: int) -> None:
        scratch = _scratch(tables, n_angles // n_geometries)
        part = samples[first:last].view(np.float32)
        _simulate(positions[first:last], reflectivity[first:last], constants, sizes, scratch, part)

    in_threads(run, len(positions), workers=workers)


class _Constants(NamedTuple):
    """What the kernel reads: `KernelTables`, arranged for it, and the inverse transform's factors."""

    elements: NDArray[np.float64]
    tile: int
    fired: NDArray[np.float32]  # (angle, bin, part, lane)
    spectrum_weights: NDArray[np.complex64]
    directivity: NDArray[np.float32]  # (bin, coefficient)
    wave_turns: tuple[float, float]
    nepers: tuple[float, float]
    elevation: NDArray[np.float32]  # (row, interval, bin, coefficient)
    degrees: NDArray[np.int64]
    intervals: NDArray[np.float64]
    steps: tuple[float, float, float]
    geometry: tuple[float, float, float]
    radices: NDArray[np.int64]
    twiddles: NDArray[np.float32]
    roots: NDArray[np.float32]
    subsamples: NDArray[np.float32]  # (sub-sample, bin, part)


class _Scratch(NamedTuple):
    """What the kernel of one thread writes before its result."""

    rows: NDArray[np.float32]  # (slot, row, lane)
    distance: NDArray[np.float64]  # (slot, lane)
    answers: NDArray[np.float32]  # (slot, (bin, part, lane) and a spare vector): response
    received: NDArray[np.float32]  # (wave, group, bin, part, lane), a spare bin at the end of each group
    work: NDArray[np.float32]  # (half, bin, part, lane)
    echo: NDArray[np.float32]  # (bin, wave, slot, part)
    coefficients: NDArray[np.float32]  # (slot, interval, bin, coefficient)
    weights: NDArray[np.float32]  # of the rows of the elevation table
    interval: NDArray[np.int64]  # (slot, tile)
    starts: NDArray[np.int64]  # (slot, group): where its coefficients begin
    degree: NDArray[np.int64]  # (slot,)
    present: NDArray[np.int64]  # (slot,): number of the scatterer


@lru_cache(maxsize=4)
def _constants(tables: KernelTables, oversampling: int) -> _Constants:
    n_bins = tables.delay_phases.shape[1]
    return _Constants(
        aligned_copy(tables.elements),
        tables.tile,
        aligned_copy(tables.delay_phases),
        tables.spectrum_weights,
        tables.directivity,
        tables.wave_turns,
        tables.nepers,
        aligned_copy(tables.elevation),
        tables.degrees,
        tables.intervals,
        tables.steps,
        tables.constants,
        np.array(transform_radices(n_bins), dtype=np.int64),
        transform_twiddles(n_bins),
        transform_roots(n_bins),
        subsample_phases(n_bins, oversampling),
    )


def _scratch(tables: KernelTables, n_shared: int) -> _Scratch:
    n_bins, _, n_lanes = tables.delay_phases.shape[1:]
    n_groups = n_lanes // LANES
    return _Scratch(
        aligned((BLOCK, N_ROWS, n_lanes), np.float32),
        aligned((BLOCK, n_lanes), np.float64),
        aligned((BLOCK, _answer_size(n_lanes)), np.float32),
        aligned((n_shared, n_groups, n_bins + 1, PAIR), np.float32),
        aligned((2, n_bins, PAIR), np.float32),
        aligned((CHUNK, n_shared, BLOCK, 2), np.float32),
        aligned((BLOCK, *tables.elevation.shape[1:]), np.float32),
        aligned(6, np.float32),
        np.zeros((BLOCK, n_lanes // tables.tile), dtype=np.int64),
        np.zeros((BLOCK, n_groups), dtype=np.int64),
        np.zeros(BLOCK, dtype=np.int64),
        np.zeros(BLOCK, dtype=np.int64),
    )


@numba.njit(**OPTIONS)
def _answer_size(n_lanes):  # type: ignore[no-untyped-def]
    """Distance between the answers of two slots; the spare vectors spread them over the sets of the cache."""
    return CHUNK * 2 * n_lanes + PAIR


class _Sizes(NamedTuple):
    """Numbers that the kernel is compiled for, each as the length of a tuple: part of its type, so that it is cached.

    numba's cache on disk would not find a kernel that closes over functions or is made anew in every process.
    """

    degrees: tuple[tuple[int, ...], ...]  # of the elevation polynomials
    series: tuple[int, ...]  # of length 1 for Chebyshev series, 0 for powers
    directivity: tuple[int, ...]


@lru_cache(maxsize=4)
def _sizes(tables: KernelTables) -> _Sizes:
    degrees = tuple((0,) * degree for degree in tables.compiled_degrees)
    return _Sizes(degrees, (0,) * int(tables.series), (0,) * (tables.directivity.shape[1] - 1))


@numba.njit(**OPTIONS)
def _simulate(positions, reflectivity, constants, sizes, scratch, samples):  # type: ignore[no-untyped-def]
    n_frames, n_geometries, n_scatterers = positions.shape[:3]
    n_bins, n_lanes = constants.spectrum_weights.size, constants.elements.size
    n_shared = samples.shape[1] // n_geometries  # transmissions with the same geometry
    n_groups = n_lanes // LANES
    group_size = (n_bins + 1) * PAIR  # the spare bin spreads the groups over the sets of the cache
    slot_size = constants.elevation[0].size
    n_coefficients = constants.elevation.shape[3]
    wave_turns, nepers = constants.wave_turns, constants.nepers
    rows, distance, answers = pointer(scratch.rows), pointer(scratch.distance), pointer(scratch.answers)
    received, work, echo = pointer(scratch.received), pointer(scratch.work), pointer(scratch.echo)
    coefficients, fired = pointer(scratch.coefficients), pointer(constants.fired)
    directivity, weights = pointer(constants.directivity), constants.spectrum_weights
    twiddles, roots = pointer(constants.twiddles), pointer(constants.roots)
    present, degree = scratch.present, scratch.degree
    oversampling, target, row_length = constants.subsamples.shape[0], pointer(samples), samples.shape[3]
    # what is too long for the cache is better written past it
    stream = (
        samples.size > STREAMED
        and oversampling == 1
        and row_length % LANES == 0
        and samples.ctypes.data % 64 == 0
    )

    for frame in range(n_frames):
        for geometry in range(n_geometries):
            begin = 0
            anew = True  # nothing received yet
            while begin < n_scatterers:
                n_block = 0
                while begin < n_scatterers and n_block < BLOCK:
                    if _is_present(positions[frame, geometry, begin]):
                        present[n_block] = begin
                        n_block += 1
                    begin += 1
                for slot in range(n_block):
                    x, y, z = positions[frame, geometry, present[slot]]
                    y *= constants.geometry[2]  # 0 in two dimensions
                    _find_intervals(x, y, z, constants, scratch.interval[slot])
                    _measure(x, y, z, constants, scratch.interval[slot], slot, rows, distance)
                    degree[slot] = _find_polynomials(y, constants, scratch, slot, slot * slot_size)

                for m in range(0, n_bins, CHUNK):
                    if m % RESTART == 0:
                        turns, decay = wave_turns[0] + m * wave_turns[1], nepers[0] + m * nepers[1]
                        for slot in range(n_block):
                            _start_wave(distance, slot, n_lanes, turns, wave_turns[1], decay, nepers[1], rows)
                    n_here = min(CHUNK, n_bins - m)
                    for slot in range(n_block):
                        arguments = (
                            rows, slot, n_lanes, m, n_here, coefficients, pointer(scratch.starts[slot]),
                            n_coefficients, directivity, answers,
                        )  # fmt: skip
                        if degree[slot] == 0:
                            _respond(*arguments, sizes.degrees[0], sizes.series, sizes.directivity)
                        elif degree[slot] == 1:
                            _respond(*arguments, sizes.degrees[1], sizes.series, sizes.directivity)
                        elif degree[slot] == 2:
                            _respond(*arguments, sizes.degrees[2], sizes.series, sizes.directivity)
                        elif degree[slot] == 3:
                            _respond(*arguments, sizes.degrees[3], sizes.series, sizes.directivity)
                        else:
                            _respond(*arguments, sizes.degrees[4], sizes.series, sizes.directivity)
                    for bin_here in range(n_here):
                        answer = 2 * bin_here * n_lanes  # of the first slot
                        weight = weights[m + bin_here]
                        for wave in range(n_shared):
                            from_array = 2 * ((geometry * n_shared + wave) * n_bins + m + bin_here) * n_lanes
                            for slot in range(n_block):
                                p_re, p_im = _pressure(
                                    answers,
                                    answer + slot * _answer_size(n_lanes),
                                    fired,
                                    from_array,
                                    n_lanes,
                                )
                                strength = reflectivity[frame, present[slot]] * weight
                                at = 2 * ((bin_here * n_shared + wave) * BLOCK + slot)
                                echo[at] = strength.real * p_re - strength.imag * p_im
                                echo[at + 1] = strength.real * p_im + strength.imag * p_re
                    for bin_here in range(n_here):
                        # the carrier's bin comes first in the transform
                        turned = m + bin_here - n_bins // 2
                        to = PAIR * (turned if turned >= 0 else turned + n_bins)
                        for wave in range(n_shared):
                            _receive(
                                answers, 2 * bin_here * n_lanes,
                                echo, 2 * (bin_here * n_shared + wave) * BLOCK, n_block,
                                received, wave * n_groups * group_size + to, group_size, n_lanes, anew,
                            )  # fmt: skip
                anew = anew and n_block == 0
            if anew:
                scratch.received[:] = ZERO

            for wave in range(n_shared):
                row = (frame * samples.shape[1] + geometry * n_shared + wave) * samples.shape[2]
                for group in range(n_groups):
                    first = (wave * n_groups + group) * group_size
                    for q in range(oversampling):
                        bins, bins_at = received, first
                        if q > 0:
                            _turn_bins(received, first, constants.subsamples, q, n_bins, work)
                            bins, bins_at = work, 0
                        at = _inverse_transform(
                            bins, bins_at, n_bins, constants.radices, twiddles, roots, work
                        )
                        _write_samples(
                            work, at, n_bins, min(LANES, samples.shape[2] - group * LANES),
                            target, (row + group * LANES) * row_length, row_length, q, oversampling, stream,
                        )  # fmt: skip


@numba.njit(**OPTIONS)
def _respond(  # type: ignore[no-untyped-def]
    rows, slot, n_lanes, first_bin, n_bins, coefficients, starts, n_coefficients, directivity, answers,
    degree, series, directivity_degree,
):  # fmt: skip
    """Response of every element to a scatterer at a chunk of frequencies; the last three as in `_Sizes`."""
    n_directivity = len(directivity_degree) + 1
    for group in range(n_lanes // LANES):
        at = slot * N_ROWS * n_lanes + group * LANES
        argument, sine2 = load(rows, at + ARGUMENT * n_lanes), load(rows, at + SINE2 * n_lanes)
        wave_re, wave_im = load(rows, at + WAVE_RE * n_lanes), load(rows, at + WAVE_IM * n_lanes)
        step_re, step_im = load(rows, at + STEP_RE * n_lanes), load(rows, at + STEP_IM * n_lanes)
        re = starts[group] + first_bin * n_coefficients + len(degree)
        im = re + n_coefficients // 2
        highest = (first_bin + 1) * n_directivity - 1
        to = slot * _answer_size(n_lanes) + group * LANES
        for _ in range(n_bins):
            g_re = _evaluate(coefficients, re, argument, degree, series)
            g_im = _evaluate(coefficients, im, argument, degree, series)
            d = spread(directivity[highest])
            for j in range(1, n_directivity):
                d = d * sine2 + directivity[highest - j]
            store(answers, to, d * (wave_re * g_re - wave_im * g_im))
            store(answers, to + n_lanes, d * (wave_re * g_im + wave_im * g_re))
            wave_re, wave_im = (
                wave_re * step_re - wave_im * step_im,
                wave_re * step_im + wave_im * step_re,
            )
            re += n_coefficients
            im += n_coefficients
            highest += n_directivity
            to += 2 * n_lanes
        store(rows, at + WAVE_RE * n_lanes, wave_re)
        store(rows, at + WAVE_IM * n_lanes, wave_im)


@numba.njit(**OPTIONS)
def _evaluate(coefficients, highest, argument, degree, series):  # type: ignore[no-untyped-def]
    """Polynomial of powers or, by Clenshaw's recurrence, Chebyshev series; `highest` is the place of the last term."""
    value = spread(coefficients[highest])
    if len(series) == 0:
        for j in range(1, len(degree) + 1):
            value = value * argument + coefficients[highest - j]
        return value
    above, twice = spread(ZERO), argument + argument
    for j in range(1, len(degree)):
        value, above = value * twice + (coefficients[highest - j] - above), value
    return value * argument + (coefficients[highest - len(degree)] - above)


@numba.njit(**OPTIONS)
def _pressure(answers, at, fired, fired_at, n_lanes):  # type: ignore[no-untyped-def]
    """Pressure of one wave at a scatterer: the sum over elements of response and transmitted phase."""
    same_re, same_im = spread(ZERO), spread(ZERO)
    cross_re, cross_im = spread(ZERO), spread(ZERO)
    for e in range(0, n_lanes, LANES):
        a_re, a_im = load(answers, at + e), load(answers, at + n_lanes + e)
        t_re, t_im = load(fired, fired_at + e), load(fired, fired_at + n_lanes + e)
        same_re = same_re + a_re * t_re
        same_im = same_im + a_im * t_im
        cross_re = cross_re + a_re * t_im
        cross_im = cross_im + a_im * t_re
    return total(same_re - same_im), total(cross_re + cross_im)


@numba.njit(**OPTIONS)
def _receive(  # type: ignore[no-untyped-def]
    answers, answers_at, echo, echo_at, n_block, received, received_at, group_size, n_lanes, anew
):
    """Add the echoes of a block of scatterers to what every element receives in one bin."""
    for group in range(n_lanes // LANES):
        to = received_at + group * group_size
        sum_re, sum_im = spread(ZERO), spread(ZERO)
        if not anew:
            sum_re, sum_im = load(received, to), load(received, to + LANES)
        for slot in range(n_block):
            at = answers_at + slot * _answer_size(n_lanes) + group * LANES
            a_re, a_im = load(answers, at), load(answers, at + n_lanes)
            p_re, p_im = spread(echo[echo_at + 2 * slot]), spread(echo[echo_at + 2 * slot + 1])
            sum_re = sum_re + a_re * p_re - a_im * p_im
            sum_im = sum_im + a_re * p_im + a_im * p_re
        store(received, to, sum_re)
        store(received, to + LANES, sum_im)


@numba.njit(inline="always")
def _is_present(position):  # type: ignore[no-untyped-def]
    """Finite and not behind the probe."""
    return abs(position[0]) < 1e3 and abs(position[1]) < 1e3 and position[2] >= 0.0 and position[2] < 1e3


@numba.njit(**OPTIONS)
def _find_intervals(x, y, z, constants, interval):  # type: ignore[no-untyped-def]
    """Interval of the elevation table for each tile of elements, from the nearest point of the tile."""
    elements, tile = constants.elements, constants.tile
    _, nearest, log_ratio = constants.steps
    for t in range(interval.size):
        outside = max(elements[t * tile] - x, x - elements[t * tile + tile - 1], 0.0)
        distance = math.sqrt(outside * outside + y * y + z * z)
        i = int(math.log(max(distance / nearest, 1.0)) / log_ratio)
        interval[t] = min(i, len(constants.intervals) - 1)


@numba.njit(**OPTIONS)
def _measure(x, y, z, constants, interval, slot, rows, distance):  # type: ignore[no-untyped-def]
    """Distances, and the rows that do not change with frequency."""
    shortest, soft, spherical = constants.geometry
    elements, n_lanes = pointer(constants.elements), constants.elements.size
    for e in range(0, n_lanes, LANES):
        dx = x - load(elements, e)
        dx2 = dx * dx
        rho2 = larger(dx2 + z * z, spread(1e-30))
        r = larger(square_root(rho2 + y * y), spread(shortest))
        store(distance, slot * n_lanes + e, r)
        at = slot * N_ROWS * n_lanes + e
        inverse, inverse_rho2 = ONE / narrow(r), ONE / narrow(rho2)
        store(rows, at + SINE2 * n_lanes, narrow(dx2) * inverse_rho2)
        cosine = ONE + np.float32(soft) * (np.float32(z) * square_root(inverse_rho2) - ONE)
        spreading = inverse if spherical > 0.0 else square_root(inverse)
        store(rows, at + WEIGHT * n_lanes, cosine * spreading)
        scale, shift = constants.intervals[interval[e // constants.tile]]
        store(rows, at + ARGUMENT * n_lanes, inverse * np.float32(scale) + np.float32(shift))


@numba.njit(**OPTIONS)
def _find_polynomials(y, constants, scratch, slot, first):  # type: ignore[no-untyped-def]
    """Elevation polynomials at the scatterer's y² by six-point Lagrange interpolation; returns their degree."""
    table, coefficients = pointer(constants.elevation), pointer(scratch.coefficients)
    weights, interval, starts = scratch.weights, scratch.interval[slot], scratch.starts[slot]
    place = y * y / constants.steps[0]
    row = int(place)
    for i in range(6):
        weight = 1.0
        for j in range(6):
            if j != i:
                weight *= (place - row + 2.0 - j) / (i - j)
        weights[i] = weight
    n_intervals = constants.elevation.shape[1]
    size = constants.elevation[0, 0].size
    degree = 0
    for t in range(interval.size):
        to = first + interval[t] * size
        for group in range(t * constants.tile // LANES, (t + 1) * constants.tile // LANES):
            starts[group] = to
        degree = max(degree, constants.degrees[row, interval[t]])
        if t > 0 and interval[t] == interval[t - 1]:
            continue
        source, step = (row * n_intervals + interval[t]) * size, n_intervals * size
        whole = size // LANES * LANES
        for k in range(0, whole, LANES):
            mean = load(table, source + k) * weights[0]
            for i in range(1, 6):
                mean = mean + load(table, source + i * step + k) * weights[i]
            store(coefficients, to + k, mean)
        for k in range(whole, size):
            rest = ZERO
            for i in range(6):
                rest += table[source + i * step + k] * weights[i]
            coefficients[to + k] = rest
    return degree


@numba.njit(**OPTIONS)
def _start_wave(  # type: ignore[no-untyped-def]
    distance, slot, n_lanes, turns, turns_step, nepers, nepers_step, rows
):
    """Set weight · exp(−ikr − αr) at one frequency, and its factor from bin to bin; turns and nepers per metre."""
    for e in range(0, n_lanes, LANES):
        r = load(distance, slot * n_lanes + e)
        at = slot * N_ROWS * n_lanes + e
        phase = r * turns
        sine, cosine = sine_cosine(narrow(nearest_integer(phase) - phase))
        phase = r * turns_step
        sine_step, cosine_step = sine_cosine(narrow(nearest_integer(phase) - phase))
        if nepers_step > 0.0:
            loss = _exponential(narrow(r * (-nepers)))
            loss_step = _exponential(narrow(r * (-nepers_step)))
            sine, cosine = sine * loss, cosine * loss
            sine_step, cosine_step = sine_step * loss_step, cosine_step * loss_step
        weight = load(rows, at + WEIGHT * n_lanes)
        store(rows, at + WAVE_RE * n_lanes, cosine * weight)
        store(rows, at + WAVE_IM * n_lanes, sine * weight)
        store(rows, at + STEP_RE * n_lanes, cosine_step)
        store(rows, at + STEP_IM * n_lanes, sine_step)


@numba.njit(**OPTIONS)
def _exponential(x):  # type: ignore[no-untyped-def]
    """Exponential of −80 ≤ x ≤ 0 (less counts as −80): a power of two times a Taylor polynomial."""
    scaled = larger(x, spread(np.float32(-80.0))) * LOG2_E
    whole = nearest_integer(scaled)
    rest = (scaled - whole) * np.float32(math.log(2))
    value = rest * np.float32(1 / 720) + np.float32(1 / 120)
    value = rest * (rest * (rest * value + np.float32(1 / 24)) + np.float32(1 / 6)) + HALF
    return power_of_two(whole) * (ONE + rest * (ONE + rest * value))


@numba.njit(**OPTIONS)
def _turn_bins(received, first, subsamples, q, n_bins, work):  # type: ignore[no-untyped-def]
    """Bins of sixteen elements, turned by the phases of a sub-sample; the order stays, the carrier's bin first."""
    for m in range(n_bins):
        turned = m - n_bins // 2
        at = turned if turned >= 0 else turned + n_bins
        re, im = load(received, first + at * PAIR), load(received, first + at * PAIR + LANES)
        c, s = subsamples[q, m, 0], subsamples[q, m, 1]
        store(work, at * PAIR, re * c - im * s)
        store(work, at * PAIR + LANES, re * s + im * c)


@numba.njit(**OPTIONS)
def _inverse_transform(bins, bins_at, n_bins, radices, twiddles, roots, work):  # type: ignore[no-untyped-def]
    """Transform sixteen elements, between the two halves of `work` after the first step; where the result begins."""
    from_array, source, target = bins, bins_at, n_bins * PAIR
    left, done, twiddles_at, roots_at = n_bins, 1, 0, 0
    for step in range(radices.size):
        radix = radices[step]
        left //= radix
        if radix == 4:
            _transform_4(from_array, source, work, target, left, done, twiddles, twiddles_at)
        elif radix == 2:
            _transform_2(from_array, source, work, target, left, done, twiddles, twiddles_at)
        elif radix == 3:
            _transform_3(from_array, source, work, target, left, done, twiddles, twiddles_at)
        else:
            _transform_any(
                from_array, source, work, target, radix, left, done, twiddles, twiddles_at, roots, roots_at
            )
        twiddles_at += 2 * left * radix
        roots_at += 2 * radix
        done *= radix
        from_array, source, target = work, target, n_bins * PAIR - target
    if radices.size == 0:  # a single bin
        store(work, 0, load(bins, bins_at))
        store(work, LANES, load(bins, bins_at + LANES))
        return 0
    return source


@numba.njit(**OPTIONS)
def _turn(work, at, re, im, twiddles, k):  # type: ignore[no-untyped-def]
    c, s = twiddles[k], twiddles[k + 1]
    store(work, at, re * c - im * s)
    store(work, at + LANES, re * s + im * c)


@numba.njit(**OPTIONS)
def _transform_2(bins, source, work, target, left, done, twiddles, twiddles_at):  # type: ignore[no-untyped-def]
    stride = done * left * PAIR
    for j in range(left):
        k = twiddles_at + 4 * j
        for q in range(done):
            at, to = source + PAIR * (q + done * j), target + PAIR * (q + done * 2 * j)
            a_re, a_im = load(bins, at), load(bins, at + LANES)
            b_re, b_im = load(bins, at + stride), load(bins, at + stride + LANES)
            store(work, to, a_re + b_re)
            store(work, to + LANES, a_im + b_im)
            _turn(work, to + done * PAIR, a_re - b_re, a_im - b_im, twiddles, k + 2)


@numba.njit(**OPTIONS)
def _transform_3(bins, source, work, target, left, done, twiddles, twiddles_at):  # type: ignore[no-untyped-def]
    stride = done * left * PAIR
    for j in range(left):
        k = twiddles_at + 6 * j
        for q in range(done):
            at, to = source + PAIR * (q + done * j), target + PAIR * (q + done * 3 * j)
            a_re, a_im = load(bins, at), load(bins, at + LANES)
            b_re, b_im = load(bins, at + stride), load(bins, at + stride + LANES)
            c_re, c_im = load(bins, at + 2 * stride), load(bins, at + 2 * stride + LANES)
            sum_re, sum_im = b_re + c_re, b_im + c_im
            turned_re, turned_im = (c_im - b_im) * SINE_60, (b_re - c_re) * SINE_60
            mid_re, mid_im = a_re - sum_re * HALF, a_im - sum_im * HALF
            store(work, to, a_re + sum_re)
            store(work, to + LANES, a_im + sum_im)
            _turn(work, to + done * PAIR, mid_re + turned_re, mid_im + turned_im, twiddles, k + 2)
            _turn(work, to + 2 * done * PAIR, mid_re - turned_re, mid_im - turned_im, twiddles, k + 4)


@numba.njit(**OPTIONS)
def _transform_4(bins, source, work, target, left, done, twiddles, twiddles_at):  # type: ignore[no-untyped-def]
    stride = done * left * PAIR
    for j in range(left):
        k = twiddles_at + 8 * j
        for q in range(done):
            at, to = source + PAIR * (q + done * j), target + PAIR * (q + done * 4 * j)
            a_re, a_im = load(bins, at), load(bins, at + LANES)
            b_re, b_im = load(bins, at + stride), load(bins, at + stride + LANES)
            c_re, c_im = load(bins, at + 2 * stride), load(bins, at + 2 * stride + LANES)
            d_re, d_im = load(bins, at + 3 * stride), load(bins, at + 3 * stride + LANES)
            even_re, even_im, odd_re, odd_im = a_re + c_re, a_im + c_im, b_re + d_re, b_im + d_im
            less_re, less_im, turned_re, turned_im = a_re - c_re, a_im - c_im, d_im - b_im, b_re - d_re
            store(work, to, even_re + odd_re)
            store(work, to + LANES, even_im + odd_im)
            _turn(work, to + done * PAIR, less_re + turned_re, less_im + turned_im, twiddles, k + 2)
            _turn(work, to + 2 * done * PAIR, even_re - odd_re, even_im - odd_im, twiddles, k + 4)
            _turn(work, to + 3 * done * PAIR, less_re - turned_re, less_im - turned_im, twiddles, k + 6)


@numba.njit(**OPTIONS)
def _transform_any(bins, source, work, target, radix, left, done, twiddles, twiddles_at, roots, roots_at):  # type: ignore[no-untyped-def]
    stride = done * left * PAIR
    for h in range(radix):
        for j in range(left):
            for q in range(done):
                at, to = source + PAIR * (q + done * j), target + PAIR * (q + done * (radix * j + h))
                sum_re, sum_im = spread(ZERO), spread(ZERO)
                for i in range(radix):
                    root = roots_at + 2 * ((h * i) % radix)
                    c, s = roots[root], roots[root + 1]
                    re, im = load(bins, at + i * stride), load(bins, at + i * stride + LANES)
                    sum_re = sum_re + (re * c - im * s)
                    sum_im = sum_im + (re * s + im * c)
                _turn(work, to, sum_re, sum_im, twiddles, twiddles_at + 2 * (radix * j + h))


@numba.njit(**OPTIONS)
def _write_samples(  # type: ignore[no-untyped-def]
    work, source, n_bins, n_elements, target, target_at, row_length, q, oversampling, stream
):
    """Samples of up to sixteen elements, real and imaginary parts interleaved, to the rows of the result."""
    done = 0
    if oversampling == 1 and n_elements == LANES:
        done = n_bins // 8 * 8
        for n in range(0, done, 8):
            if stream:
                transpose_past_cache(work, source + n * PAIR, LANES, target, target_at + 2 * n, row_length)
            else:
                transpose(work, source + n * PAIR, LANES, target, target_at + 2 * n, row_length)
    for n in range(done, n_bins):
        for lane in range(n_elements):
            to = target_at + lane * row_length + 2 * (oversampling * n + q)
            target[to] = work[source + n * PAIR + lane]
            target[to + 1] = work[source + n * PAIR + LANES + lane]
