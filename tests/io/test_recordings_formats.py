"""Importers of toolboxes' files: PALA, MUST, USTB, zea, and the training set of Deep-stULM."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from recording_files import (
    SPEED,
    WRITERS,
    echo_delays,
    element_places,
    expected_baseband,
    firing_delays,
    gaussian_echo,
)

from ulmpipe.beamforming import demodulate
from ulmpipe.errors import InputError
from ulmpipe.io.recordings import (
    count_training_blocks,
    guess_format,
    open_recording,
    read_training_block,
)

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = Path(os.environ.get("ULMPIPE_REFERENCE", ROOT.parent / "shared" / "reference"))
DISK = REFERENCE / "PWI_disk.mat"

CARRIER, BANDWIDTH, RATE = 7.5e6, 3e6, 30e6
POINT, ANGLES, PITCH, N_ELEMENTS = (0.4e-3, 8e-3), np.array([-0.08, 0.0, 0.06]), 0.2e-3, 8
PLACES = element_places(N_ELEMENTS, PITCH)
PULSE = {"frequency": CARRIER, "bandwidth": BANDWIDTH}
ARRIVAL = echo_delays(POINT, ANGLES, PLACES)  # from the first element's firing


def expected_block(recording, *, frames=(0,)):
    """The analytic baseband of the point's echo, a tenth more in each frame."""
    scan = recording.scan
    time = scan.start_time + np.arange(recording.block_shape[3]) / scan.sampling_frequency
    echoes = expected_baseband(
        time, ARRIVAL[..., None], demodulation_frequency=scan.demodulation_frequency, **PULSE
    )
    return np.array([1.1**frame * echoes for frame in frames])


def check_block(recording, tolerance=2e-3):
    frames = range(recording.block_shape[0])
    expected = expected_block(recording, frames=frames)
    assert np.abs(expected).max() > 0.95  # the echo lies within the record
    np.testing.assert_allclose(recording.read_block(0), expected, atol=tolerance * 1.1 ** frames[-1])


# ---------------------------------------------------------------- PALA
def pala_block(n_frames=4, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(6, 5, n_frames)) + 1j * generator.normal(size=(6, 5, n_frames))
    return {
        "IQ": images.astype(np.complex64),
        "UF": {"TwFreq": 15.0, "FrameRateUF": 1000.0, "NbFrames": float(n_frames)},
        "PData": {"PDelta": np.array([[1.0, 0.0, 0.5]]), "Origin": np.array([[-2.0, 0.0, 30.0]])},
    }


@pytest.mark.parametrize("version", WRITERS)
def test_pala_blocks_come_in_natural_order_with_pixels_in_metres(tmp_path, version):
    blocks = {number: pala_block(seed=number) for number in (1, 2, 10)}
    for number, block in blocks.items():
        WRITERS[version](tmp_path / f"PALA_InVivoRatBrain_{number}.mat", block)
    pattern = tmp_path / "PALA_*.mat"
    assert guess_format(pattern) == "pala"
    recording = open_recording(pattern, {"speed_of_sound": 1500})
    assert (recording.kind, recording.n_blocks, recording.block_shape) == ("iq", 3, (4, 6, 5))
    for index, block in enumerate(blocks.values()):
        np.testing.assert_array_equal(recording.read_block(index), block["IQ"].transpose(2, 0, 1))
    scan = recording.scan  # a wavelength is 0.1 mm
    assert (scan.frame_rate, scan.demodulation_frequency) == (1000, 15e6)
    assert (scan.spacing_z, scan.spacing_x) == pytest.approx((50e-6, 100e-6))
    assert (scan.origin_z, scan.origin_x) == pytest.approx((3e-3, -0.2e-3))


