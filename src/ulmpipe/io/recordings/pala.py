"""Image blocks of PALA, the open platform of localization microscopy: MATLAB files with `IQ` (z, x, frame) and `UF`.

UF.FrameRateUF is the frame rate in Hz and UF.TwFreq the transmit frequency in MHz. Pixels are in wavelengths of it:
PData.PDelta and PData.Origin, (x, y, z), or ScaleOfPixel, (z, x). Metres need the speed of sound, which such files do
not say: it is the description's to give. `metadata` names a file with the structures if they are not in each block.

Heiles, Chavignon, Hingot, Lopez, Teston, Couture, "Performance benchmarking of microbubble-localization algorithms
for ultrasound localization microscopy", Nat. Biomed. Eng. 6, 2022 (DOI 10.1038/s41551-021-00824-8); data: DOI
10.5281/zenodo.4343435.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings.description import Description, ScanFacts
from ulmpipe.io.recordings.matlab import WHOLE, MatFile, number, open_mat, padded
from ulmpipe.io.recordings.recording import Source
from ulmpipe.io.recordings.verasonics_workspace import pixel_facts

OPTIONS = ("metadata",)


def recognise(variables: set[str]) -> bool:
    """Whether a MATLAB file with these variables is one."""
    return "IQ" in variables


def open_file(path: Path, description: Description) -> Source:
    """What a block says, and how to read its frames.

    Raises
    ------
    InputError
        No `IQ`, or one that is not (z, x, frame).
    """
    with open_mat(path) as file:
        arrays = file.arrays("IQ")
        if not arrays:
            raise InputError(f"{path}: IQ is missing, expected complex images (z, x, frame)")
        images = padded(arrays[0], 3)
        facts = _facts(file, description)
    other = description.options.get("metadata")
    if other is not None:
        if not Path(other).is_file():
            raise InputError(f"{path}: metadata is {other}, expected a MATLAB file")
        with open_mat(Path(other)) as file:
            facts = ScanFacts(**(_facts(file, description).known() | facts.known()))
    if len(images.shape) != 3:
        raise InputError(f"{path}: IQ of shape {images.shape}, expected (z, x, frame)")

    def read(start: int, stop: int) -> NDArray[np.complex64]:
        with open_mat(path) as again:
            part = padded(again.arrays("IQ")[0], 3).read((WHOLE, WHOLE, slice(start, stop)))
        return np.moveaxis(part, -1, 0).astype(np.complex64)

    return Source(kind="iq", n_frames=images.shape[2], frame_shape=images.shape[:2], read=read, facts=facts)


def _facts(file: MatFile, description: Description) -> ScanFacts:
    acquisition = file.structure("UF")
    frame_rate, transmit = number(acquisition, "FrameRateUF"), number(acquisition, "TwFreq")
    speed = description.facts.speed_of_sound
    pixels: dict[str, Any] = {}
    if transmit is not None and speed is not None:
        wavelength = speed / (1e6 * transmit)
        pixels = pixel_facts(file.structure("PData"), wavelength)
        scale = file.arrays("ScaleOfPixel")
        if scale and "spacing_z" not in pixels:
            step = np.ravel(scale[0].read((WHOLE,) * len(scale[0].shape)))
            pixels |= {"spacing_z": float(step[0]) * wavelength, "spacing_x": float(step[1]) * wavelength}
    return ScanFacts(
        frame_rate=frame_rate,
        demodulation_frequency=None if transmit is None else 1e6 * transmit,
        **pixels,
    )
