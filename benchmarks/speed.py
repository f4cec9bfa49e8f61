"""Simulation, delay-and-sum and correlation of a block of 512 frames, and PyMUST beside them in the same run.

Run: python -m benchmarks.speed [--repeats 5]. A block has 3 plane waves, 128 elements and 96 samples. PyMUST
simulates single frames and angles, five of them or more, and the median is taken for all: a block would be minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from benchmarks.scene import (
    N_FRAMES,
    N_SAMPLES,
    PROBE,
    RECORD,
    SPEED,
    WAVES,
    announce,
    bubbles,
    measure,
    noise,
    square_grid,
)

from ulmpipe.acoustics import simulate_channel_data
from ulmpipe.beamforming import delay_and_sum
from ulmpipe.clutter import svd_filter
from ulmpipe.correlation import correlation_map
from ulmpipe.imaging import simulate_image
from ulmpipe.memory import aligned


def pymust_simulation(n_bubbles: int, repeats: int) -> float:
    """Seconds of a block in PyMUST at its default settings, from single frames."""
    import pymust

    param = pymust.utils.Param()
    param.fc, param.fs, param.c = PROBE.center_frequency, 4 * PROBE.center_frequency, SPEED
    param.pitch, param.width, param.height = PROBE.pitch, PROBE.width, PROBE.height
    param.focus, param.Nelements, param.radius = PROBE.elevation_focus, PROBE.n_elements, np.inf
    param.bandwidth, param.TXnow = 100 * PROBE.bandwidth, WAVES.n_cycles
    delays = WAVES.delays(PROBE, speed_of_sound=SPEED)[:1]
    times = []
    for places in bubbles(n_bubbles, repeats + 1)[:, 0]:
        x, y, z = (np.ascontiguousarray(column)[None, :] for column in places.T)
        start = time.perf_counter()
        pymust.simus(x, y, z, np.ones_like(x), delays, param, pymust.utils.Options())
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) * len(WAVES.angles) * N_FRAMES


def pymust_matrices(
    side: int, n_samples: int = N_SAMPLES, rate: float = RECORD["sampling_frequency"]
) -> list:
    """PyMUST's sparse delay-and-sum matrices, one per angle: linear interpolation on the samples as they are."""
    import pymust

    grid = square_grid(side)
    x, z = np.meshgrid(grid.x, grid.z)
    matrices = []
    for delays in WAVES.delays(PROBE, speed_of_sound=SPEED):
        param = pymust.utils.Param()
        param.fs, param.fc, param.c = rate, RECORD["demodulation_frequency"], SPEED
        param.pitch, param.Nelements, param.radius = PROBE.pitch, PROBE.n_elements, np.inf
        param.t0, param.fnumber = np.array([[RECORD["start_time"]]]), 0
        found = pymust.dasmtx(1j * np.array([n_samples, PROBE.n_elements]), x, z, delays[None, :], param)
        matrices.append(found[0] if isinstance(found, tuple) else found)
    return matrices


def simulation(repeats: int) -> None:
    """Channel data of a block, on all cores and on one, into memory that is there already and into new memory."""
    memory = aligned((N_FRAMES, len(WAVES.angles), PROBE.n_elements, N_SAMPLES), np.complex64)
    settings = {"n_samples": N_SAMPLES, **RECORD}
    for n_bubbles in (5, 20):
        places, ones = bubbles(n_bubbles), np.ones(n_bubbles)

        def simulate(places=places, ones=ones, **options):
            return simulate_channel_data(places, ones, PROBE, WAVES, **settings, **options, backend="cpu")

        wall, core = measure(lambda simulate=simulate: simulate(out=memory), repeats)
        anew, _ = measure(simulate, repeats)
        theirs = pymust_simulation(n_bubbles, repeats)
        print(
            f"simulation, {n_bubbles:2d} bubbles     {wall:.3f} s ({core:.3f} core-s; {anew:.3f} s into new memory), "
            f"PyMUST {theirs:.0f} s: {theirs / wall:.0f} times ({theirs / anew:.0f})",
            flush=True,
        )


