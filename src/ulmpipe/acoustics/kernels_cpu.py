"""The simulator on the CPU: numba kernels in float32 rows over elements, frames in parallel threads.

For every scatterer, exp(−ikr) runs over the frequency bins by a recursion, the elevation factor comes from the
polynomials of `elevation`, the directivity from one polynomial in sin²θ. Phases are reduced in turns in
float64 before they become float32. Everything is the conjugate of the formulas in `simus_reference`, since the
signal is the inverse transform of the conjugate. Each frame is computed alone, so the result does not depend
on the number of threads. The functions stay in one file because numba's cache on disk looks at no other file's date.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.baseband import transform_factors, transform_matrices
from ulmpipe.acoustics.kernel_tables import KernelTables

BLOCK = 8  # scatterers whose rows stay in the cache together; an even number
RESTART = 48  # frequency bins after which the exponential recursion starts afresh
# Rows of a scatterer's scratch array, over elements.
WAVE_RE, WAVE_IM, STEP_RE, STEP_IM, OFFSET, SINE2, WEIGHT, ANSWER_RE, ANSWER_IM = range(9)


def simulate_samples(
    positions: NDArray[np.float64],
    reflectivity: NDArray[np.complex64],
    tables: KernelTables,
    *,
    oversampling: int,
    workers: int,
) -> NDArray[np.complex64]:
    """Baseband samples, shape (frame, angle, element, bins · oversampling), complex64.

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
    """
    n_frames, n_geometries = positions.shape[:2]
    n_angles, n_bins, _, n_lanes = tables.delay_phases.shape
    samples = np.empty((n_frames, n_angles, tables.n_elements, n_bins * oversampling), dtype=np.complex64)
    kernel = _compile(
        n_lanes,
        tables.tile,
        tables.degree,
        tables.directivity.shape[1] - 1,
        n_angles // n_geometries,
        transform_factors(n_bins),
    )
    forward, backward = transform_matrices(n_bins, oversampling)

    def run(first: int, last: int) -> None:
        kernel(
            positions[first:last],
            reflectivity[first:last],
            tables.elements,
            tables.delay_phases,
            tables.spectrum_weights,
            tables.directivity,
            tables.wave_turns,
            tables.nepers,
            tables.elevation,
            tables.intervals,
            tables.steps,
            tables.constants,
            forward,
            backward,
            samples[first:last],
        )

    bounds = np.linspace(0, n_frames, min(workers, n_frames) + 1).astype(int).tolist()
    if len(bounds) == 2:
        run(*bounds)
    else:
        with ThreadPoolExecutor(len(bounds) - 1) as pool:
            list(pool.map(lambda ends: run(*ends), pairwise(bounds)))
    return samples


@lru_cache(maxsize=16)
def _compile(
    n_lanes: int,
    tile: int,
    degree: int,
    directivity_degree: int,
    n_shared: int,
    factors: tuple[int, int],
) -> Callable[..., Any]:
    """Kernel for these sizes, which the compiler must know to unroll and vectorise its inner loops.

    `n_lanes` padded elements, `tile` elements to a polynomial, its degree, the directivity's degree,
    `n_shared` transmissions with the same geometry, the two factors of the inverse transform.
    """
    first, second = factors
    n_tiles = n_lanes // tile
    imaginary = degree + 1
    n_coefficients = 2 * imaginary
    n_bins = first * second

    @numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
    def kernel(  # type: ignore[no-untyped-def]
        positions, reflectivity, elements, delay_phases, spectrum_weights, directivity, wave_turns, nepers,
        table, intervals, steps, constants, forward, backward, samples,
    ):  # fmt: skip
        n_frames, n_geometries, n_scatterers = positions.shape[:3]
        n_elements = samples.shape[2]
        oversampling = forward.shape[0]
        n_intervals = table.shape[1]
        row_step = steps[0]
        scratch = np.zeros((BLOCK, 9, n_lanes), dtype=np.float32)
        received = np.zeros((n_shared, n_bins, 2, n_lanes), dtype=np.float32)
        between = np.zeros((n_bins, 2, n_lanes), dtype=np.float32)
        after = np.zeros((n_bins, 2, n_lanes), dtype=np.float32)
        echo = np.zeros((n_shared, BLOCK, 2), dtype=np.float32)
        coefficients = np.zeros((BLOCK, n_intervals, n_bins, n_coefficients), dtype=np.float32)
        tile_intervals = np.zeros((BLOCK, n_tiles), dtype=np.int64)
        present = np.zeros(BLOCK, dtype=np.int64)
        weights = np.zeros(6, dtype=np.float32)

        for frame in range(n_frames):
            for geometry in range(n_geometries):
                received[:] = 0.0
                begin = 0
                while begin < n_scatterers:
                    n_block = 0
                    while begin < n_scatterers and n_block < BLOCK:
                        if _is_present(positions[frame, geometry, begin]):
                            present[n_block] = begin
                            n_block += 1
                        begin += 1
                    for slot in range(n_block):
                        position = positions[frame, geometry, present[slot]]
                        lowest, highest = _find_intervals(
                            position, elements, steps, n_intervals, tile_intervals[slot]
                        )
                        _measure(
                            position, elements, constants, tile_intervals[slot], intervals, scratch[slot]
                        )
                        place = position[1] * position[1] / row_step
                        row = int(place)
                        _lagrange(weights, place - row)
                        for i in range(lowest, highest + 1):
                            _interpolate(table, row, i, weights, coefficients[slot, i])
                    if n_block % 2 == 1:
                        scratch[n_block, ANSWER_RE:] = 0.0  # silent partner in the last pair

                    for m in range(n_bins):
                        if m % RESTART == 0:
                            for slot in range(n_block):
                                _start_wave(
                                    positions[frame, geometry, present[slot]], elements, constants[0],
                                    wave_turns[0] + m * wave_turns[1], wave_turns[1],
                                    nepers[0] + m * nepers[1], nepers[1], scratch[slot],
                                )  # fmt: skip
                        for slot in range(n_block):
                            # --- response A of every element to this scatterer at this frequency
                            for t in range(n_tiles):
                                i = tile_intervals[slot, t]
                                for e in range(t * tile, t * tile + tile):
                                    u = scratch[slot, OFFSET, e]
                                    g_re = coefficients[slot, i, m, degree]
                                    g_im = coefficients[slot, i, m, imaginary + degree]
                                    for j in range(degree):
                                        g_re = g_re * u + coefficients[slot, i, m, degree - 1 - j]
                                        g_im = g_im * u + coefficients[slot, i, m, imaginary + degree - 1 - j]
                                    s2 = scratch[slot, SINE2, e]
                                    d = directivity[m, directivity_degree]
                                    for j in range(directivity_degree):
                                        d = d * s2 + directivity[m, directivity_degree - 1 - j]
                                    d = d * scratch[slot, WEIGHT, e]
                                    w_re = scratch[slot, WAVE_RE, e]
                                    w_im = scratch[slot, WAVE_IM, e]
                                    scratch[slot, ANSWER_RE, e] = d * (w_re * g_re - w_im * g_im)
                                    scratch[slot, ANSWER_IM, e] = d * (w_re * g_im + w_im * g_re)
                                    s_re = scratch[slot, STEP_RE, e]
                                    s_im = scratch[slot, STEP_IM, e]
                                    scratch[slot, WAVE_RE, e] = w_re * s_re - w_im * s_im
                                    scratch[slot, WAVE_IM, e] = w_re * s_im + w_im * s_re
                            # --- transmit: pressure of every wave at the scatterer, times its reflectivity
                            for wave in range(n_shared):
                                angle = geometry * n_shared + wave
                                p_re = np.float32(0.0)
                                p_im = np.float32(0.0)
                                for e in range(n_lanes):
                                    a_re, a_im = scratch[slot, ANSWER_RE, e], scratch[slot, ANSWER_IM, e]
                                    t_re, t_im = delay_phases[angle, m, 0, e], delay_phases[angle, m, 1, e]
                                    p_re += a_re * t_re - a_im * t_im
                                    p_im += a_re * t_im + a_im * t_re
                                weight = reflectivity[frame, present[slot]] * spectrum_weights[m]
                                echo[wave, slot, 0] = weight.real * p_re - weight.imag * p_im
                                echo[wave, slot, 1] = weight.real * p_im + weight.imag * p_re
                        # --- receive: echoes of two scatterers at a time on every element
                        for wave in range(n_shared):
                            for slot in range(0, n_block, 2):
                                p_re, p_im = echo[wave, slot, 0], echo[wave, slot, 1]
                                q_re, q_im = echo[wave, slot + 1, 0], echo[wave, slot + 1, 1]
                                for e in range(n_lanes):
                                    a_re, a_im = scratch[slot, ANSWER_RE, e], scratch[slot, ANSWER_IM, e]
                                    b_re, b_im = (
                                        scratch[slot + 1, ANSWER_RE, e],
                                        scratch[slot + 1, ANSWER_IM, e],
                                    )
                                    received[wave, m, 0, e] += (
                                        p_re * a_re - p_im * a_im + q_re * b_re - q_im * b_im
                                    )
                                    received[wave, m, 1, e] += (
                                        p_re * a_im + p_im * a_re + q_re * b_im + q_im * b_re
                                    )

                # --- inverse transform in two steps, see `baseband.transform_matrices`
                for wave in range(n_shared):
                    angle = geometry * n_shared + wave
                    for q in range(oversampling):
                        for b in range(second):
                            for c in range(first):
                                for e in range(n_lanes):
                                    x_re = np.float32(0.0)
                                    x_im = np.float32(0.0)
                                    for a in range(first):
                                        s_re = received[wave, second * a + b, 0, e]
                                        s_im = received[wave, second * a + b, 1, e]
                                        x_re += s_re * forward[q, b, c, a, 0] - s_im * forward[q, b, c, a, 1]
                                        x_im += s_re * forward[q, b, c, a, 1] + s_im * forward[q, b, c, a, 0]
                                    between[second * c + b, 0, e] = x_re
                                    between[second * c + b, 1, e] = x_im
                        for c in range(first):
                            for d in range(second):
                                for e in range(n_lanes):
                                    x_re = np.float32(0.0)
                                    x_im = np.float32(0.0)
                                    for b in range(second):
                                        s_re = between[second * c + b, 0, e]
                                        s_im = between[second * c + b, 1, e]
                                        x_re += s_re * backward[d, b, 0] - s_im * backward[d, b, 1]
                                        x_im += s_re * backward[d, b, 1] + s_im * backward[d, b, 0]
                                    after[c + first * d, 0, e] = x_re
                                    after[c + first * d, 1, e] = x_im
                        for e in range(n_elements):
                            for n in range(n_bins):
                                samples[frame, angle, e, oversampling * n + q] = complex(
                                    after[n, 0, e], after[n, 1, e]
                                )

    return kernel


@numba.njit(inline="always")
def _is_present(position):  # type: ignore[no-untyped-def]
    """Finite and not behind the probe; written so that fast arithmetic can't optimise the NaN away."""
    return abs(position[0]) < 1e3 and abs(position[1]) < 1e3 and position[2] >= 0.0 and position[2] < 1e3


