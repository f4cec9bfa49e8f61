"""Stage 11: how far each block has moved from the first, and whether it can be told."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.stores import complete_or_absent, open_store, provenance, write_json
from ulmpipe.registration import Drift, drift_rows, interpolate_outliers, measure_drift, no_drift
from ulmpipe.stages._parameters import Parameters


def run(parameters: Parameters, *, correlation: Path, shifts: Path, table: Path) -> None:
    """Estimate the rigid drift between blocks and flag those that do not fit."""
    wanted, store = parameters["registration"], open_store(correlation, "tissue", "power_doppler")
    pixel = store["tissue"].attrs["spacing"]["z"]
    n_blocks = store["tissue"].shape[0]
    if wanted["images"] == "none":
        drift = no_drift(n_blocks)
    else:
        drift = measure_drift(store[wanted["images"]][:], lags=wanted["lags"], tolerance=wanted["tolerance"])
    for block in np.flatnonzero(drift.outlier):
        print(f"block {block} does not fit the others: quality {drift.quality[block]:.2f}")
    write_json(
        shifts,
        {
            "shifts_pixels": _taken(drift, wanted["outliers"]).tolist(),
            "quality": drift.quality.tolist(),
            "outlier": drift.outlier.tolist(),
            "axes": ["z", "x"],
            "pixel": pixel,
            "provenance": provenance("register", parameters, correlation),
        },
    )
    rows = drift_rows(drift, parameters["block_interval"] * np.arange(n_blocks), pixel_size=pixel)
    with complete_or_absent(table) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _taken(drift: Drift, outliers: str) -> NDArray[np.float64]:
    """The displacement that every block is moved back by."""
    if not drift.outlier.any():
        return drift.displacement
    filled = interpolate_outliers(drift)
    found = np.isfinite(drift.displacement)  # an empty block has none
    return filled if outliers == "interpolate" else np.where(found, drift.displacement, filled)
