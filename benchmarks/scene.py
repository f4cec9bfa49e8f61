"""What all measurements share: the default probe and sequence, random scenes, and medians of repeated runs."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics import PlaneWaves, named_probe
from ulmpipe.beamforming import Grid

PROBE = named_probe("L22-14v")
WAVES = PlaneWaves(angles=tuple(np.deg2rad([-1.0, 0.0, 1.0])), transmit_frequency=15e6, n_cycles=3)
N_FRAMES, N_SAMPLES, PIXEL, DEPTH = 512, 96, 25e-6, 8e-3
SPEED = 1540.0
RECORD = {
    "start_time": 9e-6,
    "sampling_frequency": 15.625e6,
    "demodulation_frequency": 15.625e6,
    "speed_of_sound": SPEED,
}


def bubbles(n_bubbles: int, n_frames: int = N_FRAMES) -> NDArray[np.float64]:
    """Random places in a cube of 1 mm at the focus, other ones at every angle of every frame, as bubbles move."""
    rng = np.random.default_rng(n_bubbles)
    places = rng.uniform(-0.5e-3, 0.5e-3, (n_frames, len(WAVES.angles), n_bubbles, 3))
    return places + np.array([0, 0, DEPTH])


def square_grid(side: int) -> Grid:
    """Pixels around the focus."""
    offset = PIXEL * (np.arange(side) - (side - 1) / 2)
    return Grid(x=offset, z=DEPTH + offset)


def noise(*shape: int) -> NDArray[np.complex64]:
    """Circular complex noise."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def measure(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds on the clock, and of all cores together, after one call that compiles."""
    work()
    wall, core = [], []
    for _ in range(repeats):
        wall_start, core_start = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - wall_start)
        core.append(time.process_time() - core_start)
    return statistics.median(wall), statistics.median(core)


def announce() -> None:
    """Say what machine this is, and whether it is busy with something else."""
    cores = len(os.sched_getaffinity(0))
    model = "unknown processor"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    print(f"{model}, {cores} cores, load before {os.getloadavg()[0]:.1f}", flush=True)
