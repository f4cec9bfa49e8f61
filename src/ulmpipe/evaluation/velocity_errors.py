"""Errors of velocities in the image plane against the true ones, pixel by pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError


def velocity_errors(found: NDArray[np.floating], true: NDArray[np.floating]) -> dict[str, float | int | None]:
    """How far velocities are from the truth.

    Parameters
    ----------
    found, true
        (2, pixel), components along z and x, m/s. Pixels where nothing moves in the plane have no direction, and count
        for the errors of speed only.

    Returns
    -------
    dict
        ``n_pixels``; ``median_speed`` (true, m/s); ``median_speed_error``: of |found speed − true speed| (m/s);
        ``median_speed_error_of_a_constant``: the same if the median were said everywhere, what a method that sees
        nothing reaches; ``median_relative_error``: of that error over the true speed; ``median_speed_ratio``: of found
        over true speed, 1 without bias; ``median_angle_error`` (rad, 0 to π; π/2 by chance); ``reversed``: share of
        the pixels more than π/2 off; ``speed_correlation`` of the logarithms of the speeds and
        ``velocity_correlation`` of the components (Pearson; None where one of both does not vary). Medians of no
        pixel are None.

    Raises
    ------
    InputError
        If the arrays are not (2, pixel) of equal shape.

    """
    if found.ndim != 2 or found.shape[0] != 2 or found.shape != true.shape:
        raise InputError(f"velocities: shapes {found.shape} and {true.shape}, expected two (2, pixel)")
    found, true = found.astype(np.float64), true.astype(np.float64)
    speed, true_speed = np.hypot(*found), np.hypot(*true)
    error = np.abs(speed - true_speed)
    moving = (true_speed > 0) & (speed > 0)
    # of one number and its conjugate's product: the angle between the two, without a jump at π
    turn = (found[1] + 1j * found[0]) * (true[1] - 1j * true[0])
    angle = np.abs(np.angle(turn[moving]))
    relative = error[true_speed > 0] / true_speed[true_speed > 0]
    logarithms = np.log(np.maximum(speed[moving], 1e-12)), np.log(np.maximum(true_speed[moving], 1e-12))
    return {
        "n_pixels": found.shape[1],
        "median_speed": _median(true_speed),
        "median_speed_error": _median(error),
        "median_speed_error_of_a_constant": _median(
            np.abs(true_speed - np.median(true_speed)) if true_speed.size else true_speed
        ),
        "median_relative_error": _median(relative),
        "median_speed_ratio": _median(speed[moving] / true_speed[moving]),
        "median_angle_error": _median(angle),
        "reversed": float(np.mean(angle > np.pi / 2)) if angle.size else None,
        "speed_correlation": _correlation(*logarithms),
        "velocity_correlation": _correlation(found.ravel(), true.ravel()),
    }


def _median(values: NDArray[np.float64]) -> float | None:
    return float(np.median(values)) if values.size else None


def _correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float | None:
    if one.size < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])
