"""Arrays and waves as files describe them: positions of elements and delays of firing, against the pipeline's."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ulmpipe.errors import InputError

UNEVEN = 0.02  # of the pitch
LARGEST_RESIDUAL = 8e-9  # s, twice the step of delays in the usual transmitters


def linear_array(positions: ArrayLike, source: str) -> tuple[NDArray[np.intp], float | None]:
    """Order of the elements from -x to +x, and their pitch (None for a lone one).

    Parameters
    ----------
    positions
        (element, 3): x, y, z, m.
    source
        What an error names.

    Raises
    ------
    InputError
        Elements that are not evenly spaced on a line along x.
    """
    place = np.asarray(positions, dtype=np.float64)
    if place.ndim != 2 or place.shape[1] < 3 or not np.isfinite(place[:, :3]).all():
        raise InputError(f"{source}: element positions of shape {place.shape}, expected finite (element, 3)")
    order = np.argsort(place[:, 0], kind="stable")
    if len(place) == 1:
        return order, None
    steps = np.diff(place[order, 0])
    pitch = float(np.mean(steps))
    across = np.ptp(place[:, 1:3], axis=0).max()
    if across > UNEVEN * pitch:
        raise InputError(
            f"{source}: elements lie up to {across:g} m off a line, expected a linear array along x"
        )
    if not pitch > 0 or np.abs(steps - pitch).max() > UNEVEN * pitch:
        raise InputError(
            f"{source}: element positions are {steps.min():g} to {steps.max():g} m apart, expected even"
        )
    return order, pitch


def plane_wave_angle(delays: ArrayLike, x: ArrayLike, *, speed_of_sound: float, source: str) -> float:
    """Angle, rad, of the plane wave that a linear array fires with the given delays.

    Parameters
    ----------
    delays, x
        (element,) s, m.

    Raises
    ------
    InputError
        Delays of no plane wave.
    """
    time, place = np.asarray(delays, dtype=np.float64), np.asarray(x, dtype=np.float64)
    if time.shape != place.shape:
        raise InputError(f"{source}: {time.size} delays for {place.size} elements, expected as many")
    if time.size < 2 or np.ptp(time) == 0:
        return 0.0
    slope, start = np.polyfit(place, time, 1)
    residual = np.abs(time - (slope * place + start)).max()
    sine = slope * speed_of_sound
    if residual > LARGEST_RESIDUAL or abs(sine) >= 1:
        raise InputError(
            f"{source}: transmit delays are up to {residual:.3g} s off those of a plane wave, expected plane waves"
        )
    return float(np.arcsin(sine))
