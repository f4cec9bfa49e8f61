"""Stage 11: detections binarised per block, registered and summed to angiograms of both methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulmpipe.angiogram import accumulate, mean_power, register_maps
from ulmpipe.io.stores import add_image, new_store, open_store, provenance, read_blocks, read_json
from ulmpipe.stages._detections import operating_points_of, read_scores
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import fine_geometry


def run(
    parameters: Parameters,
    *,
    network: Path,
    expert: Path,
    correlation: Path,
    shifts: Path,
    operating_points: Path,
    angiogram: Path,
) -> None:
    """Count, for each fine pixel, the blocks in which it holds a track; average power Doppler beside it."""
    found = np.array(read_json(shifts)["shifts_pixels"])
    points = operating_points_of(operating_points, concentration_per_mm3=parameters["concentration_per_mm3"])
    filtered = open_store(correlation, "power_doppler", "power_unfiltered")
    spacing, origin = filtered["power_doppler"].attrs["spacing"], filtered["power_doppler"].attrs["origin"]
    upsampling = parameters["targets"]["upsampling"]
    with new_store(
        angiogram,
        provenance=provenance(
            "angiogram", parameters, network, expert, correlation, shifts, operating_points
        ),
    ) as store:
        store.attrs["n_blocks"] = len(found)
        for method, detections in (("network", network), ("expert", expert)):
            point = points[method]["accumulated"]
            tracks = (scores >= point["threshold"] for scores in read_scores(detections, point))
            counts = accumulate(register_maps(tracks, found, upsampling=upsampling))
            add_image(
                store,
                method,
                counts,
                units="blocks with a track",
                **fine_geometry(filtered["power_doppler"].attrs, upsampling),
            )
        for name in ("power_doppler", "power_unfiltered"):
            power = mean_power(read_blocks(filtered[name]), found)
            add_image(store, name, power, units="1", spacing=spacing, origin=origin)
