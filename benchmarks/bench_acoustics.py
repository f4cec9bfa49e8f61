"""Core-seconds of the simulator for a block of 512 frames × 3 plane waves × 128 elements (96 baseband samples).

Run `python benchmarks/bench_acoustics.py`. Bubbles move between the angles unless it says "still". Each figure
is the median of five runs of this process's CPU time; PyMUST's is one frame and angle, extrapolated.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numpy as np

from ulmpipe.acoustics import PlaneWaves, named_probe, simulate_channel_data

PROBE = named_probe("L22-14v")
WAVES = PlaneWaves(angles=np.deg2rad([-1.0, 0.0, 1.0]), transmit_frequency=15e6, n_cycles=3)
SPEED = 1540.0
WINDOW = {
    "start_time": 9e-6,
    "n_samples": 96,
    "sampling_frequency": 15.625e6,
    "demodulation_frequency": 15.625e6,
    "speed_of_sound": SPEED,
}
N_FRAMES = 512


def block(n_bubbles: int, n_frames: int, *, still: bool) -> np.ndarray:
    """Random places in the 1 mm cube."""
    rng = np.random.default_rng(n_bubbles)
    shape = (n_frames, n_bubbles, 3) if still else (n_frames, 3, n_bubbles, 3)
    return rng.uniform(-0.5e-3, 0.5e-3, shape) + np.array([0, 0, 8e-3])


def simulate(places: np.ndarray, backend: str) -> np.ndarray:
    """Channel data of bubbles of reflectivity 1."""
    return simulate_channel_data(places, np.ones(places.shape[-2]), PROBE, WAVES, **WINDOW, backend=backend)


def accuracy() -> float:
    """Relative L2 between the CPU backend and the reference."""
    places = block(20, 2, still=False)
    expected = simulate(places, "reference")
    return float(np.linalg.norm(simulate(places, "cpu") - expected) / np.linalg.norm(expected))


def measure(places: np.ndarray, backend: str, repeats: int) -> tuple[float, float]:
    """Median core-seconds and wall seconds."""
    simulate(places, backend)
    core, wall = [], []
    for _ in range(repeats):
        core_start, wall_start = time.process_time(), time.perf_counter()
        simulate(places, backend)
        core.append(time.process_time() - core_start)
        wall.append(time.perf_counter() - wall_start)
    return statistics.median(core), statistics.median(wall)


def pymust_seconds(n_bubbles: int) -> float:
    """Core-seconds of a block in PyMUST with its default settings, from single frames."""
    import pymust

    param = pymust.utils.Param()
    param.fc, param.fs, param.c = PROBE.center_frequency, 4 * PROBE.center_frequency, SPEED
    param.pitch, param.width, param.height = PROBE.pitch, PROBE.width, PROBE.height
    param.focus, param.Nelements, param.radius = PROBE.elevation_focus, PROBE.n_elements, np.inf
    param.bandwidth, param.TXnow = 100 * PROBE.bandwidth, WAVES.n_cycles
    delays = WAVES.delays(PROBE, speed_of_sound=SPEED)[:1]
    times = []
    for places in block(n_bubbles, 5, still=True):
        x, y, z = (np.ascontiguousarray(column)[None, :] for column in places.T)
        start = time.process_time()
        pymust.simus(x, y, z, np.ones_like(x), delays, param, pymust.utils.Options())
        times.append(time.process_time() - start)
    return statistics.median(times) * len(WAVES.angles) * N_FRAMES


def main() -> None:
    """Print one line per number of bubbles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--bubbles", type=int, nargs="+", default=[5, 20, 80])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pymust", action="store_true", help="time PyMUST in the same run")
    options = parser.parse_args()
    print(
        f"cores {len(os.sched_getaffinity(0))}, load {os.getloadavg()[0]:.1f}, relative L2 {accuracy():.1e}"
    )
    for n_bubbles in options.bubbles:
        for still in (True, False):
            places = block(n_bubbles, N_FRAMES, still=still)
            core, wall = measure(places, options.backend, options.repeats)
            label = "still" if still else "moving"
            print(
                f"{n_bubbles:4d} bubbles {label:6s} {core:.3f} core-s, {wall:.3f} s wall per block",
                flush=True,
            )
        if options.pymust:
            slow = pymust_seconds(n_bubbles)
            print(f"     PyMUST {slow:.0f} core-s per block: {slow / core:.0f} times")


if __name__ == "__main__":
    main()
