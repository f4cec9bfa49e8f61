"""Seconds a block and memory of each stage of an acquisition, against the number of pixels and of frames.

Run: python -m benchmarks.stages [--output docs/stages.png]. Calls the stages as the pipeline does, on one core, with
the model that comes with the package, on fields of 1 to 24 mm² and on blocks of 128 to 512 frames. CPU time, which
other work on the machine hardly lengthens, and the largest resident memory are the system's, of each stage's process.
What a stage needs to start cancels in the difference between few and many blocks.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks.scene import announce

STAGES = (
    "channel_data",
    "beamform",
    "correlate",
    "infer",
    "localize",
    "track",
    "ground_truth",
    "score",
    "angiogram",
)
MOSAICS, FRAMES = ((1, 1), (2, 2), (4, 4), (4, 6)), (128, 256, 512)
USUAL_MOSAIC, USUAL_FRAMES = (2, 2), 256
FEW, MANY = 1, 5  # blocks
LEAST_SHOWN = 0.04  # s: less is as uncertain as the start of a process
SIDE = 40  # pixels of a volume of the mosaic
CONCENTRATION = 10.0


def commands(folder: Path, mosaic: tuple[int, int], n_frames: int, n_blocks: int) -> list[list[str]]:
    """What Snakemake would call, in order, for one acquisition of `n_blocks`."""
    results = folder / f"{mosaic[0]}x{mosaic[1]}_{n_frames}_{n_blocks}"
    changes: dict[str, Any] = {
        "results": str(results),
        "model": "pretrained",
        "sequence": {"frames_per_block": n_frames},
        "acquisitions": {"it": {"concentration_per_mm3": CONCENTRATION, "n_blocks": n_blocks}},
        "phantom": {"mosaic": list(mosaic)},
        "motion": {"within_blocks": "rigid"},
    }
    configuration = folder / f"{results.name}.yaml"
    configuration.write_text(yaml.safe_dump(changes))
    targets = [f"{results}/angio_it.zarr", f"{results}/scores_it.json", f"{results}/tracks/it.h5"]
    call = ["snakemake", "--cores", "1", "--dry-run", "--forceall", "--printshellcmds", *targets]
    said = subprocess.run(
        [*call, "--configfile", str(configuration)], check=True, capture_output=True, text=True
    )
    lines = (
        line.strip().removeprefix("Shell command: ") for line in (said.stdout + said.stderr).splitlines()
    )
    return [shlex.split(line.split(" 2>&1")[0]) for line in lines if line.startswith("python -m ulmpipe")]


def run(calls: list[list[str]]) -> dict[str, dict[str, float]]:
    """CPU seconds and megabytes of each stage."""
    found = {}
    for call in calls:
        process = subprocess.Popen(
            [sys.executable, *call[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"failed: {shlex.join(call)}")
        found[call[3]] = {"seconds": usage.ru_utime + usage.ru_stime, "megabytes": usage.ru_maxrss / 1024}
    return found


def measure(folder: Path, mosaic: tuple[int, int], n_frames: int) -> dict[str, dict[str, float]]:
    """Seconds a block and megabytes of each stage at one size."""
    few, many = (run(commands(folder, mosaic, n_frames, n_blocks)) for n_blocks in (FEW, MANY))
    return {
        stage: {
            "seconds_a_block": (many[stage]["seconds"] - few[stage]["seconds"]) / (MANY - FEW),
            "megabytes": many[stage]["megabytes"],
            "megabytes_of_one_block": few[stage]["megabytes"],
        }
        for stage in STAGES
    }


def slope(amounts: Sequence[float], values: Sequence[float]) -> float:
    """Exponent of the power law between the two largest amounts; NaN where it took no time to speak of."""
    (a, b), (x, y) = amounts[-2:], values[-2:]
    return math.log(y / x) / math.log(b / a) if min(x, y) > 0 else math.nan


def draw(path: Path, found: dict[str, list[dict[str, Any]]]) -> None:
    """Four panels: time and memory, against pixels and frames."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), sharex="col", sharey="row", layout="constrained")
    for column, (what, sizes) in enumerate(found.items()):
        amounts = [size["amount"] for size in sizes]
        for row, (value, label) in enumerate(
            (("seconds_a_block", "CPU seconds a block"), ("megabytes", "peak memory, MB"))
        ):
            axis = axes[row, column]
            for number, stage in enumerate(STAGES):
                found_here = np.array([size["stages"][stage][value] for size in sizes])
                shown = np.where(found_here >= LEAST_SHOWN, found_here, np.nan)
                axis.plot(amounts, shown, "o-", label=stage, color=plt.cm.tab10(number), markersize=4)
            axis.set(xscale="log", yscale="log" if row == 0 else "linear")
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(alpha=0.3, which="both")
            if row == 1:
                axis.set_xlabel(what)
                axis.set_xticks(amounts, [f"{amount:,}".replace(",", " ") for amount in amounts], rotation=30)
                axis.minorticks_off()
            if column == 0:
                axis.set_ylabel(label)
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes[0, 0].set_title(f"blocks of {USUAL_FRAMES} frames")
    axes[0, 1].set_title(f"fields of {math.prod(USUAL_MOSAIC) * SIDE**2} pixels")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/stages.png"))
    options = parser.parse_args()
    announce()
    with tempfile.TemporaryDirectory() as folder:
        found = sizes(Path(folder))
    report(found)
    draw(options.output, found)
    print(f"written {options.output}")


def sizes(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All that is measured."""
    run(commands(folder, USUAL_MOSAIC, FRAMES[0], FEW))  # compiled functions are kept from here on
    found: dict[str, list[dict[str, Any]]] = {"pixels": [], "frames": []}
    for mosaic in MOSAICS:
        stages = measure(folder, mosaic, USUAL_FRAMES)
        found["pixels"].append({"amount": math.prod(mosaic) * SIDE**2, "stages": stages})
    for n_frames in FRAMES:
        stages = measure(folder, USUAL_MOSAIC, n_frames)
        found["frames"].append({"amount": n_frames, "stages": stages})
    return found


def report(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print it, and the powers of the largest two sizes."""
    for what, sizes in found.items():
        amounts = [size["amount"] for size in sizes]
        print(f"{what}: {amounts}")
        for stage in STAGES:
            seconds = [size["stages"][stage]["seconds_a_block"] for size in sizes]
            memory = [round(size["stages"][stage]["megabytes"]) for size in sizes]
            listed = ", ".join(f"{each:.2f}" for each in seconds)
            print(f"  {stage:14s} {listed} s a block (power {slope(amounts, seconds):.2f}); {memory} MB")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