def test_pala_pixels_without_a_speed_of_sound_are_not_guessed(tmp_path):
    path = tmp_path / "block.mat"
    WRITERS["7"](path, pala_block())
    recording = open_recording(path)
    assert recording.scan.spacing_z is None
    with pytest.raises(InputError, match=r"block\.mat: spacing_z is missing, expected it in the file or"):
        recording.require("frame_rate", "spacing_z")
    assert recording.require("frame_rate") == (1000.0,)
    with pytest.raises(InputError, match=r"frame_rate is 1000\.0 in the file and 500\.0 in the description"):
        open_recording(path, {"frame_rate": 500})


def test_pala_structures_may_be_in_a_file_of_their_own(tmp_path):
    block = pala_block()
    WRITERS["7"](tmp_path / "block.mat", {"IQ": block.pop("IQ")})
    WRITERS["7.3"](tmp_path / "sequence.mat", block)
    words = {"metadata": str(tmp_path / "sequence.mat"), "speed_of_sound": 1500}
    scan = open_recording(tmp_path / "block.mat", words).scan
    assert (scan.frame_rate, scan.spacing_z) == (1000, pytest.approx(50e-6))
    with pytest.raises(InputError, match=r"block\.mat: metadata is nowhere\.mat, expected a MATLAB file"):
        open_recording(tmp_path / "block.mat", {"metadata": "nowhere.mat"})


def test_pala_scale_of_pixel_is_depth_first(tmp_path):
    block = pala_block()
    del block["PData"]
    block["ScaleOfPixel"] = np.array([[0.5, 1.0]])
    WRITERS["7"](tmp_path / "block.mat", block)
    scan = open_recording(tmp_path / "block.mat", {"speed_of_sound": 1500}).scan
    assert (scan.spacing_z, scan.spacing_x) == pytest.approx((50e-6, 100e-6))


def test_a_block_that_is_shorter_damaged_or_lost_is_named_and_the_others_still_come(tmp_path):
    for number, n_frames in ((1, 4), (2, 3), (3, 4), (4, 4), (5, 4)):
        WRITERS["7"](tmp_path / f"block_{number}.mat", pala_block(n_frames, seed=number))
    recording = open_recording(tmp_path / "block_*.mat")
    damaged = tmp_path / "block_3.mat"
    damaged.write_bytes(damaged.read_bytes()[:200])
    (tmp_path / "block_4.mat").unlink()
    assert recording.n_blocks == 5
    with pytest.raises(
        InputError, match=r"block_2\.mat: block 1 cannot be read: iq of 3 frames .* iq of 4 frames"
    ):
        recording.read_block(1)
    with pytest.raises(InputError, match=r"block_3\.mat: block 2 cannot be read"):
        recording.read_block(2)
    with pytest.raises(InputError, match=r"block_4\.mat: block 3 cannot be read: no such file"):
        recording.read_block(3)
    for index in (0, 4):
        expected = pala_block(4, seed=index + 1)["IQ"].transpose(2, 0, 1)
        np.testing.assert_array_equal(recording.read_block(index), expected)


def test_a_block_of_another_scan_is_refused(tmp_path):
    other = pala_block()
    other["UF"]["FrameRateUF"] = 500.0
    WRITERS["7"](tmp_path / "block_1.mat", pala_block())
    WRITERS["7"](tmp_path / "block_2.mat", other)
    with pytest.raises(InputError, match=r"block_2\.mat: block 1 .*frame_rate is 500\.0, expected 1000\.0"):
        open_recording(tmp_path / "block_*.mat").read_block(1)


