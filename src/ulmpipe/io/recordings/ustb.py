"""Channel data of the UltraSound ToolBox: UFF, an HDF5 file with an object of the class uff.channel_data.

Its data are (frame, wave, channel, sample) as HDF5 shows them, real radio-frequency samples if modulation_frequency is
0 and baseband else, exp(-2πi f t) with t from initial_time for every wave. A sample's time since the wave passed the
origin of coordinates is that plus the wave's `delay`. The pipeline's t = 0 is when the first element fires, earlier
by max(-x sin θ)/c, which differs between angles: records are brought to one start time.

Rodriguez-Molares et al., "The UltraSound ToolBox", IEEE IUS 2017 (DOI 10.1109/ULTSYM.2017.8092389).
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
from ulmpipe.io.recordings.geometry import linear_array
from ulmpipe.io.recordings.recording import Source

OPTIONS = ("object",)
CLASS = "uff.channel_data"


def class_of(item: Any) -> str:
    """The attribute that names an object's class."""
    name = item.attrs.get("class", b"")
    if isinstance(name, np.ndarray):
        name = name.ravel()[0] if name.size else b""
    return name.decode().rstrip("\0") if isinstance(name, bytes) else str(name)


def recognise(file: Any) -> bool:
    """Whether an open HDF5 file is one."""
    return any(class_of(item) == CLASS for item in file.values())


def open_file(path: Path, description: Description) -> Source:
    """What a file says, and how to read its frames.

    Description, beside the facts: `object`, which of several channel data.

    Raises
    ------
    InputError
        An object or field that is missing, waves that are not plane, an array that is not linear.
    """
    import h5py

    with h5py.File(path, "r") as file:
        group = file[_object(path, file, description)]
        name = group.name
        rate, carrier, modulation = _frequencies(path, group, description)
        speed = _scalar(group, "sound_speed")
        geometry = _field(path, group, "probe/geometry")
        order, pitch = linear_array(geometry[:3].T, f"{path}: probe.geometry")
        waves = _waves(path, group)
        angles = np.array([_angle(path, wave) for wave in waves])
        initial = _scalar(group, "initial_time") or 0.0
        begin = initial + np.array([_scalar(wave, "delay") or 0.0 for wave in waves])
        repetition = _scalar(group, "PRF")
        shape = _shape(path, group)
    if speed is None:
        raise InputError(f"{path}: sound_speed is missing, expected m/s")
    n_frames, n_waves, n_elements, n_samples = shape
    if n_waves != len(waves) or n_elements != len(order):
        raise InputError(
            f"{path}: data of {n_waves} waves and {n_elements} channels, expected {len(waves)} of sequence and "
            f"{len(order)} of probe"
        )
    # From the passage through the origin back to the first element's firing.
    earlier = -(geometry[0][:, None] * np.sin(angles)).min(axis=0) / speed
    start_times = begin + earlier + (description.time_offset or 0.0)
    band = widest_band(sampling_frequency=rate, demodulation_frequency=carrier)
    step = 1 if modulation else decimation(rate, min(band, description.bandwidth or band))
    kept = len(range(0, n_samples, step)) - samples_lost(start_times, rate / step)

    def read(start: int, stop: int) -> NDArray[np.complex64]:
        with h5py.File(path, "r") as again:
            stored = _read_data(again[name], shape, start, stop)
        samples = stored[:, :, order]
        return waves_to_baseband(
            samples if modulation else samples.real,
            start_times,
            turns=-modulation * (start_times - initial) if modulation else None,
            sampling_frequency=rate,
            demodulation_frequency=carrier,
            bandwidth=description.bandwidth,
        )

    return Source(
        kind="channel_data",
        n_frames=n_frames,
        frame_shape=(n_waves, n_elements, kept),
        read=read,
        facts=ScanFacts(
            sampling_frequency=rate / step,
            demodulation_frequency=carrier,
            start_time=float(start_times.max()),
            angles=tuple(float(angle) for angle in angles),
            speed_of_sound=speed,
            n_elements=n_elements,
            pitch=pitch,
            frame_rate=None if not repetition else repetition / n_waves,
        ),
    )


