"""As many blocks as Milecki et al. 2021 had, simulated, beamformed, correlated and stored: time, and share of the I/O.

Run: python -m benchmarks.paper_set FOLDER [--part 1.0]. 2500 blocks with 5 bubbles, and 800 with each of 1, 5, 10 and
20, of 512 frames, 3 plane waves, 128 elements and 32 × 32 pixels. Bubbles move along straight lines, which costs no
time, with speeds of 0.1 to 5 mm/s; everything else is what the stages do with `network.input:
correlation`. The same stores are then written again with nothing else to do: that is the I/O.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benchmarks.scene import DEPTH, N_FRAMES, N_SAMPLES, PIXEL, PROBE, RECORD, WAVES, noise, square_grid
from numpy.typing import NDArray

from ulmpipe.correlation import as_channels, correlation_map, remove_carrier
from ulmpipe.device import gpu_available, to_host
from ulmpipe.imaging import simulate_image
from ulmpipe.io.stores import new_array, new_store, writing_behind

SETS = ((2500, 5), (800, 1), (800, 5), (800, 10), (800, 20))  # blocks, bubbles
SIDE, HALF = 32, 0.5e-3
FOCUSING = {"f_number": 0.0, "apodization": "rectangular", "lens_correction": False, "oversampling": 4}
WAVENUMBER = 2 * np.pi * RECORD["demodulation_frequency"] / RECORD["speed_of_sound"]


def moving_bubbles(block: int, n_bubbles: int) -> NDArray[np.float64]:
    """Places (frame, angle, bubble, 3) on straight lines through the cube at the focus; NaN outside it."""
    rng = np.random.default_rng([block, n_bubbles])
    event_times = np.arange(N_FRAMES)[:, None] / 1000 + np.arange(len(WAVES.angles)) / 3000
    direction = rng.standard_normal((n_bubbles, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    velocity = direction * 10 ** rng.uniform(-4, np.log10(5e-3), (n_bubbles, 1))
    places = rng.uniform(-HALF, HALF, (n_bubbles, 3)) + velocity * (event_times[..., None, None] - 0.256)
    places[(np.abs(places) > HALF).any(axis=-1)] = np.nan
    return places + np.array([0, 0, DEPTH])


def maps(n_blocks: int, n_bubbles: int) -> Iterator[NDArray[np.float16]]:
    """Correlation maps of blocks, (2, frame, z, x), in the host's memory."""
    grid, psf, ones = square_grid(SIDE), noise(9, 9), np.ones(n_bubbles)
    for block in range(n_blocks):
        iq = simulate_image(
            moving_bubbles(block, n_bubbles),
            ones,
            grid,
            PROBE,
            WAVES,
            n_samples=N_SAMPLES,
            attenuation=0.0,
            **RECORD,
            **FOCUSING,
        )
        chi = correlation_map(remove_carrier(iq, grid.z, wavenumber=WAVENUMBER), psf, regularization=1.0)
        yield to_host(as_channels(chi))


def store(path: Path, n_blocks: int, blocks: Iterator[NDArray[np.float16]]) -> None:
    """Write blocks as the stage `training_blocks` does."""
    with new_store(path, provenance={}) as group:
        array = new_array(
            group,
            "correlation",
            shape=(n_blocks, 2, N_FRAMES, SIDE, SIDE),
            dtype="float16",
            dims=("block", "part", "frame", "z", "x"),
            units="1",
            compressed=False,
            spacing={"z": PIXEL, "x": PIXEL},
        )
        with writing_behind() as write:
            for block, channels in enumerate(blocks):
                write(array, block, channels)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", type=float, default=1.0, help="of the blocks")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    sets = [(max(1, round(options.part * n_blocks)), n_bubbles) for n_blocks, n_bubbles in SETS]
    print(f"{'GPU' if gpu_available() else 'CPU'}, {sum(n for n, _ in sets)} blocks", flush=True)
    for _, n_bubbles in sets:  # compiles
        next(maps(1, n_bubbles))
    total = made = written = 0.0
    for n_blocks, n_bubbles in sets:
        path = options.folder / f"{n_bubbles}_of_{n_blocks}.zarr"
        start = time.perf_counter()
        store(path, n_blocks, maps(n_blocks, n_bubbles))
        all_stages = time.perf_counter() - start
        start = time.perf_counter()
        (last,) = deque(maps(n_blocks, n_bubbles), maxlen=1)
        made_only = time.perf_counter() - start
        start = time.perf_counter()
        store(path, n_blocks, (last for _ in range(n_blocks)))
        written_only = time.perf_counter() - start
        print(
            f"{n_blocks} blocks with {n_bubbles} bubbles: {all_stages:.1f} s; not stored {made_only:.1f} s, "
            f"{1e3 * made_only / n_blocks:.2f} ms a block; stored only {written_only:.1f} s",
            flush=True,
        )
        total, made, written = total + all_stages, made + made_only, written + written_only
    print(
        f"all: {total:.1f} s; not stored {made:.1f} s; stored only {written:.1f} s, {100 * written / total:.0f} %"
    )


if __name__ == "__main__":
    main()
