"""Which bubbles return enough to count: those inside the slice that the elevation beam images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.slice_thickness import half_thickness
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import probe_of, transmit_of

DEPTHS = np.linspace(0.25, 4.0, 151)  # of the table, in elevation foci


@dataclass(frozen=True)
class Slice:
    """Half the thickness of the imaged slice against depth, m."""

    depth: NDArray[np.float64]
    half_thickness: NDArray[np.float64]

    def holds(self, position: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which positions (…, 3) lie inside; NaN does not."""
        limit = np.interp(position[..., 2], self.depth, self.half_thickness)
        return np.asarray(np.abs(position[..., 1]) < limit)


def slice_of(parameters: Parameters) -> Slice:
    """The slice that the visibility limit of the section `targets` leaves; without a limit it has no bounds."""
    limit_db = parameters["targets"]["visibility_db"]
    depth = DEPTHS * parameters["probe"]["elevation_focus"]
    if limit_db is None:
        return Slice(depth, np.full(depth.shape, np.inf))
    limit = half_thickness(
        depth,
        probe_of(parameters),
        transmit_of(parameters),
        gain=10 ** (limit_db / 20),
        greatest=parameters["side"],
        speed_of_sound=parameters["medium"]["speed_of_sound"],
    )
    return Slice(depth, limit)
