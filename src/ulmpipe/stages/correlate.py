"""Stages 11 and 6: the clutter filter and the correlation maps of an acquisition, with the pictures made on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulmpipe.angiogram import power_doppler
from ulmpipe.correlation import as_channels, correlation_map, remove_carrier
from ulmpipe.io.stores import new_array, new_store, open_store, provenance, read_block
from ulmpipe.progress import progress
from ulmpipe.randomness import generator
from ulmpipe.stages._clutter import filter_clutter
from ulmpipe.stages._parameters import Parameters


def run(parameters: Parameters, *, iq: Path, point_spread: Path, correlation: Path) -> None:
    """Filter and correlate every block; keep its power Doppler image and its mean tissue image too."""
    images = open_store(iq, "iq")["iq"]
    psf = open_store(point_spread, "point_spread")["point_spread"]
    n_blocks, n_frames, n_z, n_x = images.shape
    spacing, origin = images.attrs["spacing"], images.attrs["origin"]
    # images from elsewhere may have lost their carrier
    wavenumber = psf.attrs["wavenumber"] if images.attrs.get("carrier", True) else 0.0
    depths = origin["z"] + np.arange(n_z) * spacing["z"]
    with new_store(correlation, provenance=provenance("correlate", parameters, iq, point_spread)) as store:
        block_dims = ("block", "z", "x")
        maps = new_array(
            store,
            "correlation",
            shape=(n_blocks, 2, n_frames, n_z, n_x),
            dtype="float16",
            dims=("block", "part", "frame", "z", "x"),
            units="1",
            compressed=False,
            spacing=spacing,
            origin=origin,
        )
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
        removed: list[int] = []
        kept: list[int] = []
        for block in progress(range(n_blocks), "clutter filter and correlation"):
            raw = read_block(images, block)
            rng = generator(parameters["seed"], "clutter", block)
            filtered = filter_clutter(parameters, raw, rng)
            removed.append(filtered.n_removed)
            kept.append(filtered.n_kept)
            chi = correlation_map(
                remove_carrier(filtered.images, depths, wavenumber=wavenumber),
                psf[0],
                regularization=parameters["correlation"]["regularization"],
            )
            maps[block] = as_channels(chi)
            pictures["power_doppler"][block] = power_doppler(filtered.images)
            pictures["power_unfiltered"][block] = power_doppler(raw)
            pictures["tissue"][block] = np.abs(raw.mean(axis=0))
        store.attrs["components"] = {"removed": removed, "kept": kept}
