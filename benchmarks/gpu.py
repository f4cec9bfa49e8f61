"""Simulation, delay-and-sum and correlation of a block of 512 frames on a GPU: medians by CUDA events.

Run: python -m benchmarks.gpu [--repeats 21]. A block has 3 plane waves, 128 elements and 96 samples. Everything stays
on the device, in memory that is there.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from benchmarks.scene import N_FRAMES, N_SAMPLES, PROBE, RECORD, WAVES, bubbles, noise, square_grid

from ulmpipe.acoustics import kernels_gpu, simulate_channel_data
from ulmpipe.beamforming import delay_and_sum
from ulmpipe.correlation import correlation_map
from ulmpipe.imaging import simulate_image

CALLS = 10  # between two events, so that the host's part of a launch overlaps with the device's


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median over `repeats` of the time of a call, calls one after the other, by events on the device's clock."""
    import cupy

    warm = time.perf_counter() + 0.3  # a GPU that idles clocks down
    while time.perf_counter() < warm:
        work()
        cupy.cuda.Device().synchronize()
    times = []
    for _ in range(repeats):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(CALLS):
            work()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end) / CALLS)
    return statistics.median(times)


def simulation(n_bubbles: int) -> Callable[[], object]:
    """A call that simulates a block, positions on the host and samples on the device."""
    import cupy

    samples = cupy.empty((N_FRAMES, len(WAVES.angles), PROBE.n_elements, N_SAMPLES), np.complex64)
    places, ones = bubbles(n_bubbles), np.ones(n_bubbles)
    return lambda: simulate_channel_data(
        places, ones, PROBE, WAVES, n_samples=N_SAMPLES, **RECORD, out=samples
    )


def device_part(work: Callable[[], object]) -> Callable[[], object]:
    """What a simulation does on the device, its arguments being there: the launches of one call, to be repeated."""
    import cupy

    seen: list[tuple] = []
    launch = kernels_gpu._launch
    kernels_gpu._launch = lambda *arguments: seen.append(arguments)
    work()
    kernels_gpu._launch = launch
    kept = [(*(cupy.asarray(argument) for argument in each[:2]), *each[2:]) for each in seen]

    def again() -> None:
        for arguments in kept:
            launch(*arguments)

    return again


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=21)
    repeats = parser.parse_args().repeats
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    print(f"{name}, CuPy {cupy.__version__}", flush=True)
    for n_bubbles in (1, 5, 10, 20):
        work = simulation(n_bubbles)
        call, device = milliseconds(work, repeats), milliseconds(device_part(work), repeats)
        print(f"simulation, {n_bubbles:2d} bubbles: {device:.3f} ms ({call:.3f} from the host)", flush=True)
    for side, n_frames, n_samples in ((32, N_FRAMES, N_SAMPLES), (512, 64, 384)):
        data, grid = (
            cupy.asarray(noise(n_frames, len(WAVES.angles), PROBE.n_elements, n_samples)),
            square_grid(side),
        )
        for f_number in (0.0, 1.0):

            def beamform(data=data, grid=grid, f_number=f_number) -> object:
                return delay_and_sum(data, grid, PROBE, WAVES, **RECORD, f_number=f_number)

            taken = milliseconds(beamform, repeats)
            points = n_frames * side**2 * len(WAVES.angles) * PROBE.n_elements
            print(
                f"delay-and-sum, {side} × {side} pixels, {n_frames} frames, f-number {f_number:g}: "
                f"{taken:.3f} ms, {points / taken * 1e3:.2e} points/s",
                flush=True,
            )
    images, psf = cupy.asarray(noise(N_FRAMES, 32, 32)), noise(9, 9)
    taken = milliseconds(lambda: correlation_map(images, psf, regularization=1.0), repeats)
    print(f"correlation, 32 × 32 pixels, 9 × 9: {taken:.3f} ms", flush=True)
    focusing = {"f_number": 0.0, "apodization": "rectangular", "lens_correction": False, "oversampling": 4}
    places, ones, grid = bubbles(5), np.ones(5), square_grid(32)

    def chain() -> None:
        iq = simulate_image(
            places, ones, grid, PROBE, WAVES, n_samples=N_SAMPLES, attenuation=0.0, **RECORD, **focusing
        )
        correlation_map(iq, psf, regularization=1.0)

    print(f"all three, from positions on the host: {milliseconds(chain, repeats):.3f} ms", flush=True)


if __name__ == "__main__":
    main()