# ---------------------------------------------------------------- MUST
def test_must_recordings_come_as_the_analytic_baseband(tmp_path):
    angle = ANGLES[2:]
    arrival = echo_delays(POINT, angle, PLACES)[0]
    start, late = 9e-6, 0.5e-6  # the first element fires late by their clock
    time = start + np.arange(200) / RATE
    echo = gaussian_echo(time[:, None], arrival, **PULSE).real  # (time, element)
    param = {"fs": RATE, "fc": CARRIER, "pitch": PITCH, "c": SPEED, "t0": start + late, "PRF": 4000.0}
    param["TXdelay"] = late + firing_delays(angle, PLACES)
    scipy.io.savemat(tmp_path / "must.mat", {"RF": np.stack([echo, 1.1 * echo], axis=-1), "param": param})
    assert guess_format(tmp_path / "must.mat") == "must"
    recording = open_recording(tmp_path / "must.mat")
    assert recording.block_shape == (2, 1, N_ELEMENTS, 100)
    assert recording.scan.angles == pytest.approx(angle, abs=1e-6)
    assert (recording.scan.frame_rate, recording.scan.pitch) == (4000, PITCH)
    time = start + np.arange(100) / (RATE / 2)
    expected = expected_baseband(time, arrival[:, None], demodulation_frequency=CARRIER, **PULSE)
    np.testing.assert_allclose(recording.read_block(0)[1, 0], 1.1 * expected, atol=3e-3)


@pytest.mark.skipif(not DISK.exists(), reason=f"no recording at {DISK}; set ULMPIPE_REFERENCE")
def test_a_real_recording_of_a_rotating_disk_is_what_the_example_makes_of_it():
    """A Verasonics scanner's, BS67BW; the example reads and demodulates it by itself."""
    spec = importlib.util.spec_from_file_location("disk_example", ROOT / "examples" / "rotating_disk.py")
    example = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = example
    spec.loader.exec_module(example)
    theirs = example.read_recording(DISK)
    recording = open_recording(DISK, {"bandwidth": theirs.bandwidth})
    scan = recording.scan
    assert recording.block_shape[:3] == (32, 1, 128)
    assert (scan.start_time, scan.angles, scan.speed_of_sound) == (theirs.start_time, (0.0,), 1480)
    assert (scan.demodulation_frequency, scan.frame_rate) == (5e6, 10_000)
    block = recording.read_block(0)[:4]
    iq = demodulate(
        theirs.rf[:4],
        start_time=theirs.start_time,
        sampling_frequency=theirs.sampling_frequency,
        demodulation_frequency=theirs.demodulation_frequency,
        bandwidth=theirs.bandwidth,
        order=24,
    )
    step = round(theirs.sampling_frequency / scan.sampling_frequency)
    assert step > 1  # no more samples than the band needs
    np.testing.assert_allclose(block, iq[..., ::step], atol=1e-4 * np.abs(iq).max())


# ---------------------------------------------------------------- USTB
def _uff_scalar(group, name, value):
    group.create_dataset(name, data=np.full((1, 1), value, np.float32 if value != np.inf else np.float64))


def write_uff(path, *, modulation=0.0, initial=9.3e-6, delay=0.0, n_frames=2, distance=np.inf, reverse=False):
    """As USTB writes it: t = 0 when the wave passes the origin; baseband counts from initial_time, without delays."""
    delays = np.broadcast_to(delay, ANGLES.shape)
    late = -(PLACES[:, None] * np.sin(ANGLES)).min(axis=0) / SPEED  # of that after the first firing
    own = initial + np.arange(256) / RATE
    since = (own + delays[:, None])[:, None] - (ARRIVAL - late[:, None])[..., None]  # the echo's centre
    samples = gaussian_echo(since, 0.0, **PULSE)
    samples = samples * np.exp(-2j * np.pi * modulation * own) if modulation else samples.real
    samples = np.array([1.1**frame * samples for frame in range(n_frames)], np.complex64)
    order = slice(None, None, -1) if reverse else slice(None)
    samples = samples[:, :, order]
    geometry = np.zeros((7, N_ELEMENTS), np.float32)
    geometry[0] = PLACES[order]
    with h5py.File(path, "w") as file:
        file.attrs["version"] = np.array([b"v1.0.1\0"])
        group = file.create_group("channel_data")
        group.attrs["class"] = np.array([b"uff.channel_data\0"])
        for name, value in (
            ("sampling_frequency", RATE),
            ("initial_time", initial),
            ("sound_speed", SPEED),
            ("modulation_frequency", modulation),
            ("PRF", 6000.0),
        ):
            _uff_scalar(group, name, value)
        group.create_dataset("probe/geometry", data=geometry)
        _uff_scalar(group.create_group("pulse"), "center_frequency", CARRIER)
        for index, angle in enumerate(ANGLES):
            wave = group.create_group(f"sequence/sequence_{index + 1:04d}")
            _uff_scalar(wave, "delay", delays[index])
            _uff_scalar(wave, "source/azimuth", angle)
            _uff_scalar(wave, "source/elevation", 0.0)
            _uff_scalar(wave, "source/distance", distance)
        data = samples if n_frames > 1 else samples[0]  # MATLAB drops the last axis
        if modulation:
            group.create_dataset("data/real", data=data.real)
            group.create_dataset("data/imag", data=data.imag)
        else:
            group.create_dataset("data", data=data.real)
    return path