@numba.njit(nogil=True, fastmath=True, cache=True)
def _find_intervals(position, elements, steps, n_intervals, tile_intervals):  # type: ignore[no-untyped-def]
    """Interval of the elevation table for each tile of elements; returns the smallest and the largest."""
    x, y, z = position
    tile = elements.shape[0] // tile_intervals.shape[0]
    lowest, highest = n_intervals, 0
    for t in range(tile_intervals.shape[0]):
        dx = x - 0.5 * (elements[t * tile] + elements[t * tile + tile - 1])
        i = int(max(math.sqrt(dx * dx + y * y + z * z) - steps[1], 0.0) / steps[2])
        i = min(i, n_intervals - 1)
        tile_intervals[t] = i
        lowest, highest = min(lowest, i), max(highest, i)
    return lowest, highest


@numba.njit(nogil=True, fastmath=True, cache=True)
def _measure(position, elements, constants, tile_intervals, intervals, rows):  # type: ignore[no-untyped-def]
    """Rows that do not change with frequency: argument of the polynomials, sin²θ, obliquity over distance."""
    x, y, z = position
    shortest, soft = constants
    tile = elements.shape[0] // tile_intervals.shape[0]
    for e in range(elements.shape[0]):
        dx = x - elements[e]
        rho2 = max(dx * dx + z * z, 1e-30)
        cosine = 1.0 + soft * (z / math.sqrt(rho2) - 1.0)
        inverse = 1.0 / max(math.sqrt(rho2 + y * y), shortest)
        rows[SINE2, e] = dx * dx / rho2
        rows[WEIGHT, e] = cosine * inverse
        rows[OFFSET, e] = inverse
    for t in range(tile_intervals.shape[0]):
        scale, shift = intervals[tile_intervals[t]]
        for e in range(t * tile, t * tile + tile):
            dx = x - elements[e]
            rows[OFFSET, e] = scale / max(math.sqrt(dx * dx + y * y + z * z), shortest) + shift


