"""Channel data of moving point scatterers under plane waves: the simulator's one public function.

It stands between trajectories and beamforming. Only the received band is simulated: one bin per
`sampling_frequency / n_samples` within `sampling_frequency` around `demodulation_frequency`, then an inverse
Fourier transform. The model is SIMUS (D. Garcia, Comput. Methods Programs Biomed. 218 (2022), 106726); its
formulas are spelt out in `simus_reference`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ulmpipe.acoustics.baseband import to_samples
from ulmpipe.acoustics.elevation import count_rows, elevation_lattice
from ulmpipe.acoustics.kernel_tables import kernel_tables
from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus_reference import echo_spectrum
from ulmpipe.acoustics.window import ReceiveWindow, check_echoes_fit, is_present
from ulmpipe.device import array_module, on_gpu, runs_on_gpu
from ulmpipe.errors import InputError
from ulmpipe.memory import aligned
from ulmpipe.parallel import count_workers

BACKENDS = ("auto", "reference", "cpu", "gpu")
LANES = 16  # the fast backends pad the elements to a multiple of this


def simulate_channel_data(
    positions: ArrayLike,
    reflectivity: ArrayLike,
    probe: Probe,
    transmit: PlaneWaves,
    *,
    start_time: float,
    n_samples: int,
    sampling_frequency: float,
    demodulation_frequency: float,
    speed_of_sound: float,
    attenuation: float = 0.0,
    oversampling: int = 1,
    backend: str = "auto",
    workers: int | None = None,
    out: NDArray[np.complex64] | None = None,
) -> NDArray[np.complex64]:
    """Simulate what every element receives after every plane wave, as complex baseband samples.

    Sample n of the result is the analytic echo at t = start_time + n / (sampling_frequency · oversampling),
    times exp(−2πi f_d t), after a brick-wall band `sampling_frequency` wide around f_d =
    `demodulation_frequency`; the RF signal is its real part after multiplication by exp(+2πi f_d t). t = 0 is
    when the centre of the pulse leaves the first element to fire. The amplitude does not depend on the scene
    or the window: it is PyMUST's RF, multiplied by its sampling frequency and divided by its frequency step.

    Parameters
    ----------
    positions : array_like, shape (frame, bubble, 3) or (frame, angle, bubble, 3)
        x, y, z in m; the second form for bubbles that move between the angles. A bubble with a NaN
        coordinate, or behind the probe (z < 0), is absent.
    reflectivity : array_like, shape (bubble,) or (frame, bubble)
        Real or complex; the echo is linear in it.
    probe, transmit : Probe, PlaneWaves
    start_time : float
        Time of the first sample, s.
    n_samples : int
        Number of samples at `sampling_frequency`; the window must hold all echoes.
    sampling_frequency, demodulation_frequency, speed_of_sound : float
        Hz, Hz, m/s.
    attenuation : float
        dB/cm/MHz, one way.
    oversampling : int
        Interpolation factor in time, by zero-padding the spectrum: finer samples in the same window.
    backend : {"auto", "reference", "cpu", "gpu"}
        "auto" takes the GPU if CuPy finds one, else the CPU. "reference" is slow float64; the fast ones agree
        with it to 1e-4 (usually 1e-5), and hand over to it if the window opens within the probe's elevation
        near field (about 2 mm for an L22-14v), where their table of the elevation factor ends.
    workers : int, optional
        Threads of the CPU backend and the Fourier transform; default: the cores of this process. The result
        does not depend on it.
    out : ndarray, optional
        Contiguous memory for the result: new memory costs as much time as the simulation of some bubbles. If it is
        a CuPy array, the result stays on the GPU.

    Returns
    -------
    ndarray, shape (frame, angle, element, n_samples · oversampling), complex64

    Raises
    ------
    InputError
        If a shape or a value does not fit, or an echo would wrap around the window.
    """
    window = ReceiveWindow(
        start_time=start_time,
        n_samples=n_samples,
        sampling_frequency=sampling_frequency,
        demodulation_frequency=demodulation_frequency,
    )
    if not (np.isfinite(speed_of_sound) and speed_of_sound > 0):
        raise InputError(f"speed_of_sound: {speed_of_sound}, expected m/s above 0")
    if not (np.isfinite(attenuation) and attenuation >= 0):
        raise InputError(f"attenuation: {attenuation}, expected dB/cm/MHz, 0 or more")
    if oversampling < 1 or oversampling != int(oversampling):
        raise InputError(f"oversampling: {oversampling}, expected a whole number of at least 1")
    n_samples, oversampling = window.n_samples, int(oversampling)
    places, strengths = _scene(positions, reflectivity, len(transmit.angles))
    check_echoes_fit(window, places, probe, transmit, speed_of_sound=speed_of_sound)

    shape = (len(places), len(transmit.angles), probe.n_elements, n_samples * oversampling)
    samples = aligned(shape, np.complex64) if out is None else out
    contiguous = samples.flags.c_contiguous if on_gpu(samples) else samples.flags.carray
    if samples.shape != shape or samples.dtype != np.complex64 or not contiguous:
        raise InputError(
            f"out: {samples.dtype} {samples.shape}, expected contiguous, writeable complex64 {shape}"
        )
    if backend not in BACKENDS:
        raise InputError(f"backend: {backend!r}, expected one of {', '.join(BACKENDS)}")
    gpu = runs_on_gpu(backend)
    if on_gpu(samples) and not gpu:
        raise InputError(f"backend: {backend!r}, but out is on a GPU, expected 'auto' or 'gpu'")
    present = is_present(places)
    if not present.any():
        samples[...] = 0
        return samples
    workers = count_workers(workers)
    n_lanes = LANES * math.ceil(probe.n_elements / LANES)
    lattice = elevation_lattice(probe, transmit, window, n_lanes, speed_of_sound)
    if backend == "reference" or lattice is None:
        spectra = _reference_spectra(
            places, strengths, probe, transmit, window, speed_of_sound=speed_of_sound, attenuation=attenuation
        )
        samples[...] = array_module(samples).asarray(to_samples(spectra, oversampling, workers=workers))
        return samples

    tables = kernel_tables(
        count_rows(float(np.max(np.abs(places[..., 1]), where=present, initial=0.0)), lattice),
        lattice,
        probe,
        transmit,
        window,
        speed_of_sound=speed_of_sound,
        attenuation=attenuation,
        n_lanes=n_lanes,
    )
    if gpu:
        from ulmpipe.acoustics import kernels_gpu

        kernels_gpu.simulate_samples(places, strengths, tables, oversampling=oversampling, samples=samples)
    else:
        from ulmpipe.acoustics import kernels_cpu

        kernels_cpu.simulate_samples(
            places, strengths, tables, oversampling=oversampling, workers=workers, samples=samples
        )
    return samples


def _scene(
    positions: ArrayLike, reflectivity: ArrayLike, n_angles: int
) -> tuple[NDArray[np.float64], NDArray[np.complex64]]:
    """Positions as (frame, 1 or angle, bubble, 3) and reflectivity as (frame, bubble), checked."""
    places = np.ascontiguousarray(positions, dtype=np.float64)
    if places.ndim == 3:
        places = places[:, None]
    if places.ndim != 4 or places.shape[-1] != 3 or places.shape[1] not in (1, n_angles):
        raise InputError(
            f"positions: shape {np.shape(positions)}, expected (frame, bubble, 3) or "
            f"(frame, {n_angles} angles, bubble, 3)"
        )
    n_frames, _, n_bubbles, _ = places.shape
    strengths = np.asarray(reflectivity)
    if strengths.shape not in ((n_bubbles,), (n_frames, n_bubbles)):
        raise InputError(
            f"reflectivity: shape {strengths.shape}, expected ({n_bubbles},) or ({n_frames}, {n_bubbles})"
        )
    if not np.isfinite(strengths).all():
        raise InputError(
            "reflectivity: not finite, expected a number for every bubble (NaN positions are absent)"
        )
    return places, np.ascontiguousarray(np.broadcast_to(strengths, (n_frames, n_bubbles)), dtype=np.complex64)


def _reference_spectra(
    places: NDArray[np.float64],
    strengths: NDArray[np.complex64],
    probe: Probe,
    transmit: PlaneWaves,
    window: ReceiveWindow,
    *,
    speed_of_sound: float,
    attenuation: float,
) -> NDArray[np.complex128]:
    """Bins of the baseband signal by the formulas in float64, shape (frame, angle, element, frequency)."""
    delays = transmit.delays(probe, speed_of_sound=speed_of_sound)
    turns = (window.frequencies - window.demodulation_frequency) * window.start_time
    to_baseband = 2 * window.frequency_step * np.exp(2j * np.pi * turns)
    spectra = np.empty((len(places), len(delays), probe.n_elements, window.n_samples), dtype=np.complex128)
    for frame, angle in np.ndindex(spectra.shape[:2]):
        spectrum = echo_spectrum(
            places[frame, angle if places.shape[1] > 1 else 0],
            strengths[frame].astype(np.complex128),
            window.frequencies,
            probe,
            transmit,
            delays=delays[angle],
            speed_of_sound=speed_of_sound,
            attenuation=attenuation,
        )
        spectra[frame, angle] = np.conj(spectrum) * to_baseband
    return spectra
