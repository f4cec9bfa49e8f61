"""A training step of each network, and the network on a whole field: medians on this machine, GPU or CPU.

Run: python -m benchmarks.networks [--networks light complex] [--batches 2 8] [--compile] [--autotune] [--repeats 5].
A training step is forward, loss (of windows too, where a network tells them apart), backward and optimizer on blocks of
32 x 32 pixels and 512 frames, weights laid out as in training, in the precision that `network.precision: auto` takes;
milliseconds are per block of the batch. The field is --field pixels on a side and --frames
long, whole or in tiles of 128 pixels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from ulmpipe.memory import keep_freed_memory
from ulmpipe.network import build_network, infer_field
from ulmpipe.network.devices import lay_out_channels_last, precision_of
from ulmpipe.network.losses import LOSSES, loss_of_windows
from ulmpipe.network.optimizers import OPTIMIZERS
from ulmpipe.targets import count_windows

WINDOW, N_FRAMES, UPSAMPLING, TILE = 32, 512, 8, 128
WARM = 3


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of a call, the device's work included."""
    times = []
    for _ in range(WARM + repeats):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARM:])


def training_step(
    name: str, batch_size: int, *, optimizer: str, compiled: bool, device: torch.device
) -> Callable[[], object]:
    """A call that trains on one random batch, which is on the device already."""
    network = build_network(name, seed=0).to(device).train()  # all as in training
    lay_out_channels_last(network)
    model = torch.compile(network) if compiled else network
    stepper = OPTIMIZERS[optimizer](network.parameters(), 1e-4)
    maps = torch.randn(batch_size, 2, N_FRAMES, WINDOW, WINDOW, device=device)
    fine = UPSAMPLING * WINDOW
    given = {"windows": True} if getattr(network, "tells_windows", False) else {}
    n_maps = 1 + (count_windows(N_FRAMES) if given else 0)
    tracks = (torch.rand(batch_size, n_maps, fine, fine, device=device) < 0.01).float()
    loss_of = LOSSES["bce_dice"]

    halved = precision_of(network, "auto", device.type) == "bfloat16"

    def step() -> None:
        stepper.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=halved):
            logits = model(maps, **given).float()
        loss = loss_of(logits[:, :1], tracks[:, :1])
        if given:
            loss = loss + loss_of_windows(loss_of, logits, tracks)
        loss.backward()
        stepper.step()

    return step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="*", default=["light", "complex"])
    parser.add_argument("--batches", type=int, nargs="*", default=[2])
    parser.add_argument(
        "--compile", action="store_true", help="with torch.compile too, which needs a C++ compiler"
    )
    parser.add_argument(
        "--autotune", action="store_true", help="cuDNN tries its convolutions and takes the fastest"
    )
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="muon")
    parser.add_argument("--field", type=int, default=128)
    parser.add_argument("--frames", type=int, default=N_FRAMES)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the training stages do
    torch.backends.cudnn.benchmark = arguments.autotune
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{where}, torch {torch.__version__}")
    for name in arguments.networks:
        for batch_size in arguments.batches:
            for compiled in (False, True) if arguments.compile else (False,):
                step = training_step(
                    name, batch_size, optimizer=arguments.optimizer, compiled=compiled, device=device
                )
                milliseconds = 1e3 * seconds(step, arguments.repeats) / batch_size
                how = " compiled" if compiled else ""
                print(f"{name}{how}, batch {batch_size}: {milliseconds:.1f} ms a block and step", flush=True)
        network = build_network(name, seed=0).to(device)
        side = arguments.field
        field = np.random.default_rng(0).standard_normal((2, arguments.frames, side, side), dtype=np.float32)
        tile = TILE if side > TILE else None
        took = seconds(
            lambda network=network, field=field, tile=tile: infer_field(network, field, tile=tile), 1
        )
        print(f"{name}: field of {side} x {side} pixels, {arguments.frames} frames: {took:.2f} s", flush=True)


if __name__ == "__main__":
    main()
