"""Mean of the velocities on the tracks of many blocks: how fast and which way, without following a single bubble."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class VelocityMaps:
    """Maps (z, x) over all blocks; where there is no track, the count is 0 and the others NaN.

    Attributes
    ----------
    density : int32
        Blocks with a track.
    speed : float32
        Mean over them of the speed, m/s.
    velocity_z, velocity_x : float32
        Mean over them of the velocity, m/s.

    """

    density: NDArray[np.int32]
    speed: NDArray[np.float32]
    velocity_z: NDArray[np.float32]
    velocity_x: NDArray[np.float32]

    @property
    def direction(self) -> NDArray[np.float32]:
        """Angle of the mean velocity, rad, −π to π: 0 towards +x, π/2 down (+z); NaN too where it is exactly 0."""
        still = (self.velocity_z == 0) & (self.velocity_x == 0)
        return np.where(still, np.float32(np.nan), np.arctan2(self.velocity_z, self.velocity_x))


def mean_velocity(blocks: Iterable[tuple[NDArray[np.bool_], NDArray[np.floating]]]) -> VelocityMaps:
    """Average velocities over the blocks.

    Parameters
    ----------
    blocks
        Of each block, registered: tracks (z, x), and velocities (2, z, x), along z and x, m/s.

    Raises
    ------
    InputError
        If there is no block.

    """
    density, sums = np.zeros((), np.int32), np.zeros(())
    for tracks, velocity in blocks:
        density = density + tracks
        with_speed = np.concatenate([velocity, np.hypot(*velocity)[None]]).astype(np.float64)
        sums = sums + np.where(tracks, with_speed, 0)
    if density.ndim == 0:
        raise InputError("velocities: no block, expected at least one")
    with np.errstate(invalid="ignore"):
        velocity_z, velocity_x, speed = (sums / density).astype(np.float32)
    return VelocityMaps(density=density, speed=speed, velocity_z=velocity_z, velocity_x=velocity_x)