@numba.njit(nogil=True, fastmath=True, cache=True)
def _lagrange(weights, place):  # type: ignore[no-untyped-def]
    """Six-point Lagrange weights at `place` (0 to 1) between the third and the fourth row."""
    for i in range(6):
        weight = 1.0
        for j in range(6):
            if j != i:
                weight *= (place + 2.0 - j) / (i - j)
        weights[i] = weight


@numba.njit(nogil=True, fastmath=True, cache=True)
def _interpolate(table, row, i, weights, result):  # type: ignore[no-untyped-def]
    """Weighted sum of six rows of the elevation table, in its interval i."""
    for m in range(result.shape[0]):
        for j in range(result.shape[1]):
            result[m, j] = (
                weights[0] * table[row, i, m, j]
                + weights[1] * table[row + 1, i, m, j]
                + weights[2] * table[row + 2, i, m, j]
                + weights[3] * table[row + 3, i, m, j]
                + weights[4] * table[row + 4, i, m, j]
                + weights[5] * table[row + 5, i, m, j]
            )


@numba.njit(nogil=True, fastmath=True, cache=True)
def _start_wave(  # type: ignore[no-untyped-def]
    position, elements, shortest, turns, turns_step, nepers, nepers_step, rows
):
    """Set exp(−ikr − αr) at one frequency and its factor from bin to bin; turns and nepers per metre."""
    x, y, z = position
    for e in range(elements.shape[0]):
        dx = x - elements[e]
        r = max(math.sqrt(dx * dx + y * y + z * z), shortest)
        phase = turns * r
        sine, cosine = _sine_cosine(math.floor(phase + 0.5) - phase)
        rows[WAVE_RE, e] = cosine
        rows[WAVE_IM, e] = sine
        phase = turns_step * r
        sine, cosine = _sine_cosine(math.floor(phase + 0.5) - phase)
        rows[STEP_RE, e] = cosine
        rows[STEP_IM, e] = sine
    if nepers_step > 0.0:
        for e in range(elements.shape[0]):
            dx = x - elements[e]
            r = max(math.sqrt(dx * dx + y * y + z * z), shortest)
            loss, loss_step = math.exp(-nepers * r), math.exp(-nepers_step * r)
            rows[WAVE_RE, e] *= loss
            rows[WAVE_IM, e] *= loss
            rows[STEP_RE, e] *= loss_step
            rows[STEP_IM, e] *= loss_step


@numba.njit(inline="always")
def _sine_cosine(turns):  # type: ignore[no-untyped-def]
    """Sine and cosine of 2π turns for |turns| ≤ ½, by Taylor polynomials of the half angle; error 2e-8."""
    x = math.pi * turns
    s = x * x
    sine = 1 / 362880 + s * (-1 / 39916800 + s * (1 / 6227020800))
    sine = x * (1.0 + s * (-1 / 6 + s * (1 / 120 + s * (-1 / 5040 + s * sine))))
    cosine = 1 / 40320 + s * (-1 / 3628800 + s * (1 / 479001600))
    cosine = 1.0 + s * (-1 / 2 + s * (1 / 24 + s * (-1 / 720 + s * cosine)))
    return 2.0 * sine * cosine, 1.0 - 2.0 * sine * sine
