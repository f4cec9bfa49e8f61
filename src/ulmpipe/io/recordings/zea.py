"""Channel data in the HDF5 layout of the zea toolbox: data/raw_data (frame, transmit, sample, element, channel).

One channel is radio frequency, two are the real and imaginary part of baseband whose exp(-2πi f_d t) counts from the
first sample. scan/initial_times are from the first element's firing to the first sample, so that the pulse's centre
leaves later, by scan/t_peak where the file has it; where it has not, the description's time_offset (-t_peak) must say
so. Transmissions may begin to record at different times: they are brought to one.

Since version 0.1 data and scan are in tracks/track_0 and so on, the array's geometry is in probe, and samples are
compressed with Blosc, which needs the package hdf5plugin.

Layout: documentation of tue-bmd/zea, "Data" (2025), and files that its version 0.1.8 writes.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import suppress
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

OPTIONS = ("track",)
ANGLE_TOLERANCE = 3e-3  # rad, between polar_angles and the delays


def recognise(file: Any) -> bool:
    """Whether an open HDF5 file is one."""
    return bool(_tracks(file))


def open_file(path: Path, description: Description) -> Source:
    """What a file says, and how to read its frames.

    Description, beside the facts: `track`, which of several tracks, track_0 and so on or its label.

    Raises
    ------
    InputError
        A dataset that is missing or of the wrong shape, waves that are not plane, an array that is not linear; samples
        compressed with a filter that is not installed.
    """
    import h5py

    with h5py.File(path, "r") as opened:
        track = _track(path, opened, description)
        raw = track["data/raw_data"]
        name, shape = raw.name, raw.shape
        _check_filters(path, raw)
        groups = [track["scan"], *([opened["probe"]] if "probe" in opened else [])]
        if len(shape) != 5 or shape[4] not in (1, 2):
            raise InputError(
                f"{path}: data/raw_data of shape {shape}, expected (frame, transmit, sample, element, 1 or 2)"
            )
        n_frames, n_waves, n_samples, n_elements, n_channels = (int(length) for length in shape)
        rate = _need(path, groups, "sampling_frequency", "Hz")
        speed = _need(path, groups, "sound_speed", "m/s")
        carrier = _carrier(path, groups, description, fixed=n_channels == 2)
        positions = _array(groups, "probe_geometry")
        if positions is None:
            raise InputError(f"{path}: scan/probe_geometry is missing, expected (element, 3), m")
        order, pitch = linear_array(positions, f"{path}: scan/probe_geometry")
        angles = _angles(path, groups, n_waves, positions[:, 0], speed)
        begin = _per_wave(path, groups, "initial_times", n_waves)
        peak = _peak(path, groups, n_waves, description)
        between = _array(groups, "time_to_next_transmit")
    if len(order) != n_elements:
        raise InputError(f"{path}: scan/probe_geometry has {len(order)} rows, expected {n_elements} elements")
    start_times = begin - peak + (description.time_offset or 0.0)
    band = widest_band(sampling_frequency=rate, demodulation_frequency=carrier)
    step = 1 if n_channels == 2 else decimation(rate, min(band, description.bandwidth or band))
    n_complex = len(range(0, n_samples, step))

    def read(start: int, stop: int) -> NDArray[np.complex64]:
        with h5py.File(path, "r") as again:
            stored = again[name][start:stop]
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
            frame_rate=_frame_rate(between, n_waves),
        ),
    )


# ---------------------------------------------------------------- tracks
def _tracks(file: Any) -> dict[str, Any]:
    """Groups that have raw data and a scan; files without tracks are one."""
    groups = {"": file, **file.get("tracks", {})}
    return {name: group for name, group in groups.items() if "data/raw_data" in group and "scan" in group}


def _track(path: Path, file: Any, description: Description) -> Any:
    tracks = _tracks(file)
    if not tracks:
        raise InputError(f"{path}: data/raw_data or scan is missing, expected the layout of zea")
    asked = description.options.get("track")
    if asked is None and len(tracks) == 1:
        return next(iter(tracks.values()))
    for name, track in tracks.items():
        if asked is not None and asked in (name, _label(track)):
            return track
    found = ", ".join(
        name if _label(track) is None else f"{name} ({_label(track)})" for name, track in tracks.items()
    )
    raise InputError(
        f"{path}: {len(tracks)} tracks with raw data, expected the description's track to be one of {found}"
    )


def _label(track: Any) -> str | None:
    item = track.get("label")
    return None if item is None else item.asstr()[()]


def _check_filters(path: Path, dataset: Any) -> None:
    """Refuse samples that cannot be decompressed here; the package hdf5plugin, if installed, brings zea's filters."""
    from h5py import h5z

    plan = dataset.id.get_create_plist()
    for code in [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]:
        if not h5z.filter_avail(code):
            with suppress(ModuleNotFoundError):
                importlib.import_module("hdf5plugin")
        if not h5z.filter_avail(code):
            raise InputError(
                f"{path}: {dataset.name} is compressed with the HDF5 filter {code} that is not installed, expected the "
                "package hdf5plugin (pip install hdf5plugin)"
            )


