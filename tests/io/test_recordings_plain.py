"""Arrays without a layout and the YAML file that describes them; files, patterns, descriptions; memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import yaml
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_files import WRITERS, expected_baseband, gaussian_echo

from ulmpipe.errors import InputError
from ulmpipe.io.recordings import guess_format, open_recording
from ulmpipe.io.recordings.description import ScanFacts, read_description
from ulmpipe.io.recordings.recording import natural_order

AXES = ("block", "frame", "angle", "element", "time")
LENGTHS = {"block": 3, "frame": 2, "angle": 2, "element": 4, "time": 16}
WORDS = {
    "kind": "channel_data",
    "axes": list(AXES),
    "units": {"length": "mm", "time": "us", "frequency": "MHz", "angle": "deg", "speed": "m/s"},
    "sampling_frequency": 15.625,
    "demodulation_frequency": 15.625,
    "start_time": 8.4,
    "angles": [-1, 1],
    "pitch": 0.1,
    "speed_of_sound": 1540,
    "frame_rate": 1000,
}
IMAGE_WORDS = {
    "kind": "iq",
    "axes": ["frame", "z", "x"],
    "units": {"length": "um"},
    "spacing": {"z": 25, "x": 50},
    "origin": {"z": 6000, "x": -400},
    "frame_rate": 1000,
}


def numbers(shape, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


def save(path, array, words):
    """The array in the file's own way, the YAML beside it."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, other=np.zeros(3), echoes=array)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["scan/echoes"], file["scan/other"] = array, np.zeros(3)
    elif path.suffix == ".zarr":
        group = zarr.open_group(path, mode="w")
        group.create_array("echoes", data=array)
        group.create_array("other", data=np.zeros(3))
    else:
        scipy.io.savemat(path, {"echoes": array})
    dataset = {".h5": "/scan/echoes", ".npz": "echoes", ".zarr": "echoes", ".mat": "echoes"}.get(path.suffix)
    words = words if dataset is None else {**words, "dataset": dataset}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(words))
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.zarr", "a.mat"])
def test_every_container_gives_the_same_blocks(tmp_path, name):
    samples = numbers([LENGTHS[axis] for axis in AXES])
    path = save(tmp_path / name, samples, WORDS)
    assert guess_format(path) == "plain"
    recording = open_recording(path)
    assert (recording.n_blocks, recording.block_shape) == (3, (2, 2, 4, 16))
    for index in range(3):
        np.testing.assert_array_equal(recording.read_block(index), samples[index])
    assert recording.scan == ScanFacts(
        sampling_frequency=15.625e6,
        demodulation_frequency=15.625e6,
        start_time=pytest.approx(8.4e-6),
        angles=pytest.approx((-np.pi / 180, np.pi / 180)),
        speed_of_sound=1540,
        n_elements=4,
        pitch=pytest.approx(0.1e-3),
        frame_rate=1000,
    )


def test_a_matlab_7_3_array_has_the_axes_that_matlab_shows(tmp_path):
    images = numbers((5, 4, 3))
    WRITERS["7.3"](tmp_path / "a.mat", {"echoes": images})
    words = {**IMAGE_WORDS, "axes": ["z", "x", "frame"], "dataset": "echoes"}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(words))
    block = open_recording(tmp_path / "a.mat").read_block(0)
    np.testing.assert_array_equal(block, images.transpose(2, 0, 1))


@settings(max_examples=20, deadline=None)
@given(axes=st.permutations(AXES), parts=st.booleans())
def test_axes_may_be_in_any_order_and_parts_apart(tmp_path_factory, axes, parts):
    samples = numbers([LENGTHS[axis] for axis in AXES])
    stored = samples.transpose([AXES.index(axis) for axis in axes])
    words = {**WORDS, "axes": list(axes)}
    if parts:  # as the pipeline's own stores have them, or in front
        position = len(axes) // 2
        stored = np.stack([stored.real, stored.imag], axis=position)
        words["axes"] = [*axes[:position], "part", *axes[position:]]
    path = save(tmp_path_factory.mktemp("plain") / "a.npy", stored, words)
    recording = open_recording(path)
    np.testing.assert_array_equal(np.array(list(recording.blocks())), samples)


def test_a_single_wave_and_a_single_frame_need_no_axes(tmp_path):
    samples = numbers((4, 16))
    words = {**WORDS, "axes": ["element", "time"], "angles": [0]}
    recording = open_recording(save(tmp_path / "a.npy", samples, words))
    assert recording.block_shape == (1, 1, 4, 16)
    np.testing.assert_array_equal(recording.read_block(0)[0, 0], samples)


def test_images_have_spacing_and_origin(tmp_path):
    images = numbers((6, 5, 4))
    recording = open_recording(save(tmp_path / "a.npy", images, IMAGE_WORDS), {"frames_per_block": 2})
    assert (recording.kind, recording.n_blocks, recording.block_shape) == ("iq", 3, (2, 5, 4))
    np.testing.assert_array_equal(recording.read_block(2), images[4:])
    scan = recording.scan
    assert (scan.spacing_z, scan.spacing_x) == pytest.approx((25e-6, 50e-6))
    assert (scan.origin_z, scan.origin_x) == pytest.approx((6e-3, -0.4e-3))


