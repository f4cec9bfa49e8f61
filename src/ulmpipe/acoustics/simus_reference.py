"""SIMUS in plain float64 NumPy: the formulas themselves, against which the fast backends are judged.

Source: D. Garcia, "SIMUS: an open-source simulator for medical ultrasound imaging. Part I: theory &
examples", Comput. Methods Programs Biomed. 218 (2022), 106726. Linear propagation, point scatterers, no
multiple scattering. Sign: fields vary as exp(+i k r), as in that paper, and signals are the inverse Fourier
transform of the conjugate. Nothing here is fast; see `kernels_cpu` and `kernels_gpu` for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe

# Four-term expansion of a rectangular aperture in Gaussian beams, sum of A exp(-B (2 y / height)^2)
# (Garcia 2022, table of the multi-Gaussian beam model).
GAUSSIAN_AMPLITUDES = np.array([0.187 + 0.275j, 0.288 - 1.954j, 0.187 - 0.275j, 0.288 + 1.954j])
GAUSSIAN_WIDTHS = np.array([4.558 - 25.59j, 8.598 - 7.924j, 4.558 + 25.59j, 8.598 + 7.924j])

DECIBELS_PER_NEPER = 8.69  # as rounded in the source
MINUS_SIX_DECIBEL_LOG = np.log(126.0)  # makes the response fall to 1/126 in power at zero frequency


def pulse_spectrum(frequency: ArrayLike, transmit: PlaneWaves) -> NDArray[np.complex128]:
    """Spectrum S_p of the transmitted burst, a windowed sine centred on t = 0 (Garcia 2022, eq. of S_p)."""
    frequency = np.asarray(frequency, dtype=np.float64)
    duration, carrier = transmit.pulse_duration, transmit.transmit_frequency
    below = np.sinc(duration * (frequency - carrier))
    above = np.sinc(duration * (frequency + carrier))
    return np.asarray(1j * (below - above), dtype=np.complex128)


def probe_spectrum(frequency: ArrayLike, probe: Probe) -> NDArray[np.float64]:
    """One-way response S_t of the probe, a generalised Gaussian about its centre frequency."""
    omega = 2 * np.pi * np.asarray(frequency, dtype=np.float64)
    center = 2 * np.pi * probe.center_frequency
    band = probe.bandwidth * center
    power = MINUS_SIX_DECIBEL_LOG / np.log(2 * center / band)
    scale = band / (2 * np.log(2) ** (1 / power))
    return np.sqrt(np.exp(-((np.abs(omega - center) / scale) ** power)))


def elevation_factor(
    wavenumber: ArrayLike, y: ArrayLike, distance: ArrayLike, probe: Probe
) -> NDArray[np.complex128]:
    """One-way elevation factor G of an element of finite height with a fixed lens.

    G = Σ A √(π t) exp(−k² y² t / (4 r²) + i k y² / (2 r)),  1/t = k (i/2)(1/R_f − 1/r) + B / h²
    (Garcia 2022, multi-Gaussian beam model). The arguments broadcast; G is in metres.

    Parameters
    ----------
    wavenumber : array_like
        k = ω/c, rad/m.
    y : array_like
        Elevation of the scatterer, m.
    distance : array_like
        Distance r from the element to the scatterer, m.
    probe : Probe
        Gives the element height h and the elevation focus R_f.
    """
    squared = np.asarray(y) ** 2
    # one beam after the other: all at once would need four times the memory
    factor = sum(
        amplitude * np.exp(exponent * squared)
        for amplitude, exponent in elevation_beams(wavenumber, distance, probe)
    )
    return np.asarray(factor, dtype=np.complex128)


def elevation_beams(
    wavenumber: ArrayLike, distance: ArrayLike, probe: Probe
) -> Iterator[tuple[NDArray[np.complex128], NDArray[np.complex128]]]:
    """Amplitude and exponent of each Gaussian beam: G = Σ amplitude exp(exponent y²)."""
    k, r = np.asarray(wavenumber), np.asarray(distance)
    curvature = 0.5j * k * (1 / probe.elevation_focus - 1 / r)
    for weight, width in zip(GAUSSIAN_AMPLITUDES, GAUSSIAN_WIDTHS, strict=True):
        t = 1 / (curvature + width / probe.height**2)
        yield weight * np.sqrt(np.pi * t), 0.5j * k / r - (k / (2 * r)) ** 2 * t


def element_response(
    positions: NDArray[np.float64],
    frequency: NDArray[np.float64],
    probe: Probe,
    *,
    speed_of_sound: float,
    attenuation: float = 0.0,
    n_subelements: int = 1,
) -> NDArray[np.complex128]:
    """One-way response A(k; s, e) between scatterers and elements, shape (scatterer, element, frequency).

    A = G · mean over sub-elements of exp((ik − α) r) O(θ) sinc(k w/(2M) sin θ) / r; in two dimensions (infinite
    height) 1/√r instead of G/r, and y counts as 0. The directivity uses
    each frequency's own wavenumber. With `n_subelements` M = 1 (our default) this is within 0.3 % of the
    converged response for the probes used here; the usual centre-frequency directivity is 0.8 % off.

    Parameters
    ----------
    positions : ndarray, shape (scatterer, 3)
        x, y, z in m, all finite.
    frequency : ndarray, shape (frequency,)
        Hz.
    attenuation : float
        dB/cm/MHz, one way.
    """
    x, y, z = (positions[:, axis][:, None, None] for axis in range(3))
    planar = math.isinf(probe.height)
    y = 0.0 * y if planar else y
    offsets = ((np.arange(n_subelements) + 0.5) / n_subelements - 0.5) * probe.width
    dx = x - probe.element_positions[None, :, None] - offsets  # (scatterer, element, sub-element)
    rho = np.maximum(np.hypot(dx, z), np.finfo(np.float64).tiny)
    sin_theta, cos_theta = dx / rho, z / rho
    r = np.maximum(np.hypot(rho, y), 0.5 * speed_of_sound / probe.center_frequency)
    obliquity = cos_theta if probe.baffle == "soft" else np.ones_like(cos_theta)

    k = 2 * np.pi * frequency / speed_of_sound
    nepers = attenuation / DECIBELS_PER_NEPER * frequency / 1e6 * 1e2  # per metre
    half_width = 0.5 * probe.width / n_subelements
    response = np.zeros((len(positions), probe.n_elements, len(frequency)), dtype=np.complex128)
    for sub in range(n_subelements):
        distance, sine = r[..., sub, None], sin_theta[..., sub, None]
        directivity = np.sinc(k * half_width * sine / np.pi)
        wave = np.exp((1j * k - nepers) * distance)
        spreading = np.sqrt(distance) if planar else distance
        response += wave * directivity * (obliquity[..., sub, None] / spreading)
    if planar:
        return response / n_subelements
    mean_distance = r.mean(axis=2)[..., None]
    return response / n_subelements * elevation_factor(k, y, mean_distance, probe)


def echo_spectrum(
    positions: NDArray[np.float64],
    reflectivity: NDArray[np.complex128],
    frequency: NDArray[np.float64],
    probe: Probe,
    transmit: PlaneWaves,
    *,
    delays: NDArray[np.float64],
    speed_of_sound: float,
    attenuation: float = 0.0,
    n_subelements: int = 1,
) -> NDArray[np.complex128]:
    """Spectrum received by every element after one transmission, shape (element, frequency).

    The echo is linear in `reflectivity`; a complex one turns the phase of the analytic signal, so it enters
    here conjugated, as the whole spectrum is.

    Parameters
    ----------
    positions : ndarray, shape (scatterer, 3)
        m; a scatterer with a NaN coordinate, or behind the probe (z < 0), returns no echo.
    reflectivity : ndarray, shape (scatterer,)
    delays : ndarray, shape (element,)
        Transmit delays, s.
    """
    present = np.isfinite(positions).all(axis=1) & (positions[:, 2] >= 0)
    response = element_response(
        positions[present],
        frequency,
        probe,
        speed_of_sound=speed_of_sound,
        attenuation=attenuation,
        n_subelements=n_subelements,
    )
    fired = np.exp(2j * np.pi * frequency * delays[:, None])
    one_way = probe_spectrum(frequency, probe)
    pressure = pulse_spectrum(frequency, transmit) * one_way * np.einsum("sef,ef->sf", response, fired)
    echoes = np.conj(reflectivity[present])[:, None] * pressure
    return one_way * np.einsum("sf,sef->ef", echoes, response)