# ---------------------------------------------------------------- fields
def _array(groups: Sequence[Any], name: str) -> NDArray[np.float64] | None:
    """A dataset of scan, or of probe, where newer files have the array."""
    for group in groups:
        item = group.get(name)
        if item is not None and item.size:
            return np.asarray(item[()], dtype=np.float64)
    return None


def _frame_rate(between: NDArray[np.float64] | None, n_waves: int) -> float | None:
    """Of the times to the next transmission; after the very last one it may be missing, or 0."""
    if between is None:
        return None
    known = between.ravel() if between.flat[-1] else between.ravel()[:-1]
    frames_begin = np.concatenate([[0.0], np.cumsum(known)])[::n_waves]
    return float(1 / np.diff(frames_begin).mean()) if frames_begin[-1] > 0 else None


def _need(path: Path, groups: Sequence[Any], name: str, unit: str) -> float:
    value = _array(groups, name)
    if value is None:
        raise InputError(f"{path}: scan/{name} is missing, expected {unit}")
    return float(np.ravel(value)[0])


def _carrier(path: Path, groups: Sequence[Any], description: Description, *, fixed: bool) -> float:
    described = description.facts.demodulation_frequency
    if not fixed and described is not None:
        return described  # samples without a carrier can be given any
    stored = _array(groups, "demodulation_frequency")
    return float(np.ravel(stored)[0]) if stored is not None else _need(path, groups, "center_frequency", "Hz")


def _per_wave(path: Path, groups: Sequence[Any], name: str, n_waves: int) -> NDArray[np.float64]:
    values = _array(groups, name)
    if values is None or values.size not in (1, n_waves):
        found = "missing" if values is None else f"{values.size} values"
        raise InputError(f"{path}: scan/{name} is {found}, expected one for each of {n_waves} transmissions")
    return np.broadcast_to(values.ravel(), (n_waves,)).copy()


def _peak(path: Path, groups: Sequence[Any], n_waves: int, description: Description) -> NDArray[np.float64]:
    """From the beginning of each pulse to its centre, s; where the file does not say, the user must."""
    peaks, which = _array(groups, "t_peak"), _array(groups, "tx_waveform_indices")
    if peaks is None:
        if description.time_offset is None:
            raise InputError(
                f"{path}: scan/t_peak is missing, expected it, or in the description time_offset: minus the time (s) "
                "from the beginning of the pulse to its centre"
            )
        return np.zeros(n_waves)
    if which is not None and peaks.size > 1:
        return peaks.ravel()[which.astype(int)]
    return _per_wave(path, groups, "t_peak", n_waves)


def _angles(
    path: Path, groups: Sequence[Any], n_waves: int, x: NDArray[np.float64], speed: float
) -> NDArray[np.float64]:
    delays, stored = _array(groups, "t0_delays"), _array(groups, "polar_angles")
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
    return _per_wave(path, groups, "polar_angles", n_waves)