@pytest.mark.parametrize("modulation", [0.0, CARRIER])
@pytest.mark.parametrize(
    ("delay", "n_frames", "reverse"), [(0.0, 2, False), ((0.43e-6, 0.11e-6, 0.2e-6), 1, True)]
)
def test_uff_comes_as_the_analytic_baseband_from_the_first_firing(
    tmp_path, modulation, delay, n_frames, reverse
):
    path = write_uff(
        tmp_path / "data.uff", modulation=modulation, delay=delay, n_frames=n_frames, reverse=reverse
    )
    assert guess_format(path) == "ustb"
    recording = open_recording(path)
    scan = recording.scan
    assert recording.block_shape[:3] == (n_frames, 3, N_ELEMENTS)
    assert scan.angles == pytest.approx(ANGLES)
    assert scan.pitch == pytest.approx(PITCH)
    assert scan.frame_rate == pytest.approx(2000)
    assert scan.sampling_frequency == pytest.approx(RATE if modulation else RATE / 2)
    # The most steered wave passes the origin last, 0.7 mm · sin 0.08 / c after the first firing.
    earliest = 9.3e-6 + np.max(delay) + 0.7e-3 * np.sin(0.08) / SPEED
    assert scan.start_time == pytest.approx(earliest, abs=1e-10)
    check_block(recording)


def test_uff_with_focused_waves_is_refused(tmp_path):
    path = write_uff(tmp_path / "data.uff", distance=20e-3)
    with pytest.raises(
        InputError, match=r"data\.uff: sequence\.source\.distance is 0\.0\d+ m, expected plane"
    ):
        open_recording(path)


def test_uff_needs_a_carrier(tmp_path):
    path = write_uff(tmp_path / "data.uff")
    with h5py.File(path, "r+") as file:
        del file["channel_data/pulse"]
    with pytest.raises(
        InputError, match="demodulation_frequency is missing, expected modulation_frequency or"
    ):
        open_recording(path)
    check_block(open_recording(path, {"demodulation_frequency": 7e6}))  # a carrier of the user's choice


# ---------------------------------------------------------------- zea
def write_zea(path, *, n_channels, initial=(9.5e-6, 9.35e-6, 9.4e-6), peak=0.27e-6, n_frames=2):
    """Baseband counts from the first sample there, and time from the first firing, not the pulse's centre."""
    initial = np.array(initial)
    time = initial[:, None, None] + np.arange(256) / RATE
    arrival = ARRIVAL[..., None] + peak
    echo = gaussian_echo(time, arrival, **PULSE)
    if n_channels == 2:
        echo = echo * np.exp(-2j * np.pi * CARRIER * (time - initial[:, None, None]))
    echo = np.array([1.1**frame * echo for frame in range(n_frames)]).swapaxes(2, 3)
    parts = [echo.real, echo.imag][:n_channels]
    geometry = np.zeros((N_ELEMENTS, 3))
    geometry[:, 0] = PLACES
    scan = {
        "sampling_frequency": RATE,
        "center_frequency": CARRIER,
        "demodulation_frequency": CARRIER,
        "sound_speed": SPEED,
        "probe_geometry": geometry,
        "initial_times": initial,
        "polar_angles": ANGLES,
        "t0_delays": firing_delays(ANGLES, PLACES),
        "time_to_next_transmit": np.full((n_frames, 3), 1 / 6000),
        "t_peak": np.array([peak]),
        "tx_waveform_indices": np.zeros(3, int),
    }
    with h5py.File(path, "w") as file:
        file["data/raw_data"] = np.stack(parts, axis=-1).astype(np.float32)
        for name, value in scan.items():
            file[f"scan/{name}"] = value
    return path


