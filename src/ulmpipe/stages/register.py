"""Stage 11: how far each block has moved from the first, found on its mean tissue image."""

from __future__ import annotations

from pathlib import Path

from ulmpipe.io.stores import open_store, provenance, write_json
from ulmpipe.registration import estimate_drift
from ulmpipe.stages._parameters import Parameters


def run(parameters: Parameters, *, correlation: Path, shifts: Path) -> None:
    """Estimate the rigid drift between blocks."""
    tissue = open_store(correlation, "tissue")["tissue"]
    found = estimate_drift(tissue[:])
    write_json(
        shifts,
        {
            "shifts_pixels": found.tolist(),
            "axes": ["z", "x"],
            "pixel": tissue.attrs["spacing"]["z"],
            "provenance": provenance("register", parameters, correlation),
        },
    )
