"""Simulation, delay-and-sum and correlation of a block of 512 frames on a GPU: medians by CUDA events.

Run: python -m benchmarks.gpu [--repeats 21]. A block has 3 plane waves, 128 elements and 96 samples. Everything stays on
the device, in memory that is there; each run of a stage has other input than the one before, so that no cache keeps it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
from benchmarks.scene import N_FRAMES, N_SAMPLES, PROBE, RECORD, WAVES, bubbles, noise, square_grid

from ulmpipe.acoustics import kernels_gpu, simulate_channel_data
from ulmpipe.beamforming import delay_and_sum
from ulmpipe.correlation import correlation_map
from ulmpipe.imaging import simulate_image


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of the device between two events around a call."""
    import cupy

    work()
    times = []
    for _ in range(repeats):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end))
    return statistics.median(times)


def kernels_of_simulation(n_bubbles: int) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object]]:
    """The simulation's two kernels, one after the other and each alone, with arguments that are on the device."""
    import cupy

    samples = cupy.empty((N_FRAMES, len(WAVES.angles), PROBE.n_elements, N_SAMPLES), np.complex64)
    launches: list[tuple] = []

    class Recorder:
        def __init__(self, kernel):
            self.kernel = kernel

        def __call__(self, *launch, **options):
            launches.append((self.kernel, launch, options))
            self.kernel(*launch, **options)

    compiled = kernels_gpu._compiled
    kernels_gpu._compiled = lambda options: Recorder(compiled(options))
    simulate_channel_data(
        bubbles(n_bubbles), np.ones(n_bubbles), PROBE, WAVES, n_samples=N_SAMPLES, **RECORD, out=samples
    )
    kernels_gpu._compiled = compiled
    kernel, launch, options = launches[0]
    plan = kernels_gpu._transform(N_SAMPLES, samples.size // N_SAMPLES)

    def spectra():
        kernel(*launch, **options)

    def transform():
        plan.fft(samples, samples, cupy.cuda.cufft.CUFFT_INVERSE)

    def both():
        spectra()
        transform()

    return both, spectra, transform


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=21)
    repeats = parser.parse_args().repeats
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    print(f"{name}, CuPy {cupy.__version__}", flush=True)
    for n_bubbles in (1, 5, 10, 20):
        both, spectra, transform = (milliseconds(work, repeats) for work in kernels_of_simulation(n_bubbles))
        print(
            f"simulation, {n_bubbles:2d} bubbles: {both:.3f} ms (spectra {spectra:.3f}, transform {transform:.3f})",
            flush=True,
        )
    for side, n_frames, n_samples in ((32, N_FRAMES, N_SAMPLES), (512, 64, 384)):
        data = cupy.asarray(noise(n_frames, len(WAVES.angles), PROBE.n_elements, n_samples))
        grid = square_grid(side)
        for options in ({}, {"f_number": 1.0}):
            time = milliseconds(lambda: delay_and_sum(data, grid, PROBE, WAVES, **RECORD, **options), repeats)
            points = n_frames * side**2 * len(WAVES.angles) * PROBE.n_elements
            print(
                f"delay-and-sum, {side} × {side} pixels, {n_frames} frames, {options or 'full aperture'}: "
                f"{time:.3f} ms, {points / time * 1e3:.2e} points/s",
                flush=True,
            )
    images, psf = cupy.asarray(noise(N_FRAMES, 32, 32)), noise(9, 9)
    time = milliseconds(lambda: correlation_map(images, psf, regularization=1.0), repeats)
    print(f"correlation, 32 × 32 pixels, 9 × 9: {time:.3f} ms", flush=True)
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
