"""Radio-frequency recordings of the MUST and PyMUST toolboxes: MATLAB files with `RF` (time, element, frame), `param`.

param is theirs: fs and fc in Hz, pitch in m, c in m/s, t0 and TXdelay in s, PRF in Hz; one transmission a frame.
Garcia, "Make the most of MUST, an open-source Matlab UltraSound Toolbox", IEEE IUS 2021 (DOI
10.1109/IUS52206.2021.9593605).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings.baseband import decimation, rf_to_baseband, widest_band
from ulmpipe.io.recordings.description import Description, ScanFacts
from ulmpipe.io.recordings.geometry import plane_wave_angle
from ulmpipe.io.recordings.matlab import WHOLE, number, open_mat, padded, vector
from ulmpipe.io.recordings.recording import Source

OPTIONS = ()


def recognise(variables: set[str]) -> bool:
    """Whether a MATLAB file with these variables is one."""
    return {"RF", "param"} <= variables


def open_file(path: Path, description: Description) -> Source:
    """What a file says, and how to read its frames.

    Raises
    ------
    InputError
        A variable or field that is missing, or transmissions that are not plane waves.
    """
    with open_mat(path) as file:
        arrays, param = file.arrays("RF"), file.structure("param")
        if not arrays or param is None:
            raise InputError(
                f"{path}: RF or param is missing, expected RF (time, element, frame) and MUST's param"
            )
        rf = padded(arrays[0], 3)
        values = {name: number(param, name) for name in ("fs", "fc", "c", "t0", "pitch", "PRF")}
        delays = vector(param, "TXdelay")
    if len(rf.shape) != 3:
        raise InputError(f"{path}: RF of shape {rf.shape}, expected (time, element, frame)")
    for name in ("fs", "fc", "c", "pitch"):
        if values[name] is None:
            raise InputError(f"{path}: param.{name} is missing, expected a number")
    rate, carrier, speed, pitch = (float(values[name] or 0) for name in ("fs", "fc", "c", "pitch"))
    n_time, n_elements, n_frames = rf.shape
    start_time = (values["t0"] or 0.0) + (description.time_offset or 0.0)
    angle = 0.0
    if delays is not None:
        place = pitch * (np.arange(n_elements) - (n_elements - 1) / 2)
        angle = plane_wave_angle(delays, place, speed_of_sound=speed, source=f"{path}: param.TXdelay")
        start_time -= float(delays.min())
    band = widest_band(sampling_frequency=rate, demodulation_frequency=carrier)
    step = decimation(rate, min(band, description.bandwidth or band))

    def read(start: int, stop: int) -> NDArray[np.complex64]:
        with open_mat(path) as again:
            part = padded(again.arrays("RF")[0], 3).read((WHOLE, WHOLE, slice(start, stop)))
        iq, _ = rf_to_baseband(
            np.moveaxis(part, -1, 0).swapaxes(-1, -2),
            start_time=start_time,
            sampling_frequency=rate,
            demodulation_frequency=carrier,
            bandwidth=description.bandwidth,
        )
        return iq[:, None]

    return Source(
        kind="channel_data",
        n_frames=n_frames,
        frame_shape=(1, n_elements, len(range(0, n_time, step))),
        read=read,
        facts=ScanFacts(
            sampling_frequency=rate / step,
            demodulation_frequency=carrier,
            start_time=start_time,
            angles=(angle,),
            speed_of_sound=speed,
            n_elements=n_elements,
            pitch=pitch,
            frame_rate=values["PRF"],
        ),
    )
