"""The structures of a Verasonics workspace: where to look for them, and the array and pixels that they describe.

Lengths are in wavelengths of Trans.frequency at Resource.Parameters.speedOfSound, but for those of Trans, which are in
Trans.units, mm where it is silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings.description import Description
from ulmpipe.io.recordings.geometry import linear_array
from ulmpipe.io.recordings.matlab import MatFile, Structure, number, open_mat, vector


@dataclass(frozen=True)
class Workspace:
    """The file with the samples, the one with the structures (the same by default), and the user's words."""

    path: Path
    data: MatFile
    metadata: MatFile
    description: Description
    _found: dict[str, Structure | None] = field(default_factory=dict)

    def structure(self, name: str) -> Structure | None:
        """A struct of either file."""
        if name not in self._found:
            own = self.data.structure(name)
            self._found[name] = self.metadata.structure(name) if own is None else own
        return self._found[name]

    def need(self, name: str) -> Structure:
        """A struct that must be there."""
        found = self.structure(name)
        if found is None:
            raise InputError(
                f"{self.path}: {name} is missing, expected the struct {name} of the workspace in this file or in the "
                "one that the description names as metadata"
            )
        return found

    def need_number(self, name: str, field: str, element: int = 0) -> float:
        """A scalar field that must be there."""
        value = number(self.need(name), field, element)
        if value is None:
            raise InputError(f"{self.path}: {name}.{field} is missing, expected a number")
        return value

    @cached_property
    def frequency(self) -> float:
        """Trans.frequency, Hz: what wavelengths are wavelengths of."""
        return 1e6 * self.need_number("Trans", "frequency")

    @cached_property
    def speed(self) -> float | None:
        """Speed of sound, m/s."""
        resource = self.structure("Resource")
        stored = number(None if resource is None else resource.get("Parameters"), "speedOfSound")
        return self.description.facts.speed_of_sound if stored is None else stored

    @cached_property
    def array_unit(self) -> float | None:
        """Metres of a unit of Trans; None if that is the wavelength and the speed of sound is not known."""
        if (self.need("Trans").get("units") or "mm") == "mm":
            return 1e-3
        return None if self.speed is None else self.speed / self.frequency

    @cached_property
    def element_positions(self) -> NDArray[np.float64] | None:
        """(element, 3) m, in the file's order."""
        positions = self.need("Trans").get("ElementPos")
        if positions is None or self.array_unit is None:
            return None
        return np.asarray(positions, dtype=np.float64)[:, :3] * self.array_unit

    def columns_and_pitch(self, receive: int, n_channels: int) -> tuple[NDArray[np.intp], float | None]:
        """Column of RcvData of each element from -x to +x (-1: none was connected), and the pitch, m."""
        trans = self.need("Trans")
        columns = self._channels(trans, receive, n_channels).astype(np.intp) - 1
        if columns.max() >= n_channels or columns.max() < 0:
            raise InputError(
                f"{self.path}: Trans.Connector goes to channel {columns.max() + 1}, expected at most the {n_channels} "
                "columns of RcvData"
            )
        places = self.element_positions
        if places is not None:
            if len(places) != len(columns):
                raise InputError(
                    f"{self.path}: Trans.ElementPos has {len(places)} rows, expected one for each of {len(columns)} "
                    "elements"
                )
            order, pitch = linear_array(places, f"{self.path}: Trans.ElementPos")
            return columns[order], pitch
        spacing_mm, spacing = number(trans, "spacingMm"), number(trans, "spacing")
        if spacing_mm is not None:
            return columns, 1e-3 * spacing_mm
        known = spacing is not None and self.speed is not None
        return columns, (spacing or 0) * (self.speed or 0) / self.frequency if known else None

    def _channels(self, trans: Structure, receive: int, n_channels: int) -> NDArray[np.float64]:
        """Channel of each element, from 1; 0: none."""
        multiplexer, aperture = trans.get("HVMux"), number(self.need("Receive"), "aperture", receive)
        if multiplexer is not None and aperture is not None:
            for field in ("Aperture", "ApertureES"):
                table = multiplexer.get(field)
                if table is not None:
                    return np.asarray(table, dtype=np.float64)[:, int(aperture) - 1]
        for field in ("Connector", "ConnectorES"):
            channels = vector(trans, field)
            if channels is not None:
                return channels
        return np.arange(1, int(number(trans, "numelements") or n_channels) + 1, dtype=np.float64)


@contextmanager
def open_workspace(path: Path, description: Description) -> Iterator[Workspace]:
    """Open the file, and the one that the description names as `metadata`."""
    other = description.options.get("metadata")
    with open_mat(path) as data:
        if other is None:
            yield Workspace(path, data, data, description)
            return
        if not Path(other).is_file():
            raise InputError(f"{path}: metadata is {other}, expected a MATLAB file")
        with open_mat(Path(other)) as metadata:
            yield Workspace(path, data, metadata, description)


def pixel_facts(pixels: Structure | None, wavelength: float) -> dict[str, Any]:
    """Spacing and origin of PData, m: PDelta and Origin are (x, y, z) in wavelengths."""
    facts: dict[str, Any] = {}
    step, origin = vector(pixels, "PDelta"), vector(pixels, "Origin")
    if step is not None and len(step) == 3:
        facts |= {"spacing_x": step[0] * wavelength, "spacing_z": step[2] * wavelength}
    if origin is not None and len(origin) == 3:
        facts |= {"origin_x": origin[0] * wavelength, "origin_z": origin[2] * wavelength}
    return {name: float(value) for name, value in facts.items()}
