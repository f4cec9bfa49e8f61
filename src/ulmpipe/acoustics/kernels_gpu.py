"""The simulator on the GPU: which kernels serve the bubbles, and their launches.

Geometry of each bubble first, then a thread for a frequency bin of 32 elements. `composed_gpu` is the fast one, for
bubbles whose responses are smooth over a whole array; `tiled_gpu` is for the rest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics import composed_gpu, tiled_gpu
from ulmpipe.acoustics.common_gpu import WARP, Kernels
from ulmpipe.acoustics.elevation import STENCIL
from ulmpipe.acoustics.kernel_tables import KernelTables
from ulmpipe.acoustics.transform_gpu import transform_by_library
from ulmpipe.acoustics.window import is_present

BYTES_AT_ONCE = 256 * 2**20  # of what is prepared, and of samples for the host
# of an array and of a table, to whole ones of which a scene's reach is rounded up: few different kernels
PARTS = 8


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

    if not positions.size:
        samples[...] = 0
        return
    on_device = isinstance(samples, cupy.ndarray)
    kernels = kernels_for(positions, tables, oversampling)
    frame_bytes = kernels.bytes_of_scatterer * (positions[0].size // 3)
    if not on_device:
        frame_bytes += samples[0].nbytes
    at_once = max(1, BYTES_AT_ONCE // frame_bytes)
    for first in range(0, len(samples), at_once):
        part = slice(first, first + at_once)
        target = samples[part] if on_device else cupy.empty(samples[part].shape, np.complex64)
        _launch(cupy.asarray(positions[part]), cupy.asarray(reflectivity[part]), kernels, target)
        if not on_device:
            samples[part] = target.get()


def kernels_for(positions: NDArray[np.float64], tables: KernelTables, oversampling: int) -> Kernels:
    """Those that serve scatterers at positions (…, 3)."""
    row, lateral = reach(positions, tables)
    n_powers = int(tables.compiled_degrees[tables.degrees[: row + 1].max()]) + 1
    degrees = composed_gpu.degrees_for(tables, n_powers, *_rounded_up(row, lateral, tables))
    if degrees is None:
        return tiled_gpu.kernels(tables, n_powers, oversampling)
    return composed_gpu.kernels(tables, n_powers, degrees, oversampling)


def reach(positions: NDArray[np.float64], tables: KernelTables) -> tuple[int, float]:
    """Last row of the elevation table that scatterers at positions (…, 3) need, and their largest |x|."""
    present = is_present(positions)
    lateral, elevation = (
        float(np.max(np.abs(positions[..., axis]), where=present, initial=0.0)) for axis in (0, 1)
    )
    return int((elevation * tables.constants[2]) ** 2 / tables.steps[0]), lateral


def _rounded_up(row: int, lateral: float, tables: KernelTables) -> tuple[int, float]:
    """A reach of which there are few."""
    n_rows = len(tables.elevation)
    length = tables.elements[-1] - tables.elements[0]
    step = max(1, n_rows // PARTS)
    return (
        min(step * -(-(row + 1) // step), n_rows - STENCIL),
        float(length / PARTS * math.ceil(lateral / length * PARTS)),
    )


def _launch(positions: Any, reflectivity: Any, kernels: Kernels, samples: Any) -> None:
    """Fill samples (frame, angle, element, sample) from arrays that are all on the device, one scatterer or more."""
    import cupy

    n_geometries, n_scatterers = positions.shape[1:3]
    n_frames, n_angles, n_elements, row_length = samples.shape
    n_places, n_events = positions.size // 3, n_frames * n_angles
    counters = cupy.empty(n_events, dtype=np.int32)
    prepared = tuple(cupy.empty((n_places, *shape), dtype=kind) for shape, kind in kernels.prepared)
    sizes = (n_elements, n_geometries, n_scatterers, n_events)
    kernels.prepare(
        (n_places,),
        kernels.n_threads[:1],
        (positions, reflectivity, *kernels.preparing, *map(np.int32, sizes), counters, *prepared),
    )
    if row_length > kernels.n_bins:
        samples[...] = 0  # the bins beyond the band
    sizes = (n_geometries, n_angles, n_scatterers, n_elements)
    kernels.simulate(
        (n_events * -(-kernels.n_bins // WARP),),
        kernels.n_threads[1:],
        (*prepared, *kernels.simulating, *map(np.int32, sizes), counters, samples),
        shared_mem=kernels.shared_bytes,
    )
    if not kernels.fused:
        transform_by_library(samples)
