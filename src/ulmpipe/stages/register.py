"""Stage 11: how far each block has moved from the first, and whether it can be told."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.stores import complete_or_absent, open_store, provenance, read_blocks, write_json
from ulmpipe.registration import (
    Drift,
    drift_rows,
    interpolate_outliers,
    measure_drift,
    measure_drift_jointly,
    no_drift,
)
from ulmpipe.stages._parameters import Parameters


def run(parameters: Parameters, *, images: Path, shifts: Path, table: Path) -> None:
    """Estimate the rigid drift between blocks and flag those that do not fit."""
    wanted, pixel = parameters["registration"], parameters["beamforming"]["pixel"]
    drift = _drift(open_store(images), pixel, wanted)
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
            "provenance": provenance("register", parameters, images),
        },
    )
    times = parameters["block_interval"] * np.arange(len(drift.quality))
    rows = drift_rows(drift, times, pixel_size=pixel)
    with complete_or_absent(table) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _drift(store: Any, pixel: float, wanted: dict[str, Any]) -> Drift:
    """Drift in pixels, as one of the ways to find it has it."""
    together = {name: wanted[name] for name in ("likely_step", "largest_shift")}
    match wanted["images"]:
        case "none":
            return no_drift(store["tissue"].shape[0])
        case "tissue":
            return measure_drift(store["tissue"][:], lags=wanted["lags"], tolerance=wanted["tolerance"])
        case "power_doppler":
            return measure_drift_jointly(_power_levels(store["power_doppler"][:]), **together)
        case _:
            return measure_drift_jointly(_brightness(store["score"], pixel), **together)


def _power_levels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithm of power Doppler images (block, z, x) over their background, so that no bubble outweighs the rest."""
    background = np.median(power[power > 0]) if np.any(power > 0) else 1.0
    return np.asarray(np.log1p(power / background))


def _brightness(scores: Any, pixel: float) -> NDArray[np.float32]:
    """Mean |χ| of localizations on each pixel of the images (block, z, x)."""
    fine = round(pixel / scores.attrs["spacing"]["z"])
    n_blocks, n_z, n_x = scores.shape
    means = np.empty((n_blocks, n_z // fine, n_x // fine), np.float32)
    for block, score in enumerate(read_blocks(scores)):
        cells = score.astype(np.float32).reshape(n_z // fine, fine, n_x // fine, fine)
        means[block] = cells.mean(axis=(1, 3))
    return means


def _taken(drift: Drift, outliers: str) -> NDArray[np.float64]:
    """The displacement that every block is moved back by."""
    if not drift.outlier.any():
        return drift.displacement
    filled = interpolate_outliers(drift)
    found = np.isfinite(drift.displacement)  # an empty block has none
    return filled if outliers == "interpolate" else np.where(found, drift.displacement, filled)