def chain(repeats: int) -> None:
    """Simulation, delay-and-sum and correlation in one go."""
    places, grid, psf = bubbles(5), square_grid(32), noise(9, 9)
    focusing = {"f_number": 0.0, "apodization": "rectangular", "lens_correction": False, "oversampling": 4}

    def image():
        return simulate_image(
            places,
            np.ones(5),
            grid,
            PROBE,
            WAVES,
            n_samples=N_SAMPLES,
            attenuation=0.0,
            backend="cpu",
            **RECORD,
            **focusing,
        )

    wall, core = measure(lambda: correlation_map(image(), psf, regularization=1.0), repeats)
    print(f"simulation, delay-and-sum, correlation, 5 bubbles, 32 x 32  {wall:.3f} s ({core:.3f} core-s)")
    iq = noise(N_FRAMES, 32, 32)
    wall, core = measure(lambda: correlation_map(iq, psf, regularization=1.0), repeats)
    print(f"  of which correlation, 9 x 9        {wall:.3f} s ({core:.3f} core-s)")
    wall, core = measure(lambda: svd_filter(iq, n_removed=2), repeats)
    print(f"clutter filter, 32 x 32              {wall:.3f} s ({core:.3f} core-s)", flush=True)


def beamforming(repeats: int) -> None:
    """Points (pixels × channels × angles × frames) per second and core; PyMUST's sparse matrix on the same data."""
    data = noise(N_FRAMES, len(WAVES.angles), PROBE.n_elements, N_SAMPLES)
    deep = noise(
        128, len(WAVES.angles), PROBE.n_elements, 4 * N_SAMPLES
    )  # holds all pixels of the wide field
    cases = ((32, 0.0, 4), (32, 0.0, 1), (32, 1.0, 4), (512, 0.0, 4))
    core_seconds = {}
    for side, f_number, oversampling in cases:
        some, grid = deep if side == 512 else data, square_grid(side)
        points = side**2 * PROBE.n_elements * len(WAVES.angles) * len(some)
        options = {"f_number": f_number, "oversampling": oversampling, "backend": "cpu", **RECORD}
        if side == 512:
            options["start_time"] = 1e-6
        wall, core = measure(
            lambda some=some, grid=grid, options=options: delay_and_sum(some, grid, PROBE, WAVES, **options),
            repeats,
        )
        core_seconds[side, f_number, oversampling] = core
        print(
            f"delay-and-sum {side} x {side}, {len(some)} frames, f-number {f_number:g}, oversampled x{oversampling}  "
            f"{wall:.3f} s ({core:.3f} core-s)  {points / core:.2e} points/s and core",
            flush=True,
        )
    columns = [data[:, a].reshape(N_FRAMES, -1).T for a in range(len(WAVES.angles))]
    matrices = pymust_matrices(32)
    for name, dtype in (("as PyMUST returns it", matrices[0].dtype), ("in single precision", np.complex64)):
        cast = [matrix.astype(dtype) for matrix in matrices]
        stacked = [np.ascontiguousarray(column, dtype=dtype) for column in columns]
        _, theirs = measure(
            lambda cast=cast, stacked=stacked: [m @ c for m, c in zip(cast, stacked, strict=True)], repeats
        )
        print(
            f"  PyMUST's matrix {name}, 32 x 32, linear: {theirs:.3f} core-s, "
            f"{theirs / core_seconds[32, 0.0, 1]:.1f} times ours with the same interpolation, "
            f"{theirs / core_seconds[32, 0.0, 4]:.1f} times ours oversampled",
            flush=True,
        )
    on_fine_samples(repeats)


def on_fine_samples(repeats: int) -> None:
    """Both programs at the accuracy of ours: on data that come oversampled ×4, which both interpolate linearly."""
    n_frames, n_samples, rate = 128, 4 * N_SAMPLES, 4 * RECORD["sampling_frequency"]
    data = noise(n_frames, len(WAVES.angles), PROBE.n_elements, n_samples)
    record = {**RECORD, "sampling_frequency": rate}
    grid = square_grid(32)
    _, ours = measure(
        lambda: delay_and_sum(data, grid, PROBE, WAVES, **record, oversampling=1, backend="cpu"), repeats
    )
    matrices = pymust_matrices(32, n_samples, rate)
    for name, dtype in (("as PyMUST returns it", matrices[0].dtype), ("in single precision", np.complex64)):
        cast = [matrix.astype(dtype) for matrix in matrices]
        columns = [
            np.ascontiguousarray(data[:, a].reshape(n_frames, -1).T, dtype=dtype)
            for a in range(len(WAVES.angles))
        ]
        _, theirs = measure(
            lambda cast=cast, columns=columns: [m @ c for m, c in zip(cast, columns, strict=True)], repeats
        )
        print(
            f"  both on data oversampled beforehand, {n_frames} frames: ours {ours:.3f} core-s, PyMUST's matrix {name} "
            f"{theirs:.3f}: {theirs / ours:.1f} times",
            flush=True,
        )


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    announce()
    simulation(repeats)
    chain(repeats)
    beamforming(repeats)


if __name__ == "__main__":
    main()
