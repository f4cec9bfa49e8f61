"""The paper's sliding window beside the network on the whole field at once, on an acquisition of a finished run.

Run: `python examples/whole_field.py RESULTS ACQUISITION --model FOLDER`, say `results/pretrained 20MB --model
models/cortex`. Prints, for the whole field, for tiles of it, and for windows of 32 pixels at
several strides (the largest of all overlapping answers, which thresholded is the paper's logical OR): seconds a block
on one core, Dice per block at its best threshold, and recall where all are equally precise. Thresholds are swept on the
very blocks, for every row alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ulmpipe.angiogram import register_maps
from ulmpipe.configuration.models import WEIGHTS, read_model
from ulmpipe.evaluation.operating_point import choose_threshold, sweep_thresholds
from ulmpipe.evaluation.scores import recall_at_matched_precision
from ulmpipe.io.stores import open_store, read_block, read_json
from ulmpipe.network import build_network, infer_field, infer_sliding, load_weights

BORDER = 32  # fine pixels that no score counts
PRECISIONS = (0.5, 0.7)
CLASSES = ("fast", "slow", "capillary")
THRESHOLDS = np.linspace(0.02, 0.98, 49)

Inference = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def sliding(network: nn.Module, stride: int, trained_frames: int) -> Inference:
    """The paper's way."""
    return lambda field: infer_sliding(network, field, stride=stride, trained_frames=trained_frames)


def main() -> None:
    """Print a row for every way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("acquisition")
    parser.add_argument("--model", type=Path, required=True, help="folder of a packed model")
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--strides", type=int, nargs="*", default=[16, 8, 4, 2])
    arguments = parser.parse_args()
    results, name = arguments.results, arguments.acquisition

    torch.set_num_threads(1)
    model = read_model(arguments.model)
    network = build_network(model["network"], seed=0)
    load_weights(network, arguments.model / WEIGHTS)
    frames = model["made_for"]["sequence"]["frames_per_block"]
    maps = open_store(results / "correlation" / f"{name}.zarr", model["input"])[model["input"]]
    n_blocks = min(arguments.blocks, maps.shape[0])
    truth = open_store(results / "ground_truth" / f"{name}.zarr", "tracks")
    shifts = np.array(read_json(results / "registration" / f"{name}.json")["shifts_pixels"])[:n_blocks]
    classes = {each: np.asarray(truth[each][:n_blocks]) for each in ("tracks", *CLASSES)}

    ways: dict[str, Inference] = {
        "whole field": lambda field: infer_field(network, field, trained_frames=frames),
        "tiles of 40 pixels": lambda field: infer_field(network, field, tile=40, trained_frames=frames),
    }
    for stride in arguments.strides:
        ways[f"windows, stride {stride}"] = sliding(network, stride, frames)

    names = "/".join(["all", *CLASSES])
    print(f"{maps.shape[-1]} pixels, {maps.shape[2]} frames, {n_blocks} blocks; recall: {names}")
    ways["whole field"](read_block(maps, 0).astype(np.float32))  # what a first call prepares is not timed
    for way, infer in ways.items():
        start = time.perf_counter()
        answers = [infer(read_block(maps, block).astype(np.float32)) for block in range(n_blocks)]
        seconds = (time.perf_counter() - start) / n_blocks
        registered = np.array(list(register_maps(answers, shifts, upsampling=8)))
        inner = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
        sweep = sweep_thresholds(registered[inner], classes["tracks"][inner], thresholds=THRESHOLDS)
        dice = choose_threshold(sweep).dice
        matched = recall_at_matched_precision(
            registered,
            classes["tracks"],
            {each: classes[each] for each in CLASSES},
            precisions=PRECISIONS,
            border=BORDER,
        )
        recalls = "  ".join(
            f"at {precision}: " + "/".join(f"{100 * (row[each] or 0):.1f}" for each in names.split("/"))
            for precision, row in matched.items()
        )
        print(f"{way:20} {seconds:7.1f} s/block  Dice {100 * dice:.1f}  {recalls}", flush=True)


if __name__ == "__main__":
    main()