ECHO = {"frequency": 15e6, "bandwidth": 4e6}


def test_radio_frequency_becomes_the_analytic_baseband(tmp_path):
    time = 8.4e-6 + np.arange(256) / 62.5e6
    delays = 10.3e-6 + np.arange(4)[:, None] * 20e-9
    rf = 1000 * gaussian_echo(time, delays, **ECHO).real
    words = {**WORDS, "axes": ["element", "time"], "angles": [0], "samples": "rf", "sampling_frequency": 62.5}
    path = save(tmp_path / "a.npy", np.rint(rf).astype(np.int16), words)
    recording = open_recording(path)
    assert recording.scan.sampling_frequency == pytest.approx(31.25e6)
    time = 8.4e-6 + np.arange(128) / 31.25e6
    expected = 1000 * expected_baseband(time, delays, demodulation_frequency=15.625e6, **ECHO)
    np.testing.assert_allclose(recording.read_block(0)[0, 0], expected, atol=3)


def test_a_phase_that_counts_from_the_first_sample_is_turned(tmp_path):
    time = 8.413e-6 + np.arange(64) / 15.625e6
    echo = gaussian_echo(time, 10.3e-6, **ECHO)
    stored = echo * np.exp(-2j * np.pi * 15.625e6 * (time - time[0]))
    words = {**WORDS, "axes": ["element", "time"], "angles": [0], "start_time": 8.413}
    path = save(tmp_path / "a.npy", stored[None], {**words, "phase_reference": "first_sample"})
    expected = expected_baseband(time, 10.3e-6, demodulation_frequency=15.625e6, **ECHO)
    np.testing.assert_allclose(open_recording(path).read_block(0)[0, 0, 0], expected, atol=1e-5)


# ---------------------------------------------------------------- words
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"kind": None}, "kind is missing, expected it in a file a.yaml beside it or in the description"),
        ({"kind": "rf"}, "kind is 'rf', expected one of channel_data, iq"),
        ({"axes": None}, "axes is missing"),
        (
            {"axes": ["frame", "element", "z"]},
            "expected an order of some of block, frame, angle, element, time",
        ),
        (
            {"axes": ["frame", "angle", "element", "time"]},
            r"array of shape \(3, 2, 2, 4, 16\), expected the 4 axes",
        ),
        ({"frame_rate": None}, "frame_rate is missing, expected it in a.yaml or in the description, Hz"),
        ({"units": None}, r"a\.yaml: units: frequency is missing, expected one of Hz, kHz, MHz"),
        ({"units": {"length": "inch"}}, "units: length is 'inch', expected one of m, mm, um"),
        ({"pitch": 100}, r"pitch is 0\.1, expected 1e-06 to 0\.01 m"),  # micrometres as millimetres
        ({"demodulation_frequency": "1e1"}, "demodulation_frequency is '1e1', expected a number"),
        ({"angles": [-1, 0, 1]}, "3 angles for samples of 2, expected as many"),
        ({"n_elements": 5}, "n_elements is 5 for samples of 4, expected as many"),
        ({"pich": 0.1}, r"a\.yaml: pich is no word of this format, expected some of"),
        ({"samples": "iq"}, "samples is 'iq', expected complex, or rf"),
        ({"phase_reference": "noon"}, "phase_reference is 'noon', expected firing or first_sample"),
    ],
)
def test_every_mistake_of_the_words_is_one_line(tmp_path, words, message):
    changed = {name: value for name, value in {**WORDS, **words}.items() if value is not None}
    path = save(tmp_path / "a.npy", numbers([LENGTHS[axis] for axis in AXES]), changed)
    with pytest.raises(InputError, match=message) as caught:
        open_recording(path, {"format": "plain"})
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_yaml_or_no_mapping_is_named(tmp_path):
    path = save(tmp_path / "a.npy", numbers((2, 2)), WORDS)
    path.with_suffix(".yaml").write_text("kind: [channel_data")
    with pytest.raises(InputError, match=r"a\.yaml: not valid YAML"):
        open_recording(path)
    path.with_suffix(".yaml").write_text("- kind")
    with pytest.raises(InputError, match=r"a\.yaml: list, expected lines such as kind"):
        open_recording(path)


def test_the_description_may_say_it_all_or_the_rest_but_nothing_else(tmp_path):
    samples = numbers([LENGTHS[axis] for axis in AXES])
    np.save(tmp_path / "a.npy", samples)
    with pytest.raises(InputError, match=r"none of the known layouts, expected a file a\.yaml beside it"):
        open_recording(tmp_path / "a.npy")
    recording = open_recording(tmp_path / "a.npy", {"format": "plain", **WORDS})
    np.testing.assert_array_equal(recording.read_block(1), samples[1])
    save(tmp_path / "a.npy", samples, WORDS)
    with pytest.raises(InputError, match=r"frame_rate is 1000\.0 in the file and 900\.0 in the description"):
        open_recording(tmp_path / "a.npy", {"frame_rate": 900})
    with pytest.raises(InputError, match="kind is 'channel_data' in the file beside it and 'iq' in the"):
        open_recording(tmp_path / "a.npy", {"kind": "iq"})


