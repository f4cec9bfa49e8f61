"""Files as scanners and toolboxes write them, and the echoes in them: what the tests of the importers share.

MATLAB 7.3 files are HDF5 with axes in reverse, structs as groups, arrays of structs and cells as references, text as
16-bit codes, complex numbers as a compound type; a header of 512 bytes says so.
"""

from __future__ import annotations

import h5py
import numpy as np
import scipy.io

SPEED = 1540.0  # m/s


# ---------------------------------------------------------------- echoes
def gaussian_echo(time, delay, *, frequency, bandwidth):
    """Analytic echo of unit peak at `delay`; bandwidth is the full width at half the amplitude, Hz."""
    width = np.sqrt(2 * np.log(2)) / (np.pi * bandwidth)
    since = time - delay
    return np.exp(-0.5 * (since / width) ** 2 + 2j * np.pi * frequency * since)


def expected_baseband(time, delay, *, frequency, bandwidth, demodulation_frequency):
    """The pipeline's convention: the analytic echo times exp(-2πi f_d t)."""
    echo = gaussian_echo(time, delay, frequency=frequency, bandwidth=bandwidth)
    return echo * np.exp(-2j * np.pi * demodulation_frequency * time)


def element_places(n_elements, pitch):
    return (np.arange(n_elements) - (n_elements - 1) / 2) * pitch


def echo_delays(scatterer, angles, places):
    """(angle, element) s from the first element's firing to the echo's centre: geometry of a point (x, z)."""
    x, z = scatterer
    sine = np.sin(angles)[:, None]
    way = x * sine + z * np.cos(angles)[:, None] - (places * sine).min(axis=1, keepdims=True)
    return (way + np.hypot(x - places, z)) / SPEED


def firing_delays(angles, places):
    """(angle, element) s, 0 for the first element that fires."""
    delays = places * np.sin(angles)[:, None] / SPEED
    return delays - delays.min(axis=1, keepdims=True)


# ---------------------------------------------------------------- MATLAB
class Cell(list):
    """A cell array (1, n)."""


def write_v73(path, variables):
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")
        for name, value in variables.items():
            _put(file, name, value, references)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def _label(item, name):
    item.attrs["MATLAB_class"] = np.bytes_(name)


def _referred(value, references):
    name = f"r{len(references)}"
    _put(references, name, value, references)
    return references[name].ref


def _references(values, references):
    column = np.empty((len(values), 1), dtype=h5py.ref_dtype)  # (1, n) in MATLAB
    for index, value in enumerate(values):
        column[index, 0] = _referred(value, references)
    return column


def _put(parent, name, value, references):
    if isinstance(value, dict):
        group = parent.create_group(name)
        _label(group, "struct")
        for field, content in value.items():
            _put(group, field, content, references)
    elif isinstance(value, Cell):
        item = parent.create_dataset(name, data=_references(value, references), dtype=h5py.ref_dtype)
        _label(item, "cell")
    elif isinstance(value, list):
        group = parent.create_group(name)
        _label(group, "struct")
        for field in value[0]:
            column = _references([element[field] for element in value], references)
            group.create_dataset(field, data=column, dtype=h5py.ref_dtype)
    elif isinstance(value, str):
        item = parent.create_dataset(name, data=np.array([[ord(letter)] for letter in value], np.uint16))
        _label(item, "char")
    else:
        array = np.atleast_2d(np.asarray(value)).T
        if np.iscomplexobj(array):
            parts = np.empty(array.shape, dtype=[("real", array.real.dtype), ("imag", array.real.dtype)])
            parts["real"], parts["imag"] = array.real, array.imag
            array = parts
        item = parent.create_dataset(name, data=array, chunks=True if array.size > 1000 else None)
        _label(item, "single" if array.dtype == np.float32 else str(array.dtype))


def write_v7(path, variables):
    scipy.io.savemat(path, {name: _old(value) for name, value in variables.items()}, do_compression=True)


def _old(value):
    if isinstance(value, dict):
        return {name: _old(content) for name, content in value.items()}
    if isinstance(value, Cell):
        cells = np.empty((1, len(value)), dtype=object)
        cells[0, :] = [_old(content) for content in value]
        return cells
    if isinstance(value, list):
        records = np.empty((1, len(value)), dtype=[(name, object) for name in value[0]])
        for index, element in enumerate(value):
            for name, content in element.items():
                records[0, index][name] = _old(content)
        return records
    return value


