"""What registration finds: rigid motion between blocks, and how far it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError


@dataclass(frozen=True)
class Drift:
    """Rigid motion between blocks, and how far it can be believed.

    Attributes
    ----------
    displacement
        (block, 2) float64, z and x in pixels of the registered images, from the first block that is no outlier.
        NaN where a block has nothing to register.
    quality
        (block,) float64, correlation −1 to 1 of a block with those it was compared with, once registered. It depends on
        the kind of image: near 1 for tissue, a few tenths for track maps, whose bubbles differ.
    outlier
        (block,) bool, blocks whose displacement should not be used. What becomes of them is for the caller to decide:
        leave them out, or `interpolate_outliers`.
    """

    displacement: NDArray[np.float64]
    quality: NDArray[np.float64]
    outlier: NDArray[np.bool_]


def no_drift(n_blocks: int) -> Drift:
    """Drift of blocks that are taken to lie where they are: registration switched off."""
    return Drift(np.zeros((n_blocks, 2)), np.ones(n_blocks), np.zeros(n_blocks, dtype=bool))


def interpolate_outliers(drift: Drift) -> NDArray[np.float64]:
    """Displacements (block, 2) in pixels, those of outliers put on the line between the good blocks around them.

    Before the first and after the last good block its own displacement is taken.

    Raises
    ------
    InputError
        All blocks are outliers.

    """
    good = np.flatnonzero(~drift.outlier)
    if good.size == 0:
        raise InputError(f"drift: all {len(drift.outlier)} blocks are outliers, expected a good one at least")
    blocks = np.arange(len(drift.outlier))
    return np.stack([np.interp(blocks, good, drift.displacement[good, axis]) for axis in (0, 1)], axis=1)


def drift_rows(
    drift: Drift, times: Sequence[float] | NDArray[np.floating], *, pixel_size: float
) -> list[dict[str, int | float | bool]]:
    """Rows of the drift table, a block each.

    Parameters
    ----------
    drift
        As measured.
    times
        (block,) s, when each block began.
    pixel_size
        m, of the images that were registered.

    Returns
    -------
    Dictionaries with `block` (from 0), `time_s`, `z_um`, `x_um`, `quality`, `outlier`.

    Raises
    ------
    InputError
        Not one time a block.

    """
    if len(times) != len(drift.quality):
        raise InputError(f"times: {len(times)}, expected one for each of {len(drift.quality)} blocks")
    return [
        {
            "block": block,
            "time_s": float(time),
            "z_um": float(1e6 * pixel_size * z),
            "x_um": float(1e6 * pixel_size * x),
            "quality": float(quality),
            "outlier": bool(outlier),
        }
        for block, (time, (z, x), quality, outlier) in enumerate(
            zip(times, drift.displacement, drift.quality, drift.outlier, strict=True)
        )
    ]