def test_a_dataset_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    path = save(tmp_path / "a.h5", numbers([LENGTHS[axis] for axis in AXES]), WORDS)
    words = yaml.safe_load(path.with_suffix(".yaml").read_text())
    path.with_suffix(".yaml").write_text(yaml.safe_dump({**words, "dataset": "echoes"}))
    with pytest.raises(InputError, match="dataset is 'echoes', expected one of scan/echoes, scan/other"):
        open_recording(path)


def test_units_bring_every_quantity_to_si():
    words = {
        "units": {"length": "um", "time": "ns", "frequency": "kHz", "angle": "deg", "speed": "mm/us"},
        "pitch": 100,
        "origin": {"z": 8000},
        "start_time": 8400,
        "demodulation_frequency": 15625,
        "bandwidth": 9000,
        "time_offset": -50,
        "angles": 90 / np.pi,
        "speed_of_sound": 1.54,
        "frame_rate": 1000,
        "frames_per_block": 200,
    }
    description = read_description(words, source="words")
    assert description.facts == ScanFacts(
        pitch=pytest.approx(1e-4),
        origin_z=pytest.approx(8e-3),
        start_time=pytest.approx(8.4e-6),
        demodulation_frequency=15.625e6,
        angles=pytest.approx((0.5,)),
        speed_of_sound=1540,
        frame_rate=1000,
    )
    assert (description.bandwidth, description.frames_per_block) == (9e6, 200)
    assert description.time_offset == pytest.approx(-50e-9)


def test_a_yaml_file_for_something_else_does_not_make_a_known_layout_plain(tmp_path):
    WRITERS["7"](tmp_path / "block.mat", {"IQ": numbers((2, 3, 4))})
    (tmp_path / "recording.yaml").write_text("speed_of_sound: 1540")
    assert guess_format(tmp_path / "block.mat") == "pala"
    (tmp_path / "block.yaml").write_text(yaml.safe_dump({**IMAGE_WORDS, "axes": ["z", "x", "frame"]}))
    assert guess_format(tmp_path / "block.mat") == "plain"


# ---------------------------------------------------------------- files
def test_numbers_in_names_count_as_numbers():
    names = ["b_10.mat", "b_2.mat", "b_1.mat", "a_3.mat", "b_02_9.mat"]
    assert sorted(names, key=natural_order) == ["a_3.mat", "b_1.mat", "b_2.mat", "b_02_9.mat", "b_10.mat"]


def test_a_pattern_with_one_yaml_file_for_the_folder(tmp_path):
    for number in (1, 2, 10):
        np.save(tmp_path / f"block_{number}.npy", np.full((2, 3, 4), number + 0j))
    (tmp_path / "recording.yaml").write_text(yaml.safe_dump(IMAGE_WORDS))
    recording = open_recording(str(tmp_path / "block_*.npy"))
    assert [block[0, 0, 0].real for block in recording.blocks()] == [1, 2, 10]
    with pytest.raises(InputError, match=r"block_\*\.npy: block 3, expected 0 to 2"):
        recording.read_block(3)


def test_a_missing_file_or_pattern_and_an_unknown_format_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing_\*\.mat: no such file"):
        open_recording(tmp_path / "nothing_*.mat")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(
        InputError, match=r"notes\.txt: not a recording known here, expected one of verasonics"
    ):
        open_recording(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="format is 'dicom', expected one of verasonics"):
        open_recording(tmp_path / "notes.txt", {"format": "dicom"})
    with pytest.raises(InputError, match=r"notes\.txt: not a MATLAB file"):
        open_recording(tmp_path / "notes.txt", {"format": "pala"})


@pytest.mark.parametrize("name", ["a.h5", "a.npy", "a.zarr"])
def test_no_more_than_a_block_is_in_memory(tmp_path: Path, name):
    images = np.zeros((64, 8, 64, 64), np.complex64)  # 64 blocks of 0.26 MB
    words = {**IMAGE_WORDS, "axes": ["block", "frame", "z", "x"]}
    path = tmp_path / name
    if name == "a.zarr":
        group = zarr.open_group(path, mode="w")
        group.create_array("echoes", shape=images.shape, chunks=(1, 8, 64, 64), dtype="complex64")[:] = images
        path.with_suffix(".yaml").write_text(yaml.safe_dump(words))
    else:
        save(path, images, words)
    recording = open_recording(path)
    recording.read_block(0)
    tracemalloc.start()
    try:
        for block in recording.blocks():
            assert block.shape == (8, 64, 64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * images[0].nbytes  # of 64
