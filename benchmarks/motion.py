"""Time and memory of motion estimation and correction for blocks of an acquisition in vivo.

Run: python -m benchmarks.motion [--side 512] [--frames 400] [--blocks 5]. Speckle that breathes and pulses; each
function runs once. Memory is the largest that it takes beside its arguments, results included.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
from benchmarks.scene import PIXEL, RECORD, SPEED, announce
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ulmpipe.localization import LOCALIZATION
from ulmpipe.motion import estimate_motion, move_images, subtract_motion, tissue_image
from ulmpipe.registration import measure_drift

CARRIER = 4 * np.pi * RECORD["demodulation_frequency"] / SPEED * PIXEL  # rad a pixel
FRAME_RATE = 1000.0
MARGIN = 8  # pixels, more than the tissue moves
Result = TypeVar("Result")


def moving_speckle(side: int, n_frames: int) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    """(frame, z, x) with its carrier, a little noise, and the motion (frame, 2) in pixels from the middle frame."""
    rng = np.random.default_rng(0)
    wide = side + 2 * MARGIN
    parts = [gaussian_filter(rng.standard_normal((wide, wide)), (2, 3)) for _ in range(2)]
    carrier = np.exp(1j * CARRIER * np.arange(wide))[:, None]
    tissue = ((parts[0] + 1j * parts[1]) / parts[0].std() * carrier).astype(np.complex64)
    turn = 2 * np.pi * np.arange(n_frames) / FRAME_RATE
    motion = np.stack([2 * np.sin(turn) + np.sin(5 * turn), 2 * np.sin(turn + 1) - np.sin(5 * turn)], axis=1)
    motion -= motion[n_frames // 2]
    images = np.empty((n_frames, side, side), np.complex64)
    for frame, by in enumerate(motion):
        moved = move_images(tissue[None], by[None], carrier=CARRIER, carrier_removed=False)[0]
        receiver = rng.standard_normal((side, side, 2), dtype=np.float32).view(np.complex64)[..., 0]
        images[frame] = moved[MARGIN:-MARGIN, MARGIN:-MARGIN] + np.float32(0.1) * receiver
    return images, motion


def report(name: str, work: Callable[[], Result]) -> Result:
    """Run once, print seconds and MiB."""
    tracemalloc.start()
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    memory = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    print(f"{name:55s} {seconds:8.2f} s {memory:8.0f} MiB", flush=True)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--blocks", type=int, default=5)
    given = parser.parse_args()
    announce()
    images, true = moving_speckle(given.side, given.frames)
    print(f"{given.side} × {given.side} pixels × {given.frames} frames, {images.nbytes / 2**20:.0f} MiB")

    motion = report("estimate_motion", lambda: estimate_motion(images, carrier=CARRIER))
    error = np.sqrt(np.mean((motion - true) ** 2, axis=0))
    print(f"  RMS error {error[0]:.4f} px in depth, {error[1]:.4f} px lateral")
    localizations = np.zeros(300 * given.frames, dtype=LOCALIZATION)
    localizations["frame"] = np.repeat(np.arange(given.frames), 300)
    report("subtract_motion, 300 localizations a frame", lambda: subtract_motion(localizations, motion))
    report("tissue_image", lambda: tissue_image(images, motion, carrier=CARRIER))
    for method, frames in (("fourier", given.frames), ("cubic", min(given.frames, 50))):
        options = {"carrier": CARRIER, "carrier_removed": False, "method": method}
        name = f"move_images, {method}, {frames} frames"
        report(name, partial(move_images, images[:frames], -motion[:frames], **options))
    blocks = np.abs(images[np.linspace(0, given.frames - 1, given.blocks).astype(int)])
    report(f"measure_drift, {given.blocks} blocks", lambda: measure_drift(blocks))


if __name__ == "__main__":
    main()
