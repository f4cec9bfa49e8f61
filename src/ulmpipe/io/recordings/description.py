"""What is known of a scan, in SI units, and a user's words about it.

A file and a user may both say how something was recorded; where they disagree one of them is wrong, and nobody but the
user can tell which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from ulmpipe.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ScanFacts:
    """What a file, or a user, says of a scan; None where it says nothing. SI units, angles in radians.

    Parameters
    ----------
    sampling_frequency
        Of the complex samples that `Recording.read_block` returns, Hz; not of a file's real ones.
    demodulation_frequency
        f_d of the baseband, Hz.
    start_time
        Of the first sample, s, from the moment at which the centre of the pulse leaves the first element that fires.
    angles
        Of the plane waves, in their order, rad, positive towards +x.
    speed_of_sound
        m/s.
    n_elements, pitch
        Of the linear array; m.
    spacing_z, spacing_x, origin_z, origin_x
        Of the images' pixels, and the centre of the first one, m.
    frame_rate
        Hz.
    """

    sampling_frequency: float | None = None
    demodulation_frequency: float | None = None
    start_time: float | None = None
    angles: tuple[float, ...] | None = None
    speed_of_sound: float | None = None
    n_elements: int | None = None
    pitch: float | None = None
    spacing_z: float | None = None
    spacing_x: float | None = None
    origin_z: float | None = None
    origin_x: float | None = None
    frame_rate: float | None = None

    def known(self) -> dict[str, Any]:
        """The facts that are not None, by name."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


FACTS = tuple(entry.name for entry in fields(ScanFacts))
# Smallest and largest value that is not a mistake of units, the unit, and how far two sources may differ.
PLAUSIBLE: dict[str, tuple[float, float, str]] = {
    "sampling_frequency": (1e4, 1e9, "Hz"),
    "demodulation_frequency": (1e4, 2e8, "Hz"),
    "start_time": (-1e-3, 1e-2, "s"),
    "angles": (-1.5, 1.5, "rad"),
    "speed_of_sound": (100.0, 10_000.0, "m/s"),
    "n_elements": (1, 100_000, "elements"),
    "pitch": (1e-6, 1e-2, "m"),
    "spacing_z": (1e-7, 1e-2, "m"),
    "spacing_x": (1e-7, 1e-2, "m"),
    "origin_z": (-1.0, 1.0, "m"),
    "origin_x": (-1.0, 1.0, "m"),
    "frame_rate": (1e-2, 1e6, "Hz"),
}
RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = {
    "start_time": 1e-9,
    "angles": 1e-4,
    "origin_z": 1e-6,
    "origin_x": 1e-6,
    "n_elements": 0.0,
}


def check_plausible(facts: ScanFacts, source: str) -> ScanFacts:
    """The facts, if none is so large or small that its unit must be wrong.

    Raises
    ------
    InputError
        Naming the source, the fact and its range.
    """
    for name, value in facts.known().items():
        least, most, unit = PLAUSIBLE[name]
        numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
        if numbers.size == 0 or not np.all((numbers >= least) & (numbers <= most)):
            raise InputError(f"{source}: {name} is {value}, expected {least:g} to {most:g} {unit}")
    return facts


def agree(name: str, one: Any, other: Any) -> bool:
    """Whether two sources mean the same value of a fact."""
    first, second = (np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in (one, other))
    if first.shape != second.shape:
        return False
    absolute = ABSOLUTE_TOLERANCE.get(name)
    if absolute is None:
        return bool(np.allclose(first, second, rtol=RELATIVE_TOLERANCE, atol=0.0))
    return bool(np.allclose(first, second, rtol=0.0, atol=absolute))


def merge_facts(in_file: ScanFacts, described: ScanFacts, source: str) -> ScanFacts:
    """What a file and a description say together; where both speak and agree, the file's value.

    Raises
    ------
    InputError
        Where they disagree, naming both values.
    """
    stored = in_file.known()
    for name, value in described.known().items():
        if name in stored and not agree(name, stored[name], value):
            raise InputError(
                f"{source}: {name} is {stored[name]} in the file and {value} in the description, expected the same"
            )
    return replace(described, **stored)


def missing(source: str, name: str, where: str | None = None) -> InputError:
    """The error for a fact that nobody says."""
    unit = f", {PLAUSIBLE[name][2]}" if name in PLAUSIBLE else ""
    return InputError(
        f"{source}: {name} is missing, expected {where or 'it in the file'} or in the description{unit}"
    )


# ---------------------------------------------------------------- descriptions
LENGTHS = {"m": 1.0, "mm": 1e-3, "um": 1e-6}
TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
FREQUENCIES = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6}
ANGLES = {"rad": 1.0, "deg": math.pi / 180}
SPEEDS = {"m/s": 1.0, "mm/us": 1e3}
UNITS = {"length": LENGTHS, "time": TIMES, "frequency": FREQUENCIES, "angle": ANGLES, "speed": SPEEDS}
QUANTITY = {
    "sampling_frequency": "frequency",
    "demodulation_frequency": "frequency",
    "start_time": "time",
    "angles": "angle",
    "speed_of_sound": "speed",
    "pitch": "length",
    "spacing_z": "length",
    "spacing_x": "length",
    "origin_z": "length",
    "origin_x": "length",
    "time_offset": "time",
    "bandwidth": "frequency",
}


