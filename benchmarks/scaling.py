"""Time of simulation and delay-and-sum against what it should be proportional to: straight lines, or not.

Run: python -m benchmarks.scaling [--output docs/scaling.png] [--repeats 5]. Writes the picture and prints, for
each line, the times and the largest distance from the straight line through them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from benchmarks.scene import (
    DEPTH,
    N_SAMPLES,
    RECORD,
    WAVES,
    announce,
    bubbles,
    measure,
    noise,
    square_grid,
)

from ulmpipe.acoustics import named_probe, simulate_channel_data
from ulmpipe.beamforming import delay_and_sum
from ulmpipe.memory import aligned

Work = Callable[[int], Callable[[], object]]


def simulation(n_bubbles: int = 5, n_frames: int = 512, n_elements: int = 128, workers: int | None = None):
    """A call that simulates a block into memory that is there already."""
    probe = named_probe("L22-14v", n_elements=n_elements)
    places, ones = bubbles(n_bubbles, n_frames), np.ones(n_bubbles)
    memory = aligned((n_frames, len(WAVES.angles), n_elements, N_SAMPLES), np.complex64)
    settings = {"n_samples": N_SAMPLES, **RECORD, "backend": "cpu", "workers": workers, "out": memory}
    return lambda: simulate_channel_data(places, ones, probe, WAVES, **settings)


def beamforming(side: int = 32, n_frames: int = 512, n_elements: int = 128, workers: int | None = None):
    """A call that beamforms a block."""
    probe = named_probe("L22-14v", n_elements=n_elements)
    data, grid = noise(n_frames, len(WAVES.angles), n_elements, N_SAMPLES), square_grid(side)
    return lambda: delay_and_sum(data, grid, probe, WAVES, **RECORD, backend="cpu", workers=workers)


def panels() -> list[tuple[str, str, Sequence[int], Work]]:
    """(stage, what varies, values, work at a value)."""
    cores = range(1, len(os.sched_getaffinity(0)) + 1)
    return [
        ("simulation", "bubbles", (1, 5, 10, 20, 40, 70, 100), lambda n: simulation(n_bubbles=n)),
        ("simulation", "frames", (64, 128, 256, 512, 1024), lambda n: simulation(n_frames=n)),
        ("simulation", "elements", (16, 32, 64, 96, 128), lambda n: simulation(20, n_elements=n)),
        ("simulation", "cores", cores, lambda n: simulation(20, workers=n)),
        (
            "delay-and-sum",
            "pixels",
            (16, 32, 64, 96, 128),
            lambda n: beamforming(n, n_frames=256),
        ),
        ("delay-and-sum", "frames", (64, 128, 256, 512, 1024), lambda n: beamforming(n_frames=n)),
        ("delay-and-sum", "elements", (16, 32, 64, 96, 128), lambda n: beamforming(n_elements=n)),
        ("delay-and-sum", "cores", cores, lambda n: beamforming(64, n_frames=256, workers=n)),
    ]


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/scaling.png"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    announce()
    figure, axes = plt.subplots(2, 4, figsize=(13, 6), layout="constrained")
    for axis, (stage, what, values, work) in zip(axes.ravel(), panels(), strict=True):
        seconds = np.array([measure(work(value), options.repeats)[0] for value in values])
        amount = np.array(values, dtype=float) ** (2 if what == "pixels" else 1)
        shown = seconds[0] / seconds if what == "cores" else 1e3 * seconds
        line = np.polynomial.Polynomial.fit(amount, shown, 1)
        off = float(np.abs(line(amount) - shown).max() / shown.max())
        listed = ", ".join(
            f"{value:g}: {1e3 * second:.1f}" for value, second in zip(values, seconds, strict=True)
        )
        print(
            f"{stage} against {what} ({listed} ms), off the line by {100 * off:.0f} % of the longest",
            flush=True,
        )
        axis.plot(amount, shown, "o", color="#b03060")
        axis.plot(amount, line(amount), "-", color="0.6", zorder=0)
        axis.set(xlim=(0, None), ylim=(0, None), xlabel=what, title=stage)
        axis.set_ylabel("speed, times one core" if what == "cores" else "milliseconds")
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"A block of 512 frames, 3 plane waves, 128 elements, {N_SAMPLES} samples, {DEPTH * 1e3:g} mm deep; "
        "5 or 20 bubbles, 32 × 32 pixels, where they do not vary"
    )
    figure.savefig(options.output, dpi=110)
    print(f"written {options.output}")


if __name__ == "__main__":
    main()
