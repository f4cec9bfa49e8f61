"""Score maps of both methods: probabilities of the network; what is stored, and how an operating point wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.stores import new_array, new_store, open_store, read_block, read_blocks, read_json
from ulmpipe.localization.localize import spread
from ulmpipe.registration import shift_map
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import fine_geometry
from ulmpipe.stages._weights import load_trained

if TYPE_CHECKING:
    from torch import nn

# bytes that networks take at most for each pixel and frame of a tile in float32, those with 3-D convolutions apart, and
# MB of a process that has only begun
OF_A_TILE, OF_A_TILE_3D, WITHOUT_BLOCKS = 64, 380, 500


def network_maps(
    parameters: Parameters,
    model: Path,
    maps: Any,
    *,
    threads: int,
    memory_mb: int | None = None,
    trained_frames: int,
) -> Iterator[NDArray[np.float32]]:
    """Track probabilities of every block of an array (block, 2, frame, z, x).

    `trained_frames` are those of the blocks it was trained with (see `ulmpipe.network.infer_field`).
    On the CPU each block is computed by one thread, as many blocks at a time as there are threads and fit in memory:
    the result does not depend on the number of cores, bit for bit.
    """
    import torch

    from ulmpipe.network.architectures import build_network
    from ulmpipe.network.inference import infer_field, infer_sliding

    network = build_network(parameters["network"]["name"], seed=0)
    load_trained(network, model, parameters)
    precision, inference = parameters["network"]["precision"], parameters["inference"]
    if torch.cuda.is_available():
        network, threads = network.cuda(), 1
    torch.set_num_threads(1)

    def probability(channels: NDArray[np.float16]) -> NDArray[np.float32]:
        if inference["mode"] == "whole_field":
            return infer_field(
                network, channels, precision=precision, tile=inference["tile"], trained_frames=trained_frames
            )
        return infer_sliding(
            network,
            channels,
            stride=inference["stride"],
            crop=inference["crop"],
            precision=precision,
            trained_frames=trained_frames,
        )

    def infer(channels: NDArray[np.float16]) -> NDArray[np.float32]:
        if not inference["mirrored"]:
            return probability(channels)
        mirrored = probability(channels[..., ::-1])[:, ::-1]
        return np.asarray((probability(channels) + mirrored) / 2, dtype=np.float32)

    at_once = blocks_at_once(
        network, parameters, maps, threads=threads, memory_mb=memory_mb, trained_frames=trained_frames
    )
    return over_blocks(infer, maps, threads=at_once)


def blocks_at_once(
    network: nn.Module,
    parameters: Parameters,
    maps: Any,
    *,
    threads: int,
    memory_mb: int | None,
    trained_frames: int,
) -> int:
    """How many threads may each hold a block, its answers and what the network makes of a tile."""
    from ulmpipe.network.devices import has_3d_convolutions
    from ulmpipe.network.inference import times_shown

    if memory_mb is None:
        return threads
    _, channels, n_frames, n_z, n_x = maps.shape
    n_shown = n_frames * times_shown(n_frames, trained_frames)
    tile = parameters["inference"]["tile"] or max(n_z, n_x)
    of_maps = channels * n_shown * n_z * n_x * maps.dtype.itemsize
    of_answers = 4 * parameters["targets"]["upsampling"] ** 2 * n_z * n_x * np.dtype(np.float32).itemsize
    of_pixel = OF_A_TILE_3D if has_3d_convolutions(network) else OF_A_TILE
    side = tile + 2 * int(network.halo)  # type: ignore[arg-type]
    of_tile = of_pixel * n_shown * min(n_z, side) * min(n_x, side)
    fit = (memory_mb - WITHOUT_BLOCKS) * 1_000_000 // (of_maps + of_answers + of_tile)
    return max(1, min(threads, int(fit)))


def over_blocks(
    infer: Callable[[NDArray[np.float16]], NDArray[np.float32]], maps: Any, *, threads: int
) -> Iterator[NDArray[np.float32]]:
    """What a network says of every block (2, frame, z, x) of an array, several at a time."""
    n_blocks = maps.shape[0]

    def answer(block: int) -> NDArray[np.float32]:
        return infer(read_block(maps, block))

    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, n_blocks, threads):
            yield from pool.map(answer, range(first, min(first + threads, n_blocks)))


def write_scores(
    detections: Path,
    scores: Iterable[dict[str, NDArray[np.float32]]],
    maps: Any,
    *,
    names: tuple[str, ...] = ("score",),
    upsampling: int,
    units: str,
    made: dict[str, Any],
) -> None:
    """Write the score maps of all blocks, by their `names`, made of maps (block, 2, frame, z, x), to a store."""
    n_blocks, _, _, n_z, n_x = maps.shape
    with new_store(detections, provenance=made) as store:
        arrays = {
            name: new_array(
                store,
                name,
                shape=(n_blocks, n_z * upsampling, n_x * upsampling),
                dtype="float16",
                dims=("block", "z", "x"),
                units=units,
                **fine_geometry(maps.attrs, upsampling),
            )
            for name in names
        }
        for block, of_block in enumerate(scores):
            for name, array in arrays.items():
                array[block] = of_block[name]


def operating_points_of(operating_points: Path, *, concentration_per_mm3: float) -> dict[str, Any]:
    """Points of both methods that were chosen at the concentration nearest to this one, by their ratio."""
    wanted = max(concentration_per_mm3, np.finfo(float).tiny)  # without bubbles: those of the sparsest
    chosen: dict[str, Any] = min(
        read_json(operating_points)["operating_points"],
        key=lambda each: abs(np.log(each["concentration_per_mm3"]) - np.log(wanted)),
    )
    return chosen


def operated(scores: NDArray[np.float32], *, radius: int, rise: int) -> NDArray[np.float32]:
    """Score map (z, x) with each detection spread over a disk and raised by whole fine pixels.

    Off the image plane a bubble appears deeper than it is: a network learns by how much on average, the expert is told.
    """
    return np.asarray(shift_map(spread(scores, radius=radius), (-rise, 0)))


def read_scores(detections: Path, point: Parameters) -> Iterator[NDArray[np.float32]]:
    """Score maps (z, x) of a store, block by block, as an operating point wants them."""
    name = point.get("map", "score")  # of models of before there were tracks
    for scores in read_blocks(open_store(detections, name)[name]):
        yield operated(scores.astype(np.float32), radius=point["radius"], rise=point["rise"])