@pytest.mark.parametrize("n_channels", [1, 2])
def test_zea_comes_as_the_analytic_baseband_with_one_start_time(tmp_path, n_channels):
    path = write_zea(tmp_path / "data.hdf5", n_channels=n_channels)
    assert guess_format(path) == "zea"
    recording = open_recording(path)
    scan = recording.scan
    assert scan.start_time == pytest.approx(9.5e-6 - 0.27e-6)
    assert (scan.angles, scan.frame_rate) == (pytest.approx(ANGLES), pytest.approx(2000))
    assert (scan.n_elements, scan.pitch) == (N_ELEMENTS, pytest.approx(PITCH))
    check_block(recording)


def in_tracks(path, labels, **scan):
    """The layout of zea 0.1: tracks, each with data and scan, and the array's geometry in probe."""
    with h5py.File(path, "r+") as file:
        file["probe/probe_geometry"] = file["scan/probe_geometry"][()]
        del file["scan/probe_geometry"]
        for name, value in scan.items():
            del file[f"scan/{name}"]
            file[f"scan/{name}"] = value
        for index, label in enumerate(labels):
            track = file.create_group(f"tracks/track_{index}")
            for name in ("data", "scan"):
                file.copy(name, track)
            track["data/raw_data"][...] *= index + 1
            if label is not None:
                track["label"] = label
        del file["data"], file["scan"]
    return path


def test_zea_in_a_track_is_the_same_and_of_several_one_is_chosen(tmp_path):
    plain = open_recording(write_zea(tmp_path / "plain.hdf5", n_channels=1))
    path = in_tracks(write_zea(tmp_path / "track.hdf5", n_channels=1), [None])
    assert guess_format(path) == "zea"
    recording = open_recording(path)
    assert recording.scan == plain.scan
    np.testing.assert_array_equal(recording.read_block(0), plain.read_block(0))
    path = in_tracks(write_zea(tmp_path / "tracks.hdf5", n_channels=1), ["B-mode", "Doppler"])
    with pytest.raises(
        InputError, match=r"tracks\.hdf5: 2 tracks .* one of track_0 \(B-mode\), track_1 \(Doppler\)"
    ):
        open_recording(path)
    for asked in ("track_1", "Doppler"):
        second = open_recording(path, {"track": asked}).read_block(0)
        np.testing.assert_allclose(second, 2 * plain.read_block(0), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="expected the description's track to be one of"):
        open_recording(path, {"track": "M-mode"})


@pytest.mark.parametrize("n_frames", [1, 3])
@pytest.mark.parametrize("lacking", [0, 1])
def test_zea_frame_rate_needs_no_time_after_the_last_transmission(tmp_path, n_frames, lacking):
    """Pauses between frames; the last interval is stored as 0."""
    between = np.tile([1e-4, 1e-4, 3e-4], (n_frames, 1))
    if lacking:
        between[-1, -1] = 0
    path = in_tracks(
        write_zea(tmp_path / "track.hdf5", n_channels=1, n_frames=n_frames),
        [None],
        time_to_next_transmit=between,
    )
    rate = open_recording(path).scan.frame_rate
    assert rate is None if lacking and n_frames == 1 else rate == pytest.approx(2000)


