"""Delay-and-sum, correlation and clutter filter on a block of 512 frames: core-seconds, and PyMUST beside them.

Run: `OPENBLAS_NUM_THREADS=1 python benchmarks/bench_beamforming.py [--repeats 5] [--frames 512]`. Every figure is
the median of the repeats of one run; core-seconds are what all threads of the process used, together.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from ulmpipe.acoustics import PlaneWaves, Probe, named_probe
from ulmpipe.beamforming import Grid, delay_and_sum
from ulmpipe.clutter import svd_filter
from ulmpipe.correlation import correlation_map

RECORD = {
    "start_time": 9e-6,
    "sampling_frequency": 15.625e6,
    "demodulation_frequency": 15.625e6,
    "speed_of_sound": 1540.0,
}
N_SAMPLES, PIXEL, DEPTH = 96, 25e-6, 8e-3


def measure(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median (core-seconds, seconds) after one call that compiles."""
    work()
    times = []
    for _ in range(repeats):
        wall, core = time.perf_counter(), time.process_time()
        work()
        times.append((time.process_time() - core, time.perf_counter() - wall))
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def random_complex(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Circular noise, complex64."""
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def pymust_matrices(grid: Grid, probe: Probe, transmit: PlaneWaves) -> list:
    """One sparse delay-and-sum matrix per angle, linear interpolation, on the samples as they are."""
    import pymust

    x, z = np.meshgrid(grid.x, grid.z)
    matrices = []
    for delays in transmit.delays(probe, speed_of_sound=RECORD["speed_of_sound"]):
        param = pymust.utils.Param()
        param.fs, param.fc, param.c = RECORD["sampling_frequency"], RECORD["demodulation_frequency"], 1540.0
        param.pitch, param.Nelements, param.radius = probe.pitch, probe.n_elements, np.inf
        param.t0, param.fnumber = np.array([[RECORD["start_time"]]]), 0
        found = pymust.dasmtx(1j * np.array([N_SAMPLES, probe.n_elements]), x, z, delays[None, :], param)
        matrices.append((found[0] if isinstance(found, tuple) else found).tocsr().astype(np.complex64))
    return matrices


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=512)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    probe = named_probe("L22-14v")
    transmit = PlaneWaves(angles=tuple(np.deg2rad([-1, 0, 1])), transmit_frequency=15e6, n_cycles=3)
    data = random_complex(rng, (options.frames, len(transmit.angles), probe.n_elements, N_SAMPLES))

    def report(name: str, work: Callable[[], object], points: float) -> float:
        core, wall = measure(work, options.repeats)
        print(f"{name:52s} {core:7.3f} core-s  {wall:7.3f} s  {points / core:9.2e} points/s·core", flush=True)
        return core

    psf = random_complex(rng, (9, 9))
    for side in (32, 80):
        offset = PIXEL * (np.arange(side) - (side - 1) / 2)
        grid = Grid(x=offset, z=DEPTH + offset)
        points = side**2 * probe.n_elements * len(transmit.angles) * options.frames
        for f_number in (0.0, 1.0):
            ours = report(
                f"delay-and-sum {side}x{side}, f-number {f_number:g}, oversampling 4",
                lambda grid=grid, f_number=f_number: delay_and_sum(
                    data, grid, probe, transmit, f_number=f_number, backend="cpu", **RECORD
                ),
                points,
            )
            if side == 32 and f_number == 0:
                matrices = pymust_matrices(grid, probe, transmit)
                columns = [
                    np.ascontiguousarray(data[:, a].reshape(options.frames, -1).T)
                    for a in range(len(matrices))
                ]
                theirs = report(
                    "  PyMUST sparse matrix, made before, not oversampled",
                    lambda columns=columns, matrices=matrices: [
                        m @ c for m, c in zip(matrices, columns, strict=True)
                    ],
                    points,
                )
                print(f"  ratio {theirs / ours:.1f}")
        iq = random_complex(rng, (options.frames, *grid.shape))
        pixels = options.frames * side**2
        report(
            f"correlation {side}x{side}, 9x9 psf",
            lambda iq=iq: correlation_map(iq, psf, regularization=0.1),
            pixels,
        )
        report(f"svd_filter {side}x{side}, 10 removed", lambda iq=iq: svd_filter(iq, n_removed=10), pixels)


if __name__ == "__main__":
    main()