def _object(path: Path, file: Any, description: Description) -> str:
    found = [name for name, item in file.items() if class_of(item) == CLASS]
    asked = description.options.get("object")
    if asked is None and len(found) == 1:
        return found[0]
    if asked not in found:
        expected = (
            "expected one"
            if not found
            else f"expected the description's object to be one of {', '.join(found)}"
        )
        raise InputError(f"{path}: {len(found)} objects of the class {CLASS}, {expected}")
    return str(asked)


def _scalar(group: Any, name: str) -> float | None:
    item = group.get(name)
    return None if item is None or item.size == 0 else float(np.ravel(item[()])[0])


def _field(path: Path, group: Any, name: str) -> NDArray[np.float64]:
    item = group.get(name)
    if item is None:
        raise InputError(f"{path}: {name.replace('/', '.')} is missing, expected numbers")
    return np.asarray(item[()], dtype=np.float64)


def _frequencies(path: Path, group: Any, description: Description) -> tuple[float, float, float]:
    """Sampling frequency, carrier, and the frequency that the data are modulated with (0: not)."""
    rate = _scalar(group, "sampling_frequency")
    if not rate:
        raise InputError(f"{path}: sampling_frequency is missing, expected Hz")
    modulation = _scalar(group, "modulation_frequency") or 0.0
    pulse = group.get("pulse")
    carrier = modulation or (None if pulse is None else _scalar(pulse, "center_frequency"))
    described = description.facts.demodulation_frequency
    if not modulation and described is not None:
        carrier = described  # samples without a carrier can be given any
    if not carrier:
        raise InputError(
            f"{path}: demodulation_frequency is missing, expected modulation_frequency or pulse.center_frequency in "
            "the file, or it in the description, Hz"
        )
    return rate, carrier, modulation


def _waves(path: Path, group: Any) -> list[Any]:
    sequence = group.get("sequence")
    if sequence is None:
        raise InputError(f"{path}: sequence is missing, expected plane waves")
    if "source" in sequence:
        return [sequence]
    return [sequence[name] for name in sorted(sequence)]


def _angle(path: Path, wave: Any) -> float:
    source = wave.get("source")
    azimuth = None if source is None else _scalar(source, "azimuth")
    if source is None or azimuth is None:
        raise InputError(f"{path}: sequence.source.azimuth is missing, expected the angle in radians")
    distance, elevation = _scalar(source, "distance"), _scalar(source, "elevation")
    if distance is not None and np.isfinite(distance):
        raise InputError(f"{path}: sequence.source.distance is {distance} m, expected plane waves (infinite)")
    if elevation:
        raise InputError(
            f"{path}: sequence.source.elevation is {elevation} rad, expected waves in the image plane"
        )
    return azimuth


def _shape(path: Path, group: Any) -> tuple[int, int, int, int]:
    item = group.get("data")
    if item is None:
        raise InputError(f"{path}: data is missing, expected samples")
    part = item["real"] if hasattr(item, "keys") else item
    shape = part.shape
    if not 2 <= len(shape) <= 4:
        raise InputError(f"{path}: data of shape {shape}, expected (frame, wave, channel, sample)")
    full = (1,) * (4 - len(shape)) + tuple(shape)
    return full[0], full[1], full[2], full[3]


def _read_data(group: Any, shape: tuple[int, int, int, int], start: int, stop: int) -> NDArray[np.complex64]:
    item = group["data"]
    parts = [item["real"], item["imag"]] if hasattr(item, "keys") else [item]
    values = []
    for part in parts:
        whole = len(part.shape) < 4
        values.append((part[()] if whole else part[start:stop]).reshape(stop - start, *shape[1:]))
    return (values[0] if len(values) == 1 else values[0] + 1j * values[1]).astype(np.complex64)