@dataclass(frozen=True, kw_only=True)
class Description:
    """A user's words about a recording, checked; see `read_description`.

    Parameters
    ----------
    facts
        Of the scan.
    frames_per_block
        How the frames of a file are divided; None: as the file has them.
    bandwidth
        Full width at half the amplitude that is kept of radio-frequency samples, Hz; None: all that they hold.
    time_offset
        Added to the start time that a file gives, s: a delay that was calibrated; None: nothing is known of one.
    options
        What concerns one format only.
    """

    facts: ScanFacts = field(default_factory=ScanFacts)
    frames_per_block: int | None = None
    bandwidth: float | None = None
    time_offset: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def read_description(
    words: Mapping[str, Any] | None, *, source: str, options: tuple[str, ...] = (), units_needed: bool = False
) -> Description:
    """Check a mapping, as YAML gives it, and bring it to SI units.

    Parameters
    ----------
    words
        The facts of `ScanFacts` by name, `spacing` and `origin` as {z, x}; `frames_per_block`, `bandwidth`,
        `time_offset`; `units`, a mapping such as {length: mm, time: us, frequency: MHz, angle: deg, speed: m/s}
        (SI units and radians where it is silent; `frame_rate` is in Hz always); and the format's own `options`.
    source
        What an error names.
    units_needed
        Whether every quantity that is used must be given its unit.

    Raises
    ------
    InputError
        An unknown word, a value of the wrong type or outside its range, an unknown or missing unit.
    """
    words = dict(words or {})
    for pair in ("spacing", "origin"):
        if pair in words:
            axes = words.pop(pair)
            if not isinstance(axes, Mapping) or set(axes) - {"z", "x"}:
                raise InputError(f"{source}: {pair} is {axes!r}, expected {{z: …, x: …}}")
            words |= {f"{pair}_{axis}": value for axis, value in axes.items()}
    known = (*FACTS, "frames_per_block", "bandwidth", "time_offset", "units", "format", *options)
    for name in words:
        if name not in known:
            raise InputError(
                f"{source}: {name} is no word of this format, expected some of {', '.join(known)}"
            )
    factors = _unit_factors(words.pop("units", None), words, source, units_needed)
    values = {
        name: _number(source, name, words[name], factors.get(QUANTITY.get(name, ""), 1.0))
        for name in (*FACTS, "frames_per_block", "bandwidth", "time_offset")
        if words.get(name) is not None
    }
    return Description(
        facts=check_plausible(ScanFacts(**{name: values[name] for name in FACTS if name in values}), source),
        frames_per_block=values.get("frames_per_block"),
        bandwidth=values.get("bandwidth"),
        time_offset=values.get("time_offset"),
        options={name: words[name] for name in options if words.get(name) is not None},
    )


def _unit_factors(units: Any, words: Mapping[str, Any], source: str, needed: bool) -> dict[str, float]:
    if units is not None and (not isinstance(units, Mapping) or set(units) - set(UNITS)):
        raise InputError(f"{source}: units is {units!r}, expected a mapping of some of {', '.join(UNITS)}")
    factors = {}
    for quantity, unit in (units or {}).items():
        if unit not in UNITS[quantity]:
            expected = ", ".join(UNITS[quantity])
            raise InputError(f"{source}: units: {quantity} is {unit!r}, expected one of {expected}")
        factors[quantity] = UNITS[quantity][unit]
    for name, quantity in QUANTITY.items():
        if needed and name in words and quantity not in factors:
            expected = ", ".join(UNITS[quantity])
            raise InputError(f"{source}: units: {quantity} is missing, expected one of {expected} for {name}")
    return factors


def _number(source: str, name: str, value: Any, factor: float) -> Any:
    whole = name in ("n_elements", "frames_per_block")
    try:
        if name == "angles":
            return tuple(factor * float(angle) for angle in np.atleast_1d(value))
        number = float(value)
    except (TypeError, ValueError):
        kind = "a list of numbers" if name == "angles" else "a number"
        hint = ", with the point in 1.0e-3 that YAML wants" if isinstance(value, str) else ""
        raise InputError(f"{source}: {name} is {value!r}, expected {kind}{hint}") from None
    if isinstance(value, str | bool) or (whole and (number != int(number) or number < 1)):
        expected = "a whole number of at least 1" if whole else "a number, not text"
        raise InputError(f"{source}: {name} is {value!r}, expected {expected}")
    if name == "bandwidth" and not number > 0:
        raise InputError(f"{source}: bandwidth is {value}, expected above 0")
    return int(number) if whole else factor * number
