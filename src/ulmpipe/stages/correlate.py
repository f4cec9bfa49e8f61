"""Stages 11 and 6: the clutter filter and the correlation maps of an acquisition, with the pictures made on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.angiogram import power_doppler
from ulmpipe.correlation import remove_carrier
from ulmpipe.io.stores import new_array, new_store, open_store, provenance, read_block
from ulmpipe.motion import estimate_motion, move_images, no_motion
from ulmpipe.progress import progress
from ulmpipe.randomness import generator
from ulmpipe.stages._clutter import filter_clutter
from ulmpipe.stages._maps import maps_of, new_maps
from ulmpipe.stages._parameters import Parameters

EDGE_OF_INTERPOLATION = 2  # pixels beside the border where moved images are not exact


def run(parameters: Parameters, *, iq: Path, point_spread: Path, correlation: Path) -> None:
    """Filter and correlate every block; keep its power Doppler image and its mean tissue image too."""
    images = open_store(iq, "iq")["iq"]
    psf = open_store(point_spread, "point_spread")["point_spread"]
    n_blocks, n_frames, n_z, n_x = images.shape
    spacing, origin = images.attrs["spacing"], images.attrs["origin"]
    wavenumber = psf.attrs["wavenumber"]
    carrier_is_there = images.attrs.get("carrier", True)  # images from elsewhere may have lost it
    depths = origin["z"] + np.arange(n_z) * spacing["z"]
    with new_store(correlation, provenance=provenance("correlate", parameters, iq, point_spread)) as store:
        block_dims = ("block", "z", "x")
        maps = new_maps(store, parameters["maps"], images.shape, spacing=spacing, origin=origin)
        pictures = {
            name: new_array(
                store,
                name,
                shape=(n_blocks, n_z, n_x),
                dtype="float32",
                dims=block_dims,
                units="1",
                spacing=spacing,
                origin=origin,
            )
            for name in ("power_doppler", "power_unfiltered", "tissue")
        }
        motion = new_array(
            store,
            "motion",
            shape=(n_blocks, n_frames, 2),
            dtype="float64",
            dims=("block", "frame", "axis"),
            units="pixel",
        )
        removed: list[int] = []
        kept: list[int] = []
        for block in progress(range(n_blocks), "clutter filter and correlation"):
            raw = read_block(images, block)
            if not carrier_is_there:
                raw = remove_carrier(raw, depths, wavenumber=-wavenumber)
            raw, moved = _at_rest(parameters, raw, carrier=2 * wavenumber * spacing["z"])
            motion[block] = moved
            rng = generator(parameters["seed"], "clutter", block)
            filtered = filter_clutter(parameters, raw, rng)
            removed.append(filtered.n_removed)
            kept.append(filtered.n_kept)
            images_at_baseband = remove_carrier(filtered.images, depths, wavenumber=wavenumber)
            for name, made in maps_of(parameters["maps"], images_at_baseband, psf[0]):
                maps[name][block] = made
            pictures["power_doppler"][block] = power_doppler(filtered.images)
            pictures["power_unfiltered"][block] = power_doppler(raw)
            # the envelope, since the phase of moved images is that of where they were
            at_rest = parameters["motion"]["within_blocks"] != "none"
            pictures["tissue"][block] = np.abs(raw).mean(axis=0) if at_rest else np.abs(raw.mean(axis=0))
        store.attrs["components"] = {"removed": removed, "kept": kept}


def _at_rest(
    parameters: Parameters, iq: NDArray[np.complex64], *, carrier: float
) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    """A block (frame, z, x) as if its tissue had not moved, and (frame, 2) how it did, z and x in pixels.

    Pixels that some frame does not show are zero in all.
    """
    wanted = parameters["motion"]
    if wanted["within_blocks"] == "none":
        return iq, no_motion(len(iq))
    motion = estimate_motion(iq, carrier=carrier, group=wanted["frames_together"])
    moved = move_images(iq, -motion, carrier=carrier, carrier_removed=False)
    # what enters at the edges would look like flow
    edge = int(np.ceil(np.abs(motion).max())) + EDGE_OF_INTERPOLATION
    inner = np.zeros(moved.shape[1:], dtype=bool)
    inner[edge:-edge, edge:-edge] = True
    return np.where(inner, moved, np.complex64(0)), motion