WRITERS = {"7.3": write_v73, "7": write_v7}


# ---------------------------------------------------------------- Verasonics
# Times of stored samples of each mode, in periods of the carrier: of the first samples, which then repeat.
PATTERNS = {
    "NS200BW": ([0.0, 0.25, 0.5, 0.75], 1.0, 4.0),
    "BS100BW": ([0.0, 0.25], 1.0, 4.0),
    "BS67BW": ([0.0], 0.75, 4 / 3),
    "BS50BW": ([0.0, 0.25], 2.0, 4.0),
}


def stored_times(mode, n_samples, demodulation_frequency):
    """Of each stored sample from the first, s."""
    first, period, _ = PATTERNS[mode]
    repeats = np.arange(-(-n_samples // len(first)))[:, None] * period
    return (repeats + np.array(first)).ravel()[:n_samples] / demodulation_frequency


def verasonics_workspace(
    *,
    mode,
    scatterer=(0.7e-3, 6e-3),
    angles=(-0.05, 0.0, 0.05),
    n_elements=8,
    n_frames=2,
    n_repeats=1,
    n_samples=128,
    frequency=15.625e6,
    bandwidth=3e6,
    start_depth=50.0,
    peak=3.2,
    lens_mm=0.1,
    pitch=0.1e-3,
    units="mm",
    connector=None,
    amplitude=8000.0,
):
    """Variables of a workspace with the echo of one point, which grows by a tenth from frame to frame.

    `n_repeats` images' transmissions fill one frame of the receive buffer.
    """
    angles = np.array(angles)
    places = element_places(n_elements, pitch)
    connector = np.arange(1, n_elements + 1) if connector is None else np.array(connector)
    wavelength = SPEED / frequency
    begin = 2 * start_depth / frequency  # from the transmit events' zero
    late = peak / frequency + 2 * lens_mm * 1e-3 / SPEED  # pulse and lens
    time = begin + stored_times(mode, n_samples, frequency)
    arrival = echo_delays(scatterer, angles, places) + late
    echoes = gaussian_echo(time, arrival[..., None], frequency=frequency, bandwidth=bandwidth).real
    n_acquisitions = len(angles) * n_repeats
    samples = np.zeros((n_acquisitions * n_samples + 64, n_elements, n_frames), np.int16)
    for frame in range(n_frames):
        for acquisition in range(n_acquisitions):
            image = frame * n_repeats + acquisition // len(angles)
            rows = slice(acquisition * n_samples, (acquisition + 1) * n_samples)
            echo = echoes[acquisition % len(angles)]  # (element, time)
            samples[rows, connector - 1, frame] = np.rint(amplitude * 1.1**image * echo.T)
    in_units = 1e3 if units == "mm" else 1 / wavelength
    rate = PATTERNS[mode][2] * frequency / 1e6
    receive = [
        {
            "bufnum": 1.0,
            "framenum": float(frame + 1),
            "acqNum": float(acquisition + 1),
            "startSample": float(acquisition * n_samples + 1),
            "endSample": float((acquisition + 1) * n_samples),
            "startDepth": start_depth,
            "sampleMode": mode,
            "decimSampleRate": rate,
            "demodFrequency": frequency / 1e6,
        }
        for frame in range(n_frames)
        for acquisition in range(n_acquisitions)
    ]
    positions = np.zeros((n_elements, 5))
    positions[:, 0] = places * in_units
    delays = firing_delays(angles, places) * frequency
    return {
        "RcvData": Cell([samples]),
        "Receive": receive,
        "Trans": {
            "name": "L22-14v",
            "units": units,
            "frequency": frequency / 1e6,
            "numelements": float(n_elements),
            "spacingMm": pitch * 1e3,
            "spacing": pitch / wavelength,
            "ElementPos": positions,
            "lensCorrection": lens_mm * 1e-3 * in_units,
            "Connector": connector[:, None].astype(float),
        },
        "TX": [
            {
                "waveform": 1.0,
                "Steer": np.array([[angle, 0.0]]),
                "Delay": delays[index][None],
                "Apod": np.ones((1, n_elements)),
            }
            for index, angle in enumerate(angles)
        ],
        "TW": {"type": "parametric", "peak": peak},
        "Resource": {"Parameters": {"speedOfSound": SPEED}},
    }
