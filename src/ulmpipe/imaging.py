"""Simulation and beamforming in one go, a few frames at a time, where nobody needs the channel data themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus import simulate_channel_data
from ulmpipe.beamforming.das import Grid, check_backend, delay_and_sum
from ulmpipe.device import runs_on_gpu
from ulmpipe.memory import aligned
from ulmpipe.parallel import count_workers, in_threads

FRAMES_AT_A_TIME = 32  # in a CPU's cache
GPU_BYTES = 256 * 2**20  # of channel data at a time on a GPU


def simulate_image(
    positions: NDArray[np.floating],
    reflectivity: NDArray[np.floating],
    grid: Grid,
    probe: Probe,
    transmit: PlaneWaves,
    *,
    start_time: float,
    n_samples: int,
    sampling_frequency: float,
    demodulation_frequency: float,
    speed_of_sound: float,
    attenuation: float,
    f_number: float,
    apodization: str,
    lens_correction: bool,
    oversampling: int,
    backend: str = "auto",
    workers: int | None = None,
) -> Any:
    """Image scatterers: `simulate_channel_data`, then `delay_and_sum`, of the same arguments.

    Parameters
    ----------
    positions : (frame, angle, bubble, 3) or (frame, bubble, 3)
        m; NaN is an absent bubble.
    reflectivity : (bubble,) or (frame, bubble)
        Amplitudes.
    workers : int, optional
        Threads, each with frames of its own; default: those that this process was given.

    Returns
    -------
    (frame, z, x) complex64; a CuPy array if the GPU made it
    """
    n_frames, n_angles = positions.shape[0], len(transmit.angles)
    check_backend(backend)
    gpu = runs_on_gpu(backend)
    if gpu:
        import cupy as xp
    else:
        xp = np
    record: dict[str, Any] = {
        "start_time": start_time,
        "sampling_frequency": sampling_frequency,
        "demodulation_frequency": demodulation_frequency,
        "speed_of_sound": speed_of_sound,
        "backend": backend,
        "workers": 1,
    }
    shape = (n_angles, probe.n_elements, n_samples)
    at_once = max(1, GPU_BYTES // (8 * math.prod(shape))) if gpu else FRAMES_AT_A_TIME
    image = xp.empty((n_frames, grid.z.size, grid.x.size), np.complex64)

    def run(first_frame: int, last_frame: int) -> None:
        make = xp.empty if gpu else aligned
        memory = make((min(at_once, last_frame - first_frame), *shape), np.complex64)
        for first in range(first_frame, last_frame, at_once):
            part = slice(first, min(first + at_once, last_frame))
            channel_data = simulate_channel_data(
                positions[part],
                reflectivity if reflectivity.ndim == 1 else reflectivity[part],
                probe,
                transmit,
                n_samples=n_samples,
                attenuation=attenuation,
                out=memory[: part.stop - part.start],
                **record,
            )
            image[part] = delay_and_sum(
                channel_data,
                grid,
                probe,
                transmit,
                f_number=f_number,
                apodization=apodization,
                lens_correction=lens_correction,
                oversampling=oversampling,
                **record,
            )

    in_threads(run, n_frames, workers=1 if gpu else count_workers(workers))
    return image
