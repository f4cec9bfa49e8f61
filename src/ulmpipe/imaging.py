"""Simulation and beamforming in one go, a few frames at a time, where nobody needs the channel data themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus import choose_backend, simulate_channel_data
from ulmpipe.beamforming.das import Grid, delay_and_sum
from ulmpipe.memory import aligned
from ulmpipe.parallel import count_workers, in_threads

FRAMES_AT_A_TIME = 32


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
) -> NDArray[np.complex64]:
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
    (frame, z, x) complex64
    """
    n_frames, n_angles = positions.shape[0], len(transmit.angles)
    image = np.empty((n_frames, grid.z.size, grid.x.size), np.complex64)

    def run(first_frame: int, last_frame: int) -> None:
        memory = aligned((FRAMES_AT_A_TIME, n_angles, probe.n_elements, n_samples), np.complex64)
        for first in range(first_frame, last_frame, FRAMES_AT_A_TIME):
            part = slice(first, min(first + FRAMES_AT_A_TIME, last_frame))
            channel_data = simulate_channel_data(
                positions[part],
                reflectivity if reflectivity.ndim == 1 else reflectivity[part],
                probe,
                transmit,
                start_time=start_time,
                n_samples=n_samples,
                sampling_frequency=sampling_frequency,
                demodulation_frequency=demodulation_frequency,
                speed_of_sound=speed_of_sound,
                attenuation=attenuation,
                backend=backend,
                workers=1,
                out=memory[: part.stop - part.start],
            )
            image[part] = delay_and_sum(
                channel_data,
                grid,
                probe,
                transmit,
                start_time=start_time,
                sampling_frequency=sampling_frequency,
                demodulation_frequency=demodulation_frequency,
                speed_of_sound=speed_of_sound,
                f_number=f_number,
                apodization=apodization,
                lens_correction=lens_correction,
                oversampling=oversampling,
                backend=backend,
                workers=1,
            )

    in_threads(run, n_frames, workers=1 if choose_backend(backend) == "gpu" else count_workers(workers))
    return image
