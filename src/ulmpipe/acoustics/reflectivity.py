"""How strongly a bubble reflects, from its radius.

Between trajectories and the simulator. A small bubble is a linear oscillator whose scattering cross-section is
4π r² / (((f_0/f)² − 1)² + δ²) (Ainslie and Leighton, J. Acoust. Soc. Am. 130, 3184, 2011). The amplitude of its echo
is thus in proportion to r far above the resonance f_0, and, as f_0 ∝ 1/r, to r³ far below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri


def bubble_radius(
    quantile: NDArray[np.floating],
    *,
    median_radius: float,
    radius_spread: float,
    largest_radius: float | None,
) -> NDArray[np.float64]:
    """Radii at quantiles of a log-normal distribution by number, in m.

    Parameters
    ----------
    quantile : (…) float
        In [0, 1); uniform random numbers give random radii.
    median_radius : float
        Of the distribution before it is cut, m.
    radius_spread : float
        Geometric standard deviation, above 1: two thirds of the radii lie within this factor of the median.
    largest_radius : float, optional
        Where the distribution is cut, m: no bubble is larger.

    Returns
    -------
    (…) float64
    """
    scale = np.log(radius_spread)
    present = 1.0 if largest_radius is None else ndtr(np.log(largest_radius / median_radius) / scale)
    return np.asarray(median_radius * np.exp(scale * ndtri(quantile * present)))


def reflectivity_of_radius(
    radius: NDArray[np.floating], *, median_radius: float, exponent: float
) -> NDArray[np.float32]:
    """Reflectivity (radius / median_radius)^exponent, 1 at the median.

    Parameters
    ----------
    radius : (…) float
        m.
    median_radius : float
        Radius of the bubble whose reflectivity is 1, m.
    exponent : float
        1 far above the resonance, 3 far below.

    Returns
    -------
    (…) float32
    """
    return np.asarray((radius / median_radius) ** exponent, dtype=np.float32)
