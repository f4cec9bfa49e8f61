"""How many displacement states stand for moving tissue. Needs no array: the configuration is checked with it."""

from __future__ import annotations

from math import lgamma, log

TISSUE_ERROR = 1e-3  # relative, of interpolated tissue echoes: −60 dB


def count_states(*, half_range: float, wavenumber: float, error: float) -> int:
    """Number of displacement states that interpolate an echo to a given relative error.

    The echo exp(2ikd) on |d| ≤ h, interpolated at n Chebyshev points, errs by at most 2·(kh)ⁿ/n! (the
    interpolation remainder; Trefethen, Approximation Theory and Approximation Practice, SIAM 2013, chapters
    3–7).

    Parameters
    ----------
    half_range : float
        Half the way between the extreme displacements, m.
    wavenumber : float
        Largest wavenumber in the band, rad/m.
    error : float
        Relative error of the echo, above 0, such as 1e-3 for −60 dB.

    Returns
    -------
    int
    """
    phase = wavenumber * half_range
    n_states = 1
    while phase > 0 and log(2) + n_states * log(phase) - lgamma(n_states + 1) > log(error):
        n_states += 1
    return n_states
