"""The wide-field phantom: which volumes stand where, whose bubbles they hold, how its tissue moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.flow.bubbles import Bubbles
from ulmpipe.phantom import Mosaic, TissueMotion, lay_mosaic, place_bubbles, random_motion, rigid_drift
from ulmpipe.randomness import generator
from ulmpipe.stages._bubbles import read_bubbles, read_reflectivity
from ulmpipe.stages._parameters import Parameters


@dataclass(frozen=True)
class Field:
    """Extent of the phantom in the image plane, centred on the axis, m."""

    width: float
    height: float
    depth: float


def field_of(parameters: Parameters) -> Field:
    """The field that the mosaic of volumes fills, at the depth of the elevation focus."""
    n_z, n_x = parameters["phantom"]["mosaic"]
    side = parameters["side"]
    return Field(width=n_x * side, height=n_z * side, depth=parameters["probe"]["elevation_focus"])


def mosaic_of(parameters: Parameters) -> Mosaic:
    """Volumes side by side, each turned and flipped another way."""
    n_z, n_x = parameters["phantom"]["mosaic"]
    return lay_mosaic(
        generator(parameters["seed"], "mosaic", parameters["name"]),
        n_x=n_x,
        n_z=n_z,
        side=parameters["side"],
        depth=parameters["probe"]["elevation_focus"],
    )


def drift_of(parameters: Parameters) -> NDArray[np.float64]:
    """Rigid displacement (x, z) of every block, m."""
    return rigid_drift(
        generator(parameters["seed"], "drift", parameters["name"]),
        n_blocks=parameters["acquisition"]["n_blocks"],
        maximum=parameters["phantom"]["largest_drift"],
        memory=parameters["phantom"]["drift_memory_blocks"],
    )


def motion_of(parameters: Parameters) -> TissueMotion:
    """Motion of the tissue within blocks: that of training blocks, breathing and heartbeat."""
    tissue, phantom = parameters["tissue"], parameters["phantom"]
    parts = [
        (tissue["motion_amplitude"], tissue["motion_frequency"]),
        *(
            (phantom[name]["amplitude"], phantom[name]["frequency"])
            for name in ("breathing", "heartbeat")
            if phantom[name]["amplitude"] > 0
        ),
    ]
    return random_motion(
        generator(parameters["seed"], "motion", parameters["name"]),
        amplitude=[amplitude for amplitude, _ in parts],
        frequency=[frequency for _, frequency in parts],
    )


def block_bubbles(parameters: Parameters, store: Any, mosaic: Mosaic, block: int) -> Bubbles:
    """Bubbles of one block of an acquisition, each volume's its own, in the frame of the tissue at rest."""
    n_tiles = len(mosaic.centre)
    concentration = parameters["acquisition"]["concentration_per_mm3"]
    tiles = [
        read_bubbles(store, block * n_tiles + tile, concentration_per_mm3=concentration)
        for tile in range(n_tiles)
    ]
    return place_bubbles(tiles, mosaic)


def block_reflectivity(parameters: Parameters, store: Any, block: int) -> NDArray[np.float32]:
    """Reflectivity of the bubbles of `block_bubbles`, in its order, (bubble,) or (frame, bubble)."""
    n_tiles = int(np.prod(parameters["phantom"]["mosaic"]))
    concentration = parameters["acquisition"]["concentration_per_mm3"]
    tiles = [
        read_reflectivity(parameters, store, block * n_tiles + tile, concentration_per_mm3=concentration)
        for tile in range(n_tiles)
    ]
    return np.concatenate(tiles, axis=-1)
