"""Angiograms and maps of tracks for Fiji, QuPath and napari: OME-TIFF and OME-Zarr, to scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulmpipe.io.pictures import write_ome_tiff, write_ome_zarr
from ulmpipe.io.stores import open_store, provenance
from ulmpipe.stages._parameters import Parameters

METHODS = ("network", "expert")
COLORS = ("FFB454", "5CCFE6")


def run(parameters: Parameters, *, angiogram: Path, tiff: Path, zarr: Path) -> None:
    """Write the angiograms of both methods as channels of one image."""
    store = open_store(angiogram, *METHODS)
    spacing, origin = store["network"].attrs["spacing"], store["network"].attrs["origin"]
    image = np.stack([store[method][0] for method in METHODS])
    made = provenance("microscopy", parameters, angiogram)
    size, first = (spacing["z"], spacing["x"]), (origin["z"], origin["x"])
    write_ome_tiff(
        tiff, image, pixel_size=size, origin=first, channel_names=METHODS, provenance=made, pyramid=True
    )
    write_ome_zarr(
        zarr, image, pixel_size=size, origin=first, channel_names=METHODS, provenance=made, colors=COLORS
    )
