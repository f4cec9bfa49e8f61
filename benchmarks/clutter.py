"""Which criterion finds the number of tissue components, on blocks whose tissue, bubbles and noise are known apart.

Run: python -m benchmarks.clutter [--seeds 2] [--speed]. Images are sums of Gaussian spots with the phase -2kz of
their depth: speckle of dense scatterers, most of it moving as breathing and heartbeat move it, some still, 30 and
40 dB (RMS) above the peak of a bubble; bubbles of 0.5 to 15 mm/s in straight vessels that move with the tissue;
noise. The filter is linear once its components are chosen, so what it does to each of the three is known.

Printed for each way of choosing the number of components to remove, averaged in dB over blocks: clutter rejected,
energy of all, slow and fast bubbles kept (the two halves by speed), and the error, clutter left and bubbles lost
over the energy of the bubbles. `--speed` measures the filters on a block of 400 frames of 512 x 512 pixels instead.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from benchmarks.scene import announce
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ulmpipe.clutter import (
    adaptive_svd_filter,
    decompose,
    double_decay,
    n_above_noise,
    similarity_squares,
    slow_components,
    spatial_similarity,
    svd_filter,
)
from ulmpipe.clutter.slow_time import band_pass, split_directions

Images = NDArray[np.complex64]
Energies = dict[str, NDArray[np.float64]]

WAVENUMBER = 2 * np.pi * 15e6 / 1540.0
PIXEL, FRAME_RATE = 50e-6, 1000.0  # about λ/2, as the carrier is taken off
SPOT_Z, SPOT_X = 65e-6, 60e-6  # standard deviations of the point spread function
SCATTERERS_PER_AREA = 8 / (150e-6) ** 2  # 8 in a resolution cell
BREATHING, HEARTBEAT = 1.5, ((6.0, 0.6), (12.0, 0.3), (18.0, 0.15))  # Hz; Hz and weight
WANDER_TIME = 0.03  # s, standard deviation of the window that smooths it
AMPLITUDES = (1e-6, 2e-6, 5e-6, 10e-6, 20e-6)
CLUTTER_DB = (30.0, 40.0)


@dataclass(frozen=True)
class Scene:
    """What a block shows."""

    amplitude: float = 5e-6  # of the tissue's motion, m
    clutter_db: float = 40.0
    noise: float = 0.2  # RMS over a bubble's peak
    still_share: float = 0.1  # of the clutter's energy
    wander: float = 0.0  # RMS of what each scatterer moves by itself, m, within WANDER_TIME
    n_bubbles: int = 20
    side: int = 64
    n_frames: int = 400
    seed: int = 0


def spots(
    z: NDArray[np.float64], x: NDArray[np.float64], amplitude: NDArray[np.generic], side: int
) -> Images:
    """Image of scatterers at (frame, scatterer) positions, the carrier exp(2ikz) of the pixels taken off."""
    axis = (PIXEL * (np.arange(side) - (side - 1) / 2)).astype(np.float32)[:, None]
    images = np.empty((len(z), side, side), dtype=np.complex64)
    for frame in range(len(z)):
        along_z = np.exp(-0.5 * ((axis - z[frame].astype(np.float32)) / np.float32(SPOT_Z)) ** 2)
        along_x = np.exp(-0.5 * ((axis - x[frame].astype(np.float32)) / np.float32(SPOT_X)) ** 2)
        echo = (amplitude * np.exp(-2j * WAVENUMBER * z[frame])).astype(np.complex64)
        images[frame] = (along_z * echo) @ along_x.T
    return images


def render(scene: Scene) -> dict[str, Images]:
    """Tissue, slow and fast bubbles and noise of a block, each (frame, z, x)."""
    rng = np.random.default_rng(scene.seed)
    times = np.arange(scene.n_frames)[:, None] / FRAME_RATE
    half = scene.side * PIXEL / 2
    margin = half + 3 * SPOT_Z
    phases = rng.uniform(0, 2 * np.pi, 1 + len(HEARTBEAT))
    breathing = np.sin(2 * np.pi * BREATHING * times + phases[0])
    heartbeat = sum(
        weight * np.sin(2 * np.pi * frequency * times + phase)
        for (frequency, weight), phase in zip(HEARTBEAT, phases[1:], strict=True)
    )

    def moved(z: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        # the breath strains along z, the pulse is stronger on one side; a third of it all goes sideways
        strained, pulsed = 0.7 * breathing * (1 + 0.3 * z / half), 0.3 * heartbeat * (1 + 0.5 * x / half)
        displacement = scene.amplitude * (strained + pulsed)
        return z + displacement, x + 0.3 * displacement

    def speckle(moving: bool) -> Images:
        n = int(SCATTERERS_PER_AREA * (2 * margin) ** 2)
        place = rng.uniform(-margin, margin, (2, 1, n))
        echo = rng.standard_normal((n, 2)).view(np.complex128)[:, 0]
        if moving and scene.wander:
            steps = rng.standard_normal((2, scene.n_frames, n))
            path = gaussian_filter(steps, (0, WANDER_TIME * FRAME_RATE, 0))
            place = place + scene.wander / np.std(path) * path
        image = spots(*(moved(*place) if moving else place), echo, scene.side)
        return image / np.sqrt(np.mean(np.abs(image) ** 2))

    level = 10 ** (scene.clutter_db / 20)
    tissue = level * np.sqrt(1 - scene.still_share) * speckle(True)
    tissue += level * np.sqrt(scene.still_share) * speckle(False)

    speed = np.sort(np.exp(rng.uniform(np.log(0.5e-3), np.log(15e-3), scene.n_bubbles)))
    direction = rng.uniform(0, 2 * np.pi, scene.n_bubbles)
    start = rng.uniform(-margin, margin, (2, scene.n_bubbles))
    path = start[:, None] + np.stack([np.sin(direction), np.cos(direction)])[:, None] * speed * times
    path = (path + margin) % (2 * margin) - margin  # one that leaves comes in on the other side
    z, x = moved(*path)
    slow, fast = slice(0, scene.n_bubbles // 2), slice(scene.n_bubbles // 2, None)
    ones = np.ones(scene.n_bubbles)
    white = rng.standard_normal((scene.n_frames, scene.side, scene.side, 2)).view(np.complex128)[..., 0]
    noise = gaussian_filter(white, (0, 0.6, 0.6))  # neighbours are not quite independent
    return {
        "tissue": tissue,
        "slow": spots(z[:, slow], x[:, slow], ones[slow], scene.side),
        "fast": spots(z[:, fast], x[:, fast], ones[fast], scene.side),
        "noise": (scene.noise * noise / np.sqrt(np.mean(np.abs(noise) ** 2))).astype(np.complex64),
    }


def decibels(ratio: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """10 lg, of what is above -120 dB."""
    return 10 * np.log10(np.maximum(ratio, 1e-12))


def assess(scene: Scene) -> tuple[Energies, dict[str, int], int]:
    """Energy of each part in each component, what the criteria choose, and where noise begins."""
    parts = render(scene)
    images = sum(parts.values())
    components = decompose(images)
    adjoint = components.temporal.conj().T.astype(np.complex64)
    energies = {
        name: np.sum(np.abs(adjoint @ part.reshape(len(part), -1)).astype(np.float64) ** 2, axis=1)
        for name, part in parts.items()
    }
    energies["bubbles"] = energies["slow"] + energies["fast"]
    chosen = {
        "double decay": double_decay(components.values),
        "similarity": similarity_squares(spatial_similarity(images, components))[0],
    }
    for cutoff in (20.0, 40.0):
        chosen[f"below {cutoff:g} Hz"] = slow_components(
            components.temporal, pulse_repetition_frequency=FRAME_RATE, cutoff_frequency=cutoff
        )
    return energies, chosen, n_above_noise(components.values)


def errors(energies: Energies) -> NDArray[np.float64]:
    """Error in dB when 0, 1, 2, … components are removed."""
    left = np.cumsum(energies["tissue"][::-1])[::-1]
    lost = np.concatenate([[0.0], np.cumsum(energies["bubbles"])[:-1]])
    return decibels((left + lost) / energies["bubbles"].sum())


def kept(energy: NDArray[np.float64], n_removed: int, last: int | None = None) -> float:
    """Share of the energy in the components after those removed and before the last, dB."""
    return float(decibels(energy[n_removed:last].sum() / energy.sum()))


def compare(seeds: int) -> None:
    """The table over amplitudes, and the one of the noise cut."""
    blocks = {
        amplitude: [
            assess(Scene(amplitude=amplitude, clutter_db=level, seed=seed))
            for level in CLUTTER_DB
            for seed in range(seeds)
        ]
        for amplitude in AMPLITUDES
    }
    everything = [block for some in blocks.values() for block in some]
    mean_error = np.mean([errors(energies) for energies, _, _ in everything], axis=0)
    fixed = int(np.argmin(mean_error))
    print(f"\nbest fixed number of components over all amplitudes: {fixed}")
    heading = "{:>7} {:<16} {:>9} {:>8} {:>8} {:>7} {:>7} {:>7}"
    print(
        "\n" + heading.format("motion", "number by", "removed", "clutter", "bubbles", "slow", "fast", "error")
    )
    print(heading.format("µm", "", "", *["dB"] * 5))
    for amplitude, some in [*blocks.items(), (None, everything)]:
        for name in ("best of each", "best fixed", "fixed 10", *some[0][1]):
            numbers = [
                {"best of each": int(np.argmin(errors(energies))), "best fixed": fixed, "fixed 10": 10}.get(
                    name, chosen.get(name, 0)
                )
                for energies, chosen, _ in some
            ]
            pairs = [(energies, number) for (energies, _, _), number in zip(some, numbers, strict=True)]
            columns = [
                np.mean([-kept(energies["tissue"], number) for energies, number in pairs]),
                *(
                    np.mean([kept(energies[part], number) for energies, number in pairs])
                    for part in ("bubbles", "slow", "fast")
                ),
                np.mean([errors(energies)[number] for energies, number in pairs]),
            ]
            motion = "all" if amplitude is None else f"{amplitude * 1e6:g}"
            removed = f"{min(numbers)}-{max(numbers)}"
            shown = "{:>8.1f} {:>8.2f} {:>7.2f} {:>7.2f} {:>7.1f}".format(*columns)
            print(f"{motion:>7} {name:<16} {removed:>9} {shown}", flush=True)
    print(
        "\nnoise cut after double decay: components kept, noise taken off, bubbles kept (all, slow, fast), dB"
    )
    for amplitude, some in blocks.items():
        cuts = [(energies, chosen["double decay"], last) for energies, chosen, last in some]
        columns = [
            np.mean([last - first for _, first, last in cuts]),
            *(
                np.mean([kept(energies[part], first, last) for energies, first, last in cuts])
                for part in ("noise", "bubbles", "slow", "fast")
            ),
        ]
        print(
            "{:>7g} {:>8.0f} {:>8.1f} {:>8.2f} {:>8.2f} {:>8.2f}".format(amplitude * 1e6, *columns),
            flush=True,
        )


def compare_scenes() -> None:
    """Other scenes than those of the first table: number of components and error by each criterion."""
    base = Scene(clutter_db=35.0, seed=10)
    scenes = {
        "32 x 32 pixels": replace(base, side=32, n_bubbles=5),
        "noise -34 dB": replace(base, noise=0.02),
        "noise 0 dB": replace(base, noise=1.0),
        "150 bubbles": replace(base, n_bubbles=150),
        "200 frames": replace(base, n_frames=200),
        "motion 50 µm": replace(base, amplitude=50e-6),
        "no still clutter": replace(base, still_share=0.0),
        "wander 0.05 µm": replace(base, wander=0.05e-6),
        "wander 0.2 µm": replace(base, wander=0.2e-6),
    }
    print("\nother scenes, 5 µm, 35 dB: components removed and error in dB (best of each, then by criterion)")
    for name, scene in scenes.items():
        energies, chosen, _ = assess(scene)
        error = errors(energies)
        shown = [("best", int(np.argmin(error))), *chosen.items()]
        listed = ", ".join(f"{way} {number}: {error[number]:.1f}" for way, number in shown)
        print(f"{name:<17} {listed}", flush=True)


def measure_speed() -> None:
    """Seconds of the filters on a large block, one call each."""
    n_frames, side = 400, 512
    rng = np.random.default_rng(0)
    images = rng.standard_normal((n_frames, side, side, 2), dtype=np.float32).view(np.complex64)[..., 0]
    phase = np.exp(0.2j * np.sin(2 * np.pi * BREATHING * np.arange(n_frames) / FRAME_RATE)).astype(
        np.complex64
    )
    tissue = 300 * rng.standard_normal((side, side, 2), dtype=np.float32).view(np.complex64)[..., 0]
    for frame in range(n_frames):
        images[frame] += phase[frame] * tissue
    workers = len(os.sched_getaffinity(0))
    works: dict[str, Callable[[], object]] = {
        "exact, 10 components": lambda: svd_filter(images, n_removed=10, workers=workers),
        "randomized, 10 components": lambda: svd_filter(
            images, n_removed=10, method="randomized", generator=np.random.default_rng(1), workers=workers
        ),
        "double decay": lambda: adaptive_svd_filter(images, workers=workers),
        "similarity": lambda: adaptive_svd_filter(images, criterion="similarity", workers=workers),
        "high-pass": lambda: band_pass(
            images, pulse_repetition_frequency=FRAME_RATE, low=20.0, workers=workers
        ),
        "directions": lambda: split_directions(images, workers=workers),
    }
    print(f"{n_frames} frames of {side} x {side} pixels, {workers} threads")
    for name, work in works.items():
        wall, core = time.perf_counter(), time.process_time()
        work()
        print(
            f"{name:<26} {time.perf_counter() - wall:6.1f} s ({time.process_time() - core:.1f} core-s)",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2, help="blocks at each amplitude and level of clutter")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    announce()
    if options.speed:
        measure_speed()
    else:
        compare(options.seeds)
        compare_scenes()


if __name__ == "__main__":
    main()
