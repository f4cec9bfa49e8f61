"""Channel data in the HDF5 layout of the zea toolbox: data/raw_data (frame, transmit, sample, element, channel).

One channel is radio frequency, two are the real and imaginary part of baseband whose exp(-2πi f_d t) counts from the
first sample. scan/initial_times are from the first element's firing to the first sample, so that the pulse's centre
leaves later, by scan/t_peak where the file has it; where it has not, the description's time_offset (-t_peak) must say
so. Transmissions may begin to record at different times: they are brought to one.

Layout: documentation of tue-bmd/zea, "Data" (2025).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings.baseband import (
    decimation,
    samples_lost,
    waves_to_baseband,
    widest_band,
)
from ulmpipe.io.recordings.description import Description, ScanFacts
from ulmpipe.io.recordings.geometry import linear_array, plane_wave_angle
from ulmpipe.io.recordings.recording import Source

OPTIONS = ()
ANGLE_TOLERANCE = 3e-3  # rad, between polar_angles and the delays


def recognise(file: Any) -> bool:
    """Whether an open HDF5 file is one."""
    return "data/raw_data" in file and "scan" in file


def open_file(path: Path, description: Description) -> Source:
    """What a file says, and how to read its frames.

    Raises
    ------
    InputError
        A dataset that is missing or of the wrong shape, waves that are not plane, an array that is not linear.
    """
    import h5py

    with h5py.File(path, "r") as file:
        if not recognise(file):
            raise InputError(f"{path}: data/raw_data or scan is missing, expected the layout of zea")
        shape = file["data/raw_data"].shape
        if len(shape) != 5 or shape[4] not in (1, 2):
            raise InputError(
                f"{path}: data/raw_data of shape {shape}, expected (frame, transmit, sample, element, 1 or 2)"
            )
        n_frames, n_waves, n_samples, n_elements, n_channels = (int(length) for length in shape)
        rate = _need(path, file, "sampling_frequency", "Hz")
        speed = _need(path, file, "sound_speed", "m/s")
        carrier = _carrier(path, file, description, fixed=n_channels == 2)
        positions = _array(file, "probe_geometry")
        if positions is None:
            raise InputError(f"{path}: scan/probe_geometry is missing, expected (element, 3), m")
        order, pitch = linear_array(positions, f"{path}: scan/probe_geometry")
        angles = _angles(path, file, n_waves, positions[:, 0], speed)
        begin = _per_wave(path, file, "initial_times", n_waves)
        peak = _peak(path, file, n_waves)
        between = _array(file, "time_to_next_transmit")
    if len(order) != n_elements:
        raise InputError(f"{path}: scan/probe_geometry has {len(order)} rows, expected {n_elements} elements")
    start_times = begin - peak + description.time_offset
    band = widest_band(sampling_frequency=rate, demodulation_frequency=carrier)
    step = 1 if n_channels == 2 else decimation(rate, min(band, description.bandwidth or band))
    n_complex = len(range(0, n_samples, step))

    def read(start: int, stop: int) -> NDArray[np.complex64]:
        with h5py.File(path, "r") as again:
            stored = again["data/raw_data"][start:stop]
        samples = stored.swapaxes(2, 3)[:, :, order]
        complex_ones = n_channels == 2
        return waves_to_baseband(
            samples[..., 0] + 1j * samples[..., 1] if complex_ones else samples[..., 0],
            start_times,
            turns=-carrier * start_times if complex_ones else None,
            sampling_frequency=rate,
            demodulation_frequency=carrier,
            bandwidth=description.bandwidth,
        )

    return Source(
        kind="channel_data",
        n_frames=n_frames,
        frame_shape=(n_waves, n_elements, n_complex - samples_lost(start_times, rate / step)),
        read=read,
        facts=ScanFacts(
            sampling_frequency=rate / step,
            demodulation_frequency=carrier,
            start_time=float(start_times.max()),
            angles=tuple(float(angle) for angle in angles),
            speed_of_sound=speed,
            n_elements=n_elements,
            pitch=pitch,
            frame_rate=None
            if between is None or not between.any()
            else float(1 / between.sum(axis=-1).mean()),
        ),
    )


def _array(file: Any, name: str) -> NDArray[np.float64] | None:
    """A dataset of scan, or of probe, where newer files have the array."""
    for group in ("scan", "probe"):
        item = file.get(f"{group}/{name}")
        if item is not None and item.size:
            return np.asarray(item[()], dtype=np.float64)
    return None


def _need(path: Path, file: Any, name: str, unit: str) -> float:
    value = _array(file, name)
    if value is None:
        raise InputError(f"{path}: scan/{name} is missing, expected {unit}")
    return float(np.ravel(value)[0])


def _carrier(path: Path, file: Any, description: Description, *, fixed: bool) -> float:
    described = description.facts.demodulation_frequency
    if not fixed and described is not None:
        return described  # samples without a carrier can be given any
    stored = _array(file, "demodulation_frequency")
    return float(np.ravel(stored)[0]) if stored is not None else _need(path, file, "center_frequency", "Hz")


def _per_wave(path: Path, file: Any, name: str, n_waves: int) -> NDArray[np.float64]:
    values = _array(file, name)
    if values is None or values.size not in (1, n_waves):
        found = "missing" if values is None else f"{values.size} values"
        raise InputError(f"{path}: scan/{name} is {found}, expected one for each of {n_waves} transmissions")
    return np.broadcast_to(values.ravel(), (n_waves,)).copy()


def _peak(path: Path, file: Any, n_waves: int) -> NDArray[np.float64]:
    """From the beginning of each pulse to its centre, s; 0 where the file does not say."""
    peaks, which = _array(file, "t_peak"), _array(file, "tx_waveform_indices")
    if peaks is None:
        return np.zeros(n_waves)
    if which is not None and peaks.size > 1:
        return peaks.ravel()[which.astype(int)]
    return _per_wave(path, file, "t_peak", n_waves)


def _angles(path: Path, file: Any, n_waves: int, x: NDArray[np.float64], speed: float) -> NDArray[np.float64]:
    delays, stored = _array(file, "t0_delays"), _array(file, "polar_angles")
    if delays is not None and delays.shape == (n_waves, len(x)):
        by_delay = np.array(
            [
                plane_wave_angle(row, x, speed_of_sound=speed, source=f"{path}: scan/t0_delays")
                for row in delays
            ]
        )
        if stored is None:
            return by_delay
        if delays.any() and np.abs(stored.ravel() - by_delay).max() > ANGLE_TOLERANCE:
            raise InputError(
                f"{path}: scan/polar_angles is {stored.ravel().tolist()} rad, expected {by_delay.tolist()} as "
                "scan/t0_delays has it"
            )
    return _per_wave(path, file, "polar_angles", n_waves)