def test_zea_samples_that_cannot_be_decompressed_are_named(tmp_path):
    path = in_tracks(write_zea(tmp_path / "track.hdf5", n_channels=1), [None])
    unknown = 32768 - 1  # a filter that nobody has; the chunk says that it was left out
    with h5py.File(path, "r+") as file:
        samples = file["tracks/track_0/data/raw_data"][()]
        del file["tracks/track_0/data/raw_data"]
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((1, *samples.shape[1:]))
        creation.set_filter(unknown, h5py.h5z.FLAG_OPTIONAL)
        group = file["tracks/track_0/data"].id
        space = h5py.h5s.create_simple(samples.shape)
        h5py.h5d.create(group, b"raw_data", h5py.h5t.IEEE_F32LE, space, creation)
    with pytest.raises(
        InputError, match=r"track\.hdf5: /tracks/track_0/data/raw_data .* filter 32767 that is not"
    ):
        open_recording(path)


def test_zea_without_a_time_of_the_peak_takes_the_users(tmp_path):
    path = write_zea(tmp_path / "data.hdf5", n_channels=1)
    with h5py.File(path, "r+") as file:
        del file["scan/t_peak"]
    check_block(open_recording(path, {"time_offset": -0.27e-6}))
    with pytest.raises(
        InputError, match=r"scan/t_peak is missing, expected it, or in the description time_offset"
    ):
        open_recording(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scan/sampling_frequency", None, "scan/sampling_frequency is missing, expected Hz"),
        ("scan/probe_geometry", None, r"scan/probe_geometry is missing, expected \(element, 3\), m"),
        ("scan/initial_times", np.zeros(2), "initial_times is 2 values, expected one for each of 3"),
        ("scan/polar_angles", np.zeros(3), "scan/polar_angles is .* as scan/t0_delays has it"),
        ("scan/t0_delays", np.ones((3, N_ELEMENTS)) * PLACES**2, "off those of a plane wave"),
        ("data/raw_data", np.zeros((2, 3, 9, 8)), r"raw_data of shape \(2, 3, 9, 8\), expected \(frame,"),
    ],
)
def test_what_a_zea_file_lacks_is_named(tmp_path, name, value, message):
    path = write_zea(tmp_path / "data.hdf5", n_channels=1)
    with h5py.File(path, "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value
    with pytest.raises(InputError, match=message):
        open_recording(path)


# ---------------------------------------------------------------- Deep-stULM's training set
def write_training_set(path, layout):
    generator = np.random.default_rng(3)
    correlation = generator.normal(size=(2, 7, 6, 5)).astype(np.float32)  # (part, z, x, frame)
    coordinates = generator.uniform(0, 5, size=(9, 4, 5))
    whole = correlation[0] + 1j * correlation[1]
    stored = {
        "parts_last": correlation.T,
        "parts_first": correlation.transpose(0, 3, 2, 1),
        "complex": whole.T,
    }
    with h5py.File(path, "w") as file:
        for number in ("1", "2", "10"):
            file[f"{number}/CorrMap"] = stored[layout] * int(number)
            file[f"{number}/ground_truth/coords"] = coordinates
    return correlation, coordinates


@pytest.mark.parametrize("layout", ["parts_last", "parts_first", "complex"])
def test_training_blocks_give_channels_and_coordinates(tmp_path, layout):
    path = tmp_path / "train.h5"
    correlation, coordinates = write_training_set(path, layout)
    assert guess_format(path) == "deep_stulm"
    assert count_training_blocks(path) == 3
    block = read_training_block(path, 1)
    np.testing.assert_allclose(block.correlation, 2 * correlation.transpose(0, 3, 1, 2), rtol=1e-6)
    assert block.position.shape == (45, 3)
    # Bubble 4 in frame 2: z, y, x and time are rows of the middle axis.
    assert block.position[4 * 5 + 2] == pytest.approx(coordinates[4, [2, 1, 0], 2])
    assert block.time[4 * 5 + 2] == coordinates[4, 3, 2]
    with pytest.raises(InputError, match=r"train\.h5: group 4/CorrMap is missing"):
        read_training_block(path, 3)
    with pytest.raises(InputError, match="no recording, expected read_training_block"):
        open_recording(path)
