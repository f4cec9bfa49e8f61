"""What is wrong with a block, a first look at it, and what `inspect` prints."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_files import Cell, verasonics_workspace, write_v7, write_v73

from ulmpipe.errors import InputError
from ulmpipe.io.recordings import (
    describe,
    dynamic_range,
    examine_block,
    open_recording,
    quick_look,
)
from ulmpipe.io.recordings.inspection import FLOOR_DB


def block_of_noise(n_frames=6, shape=(5, 4)):
    generator = np.random.default_rng(1)
    size = (n_frames, *shape)
    return (generator.normal(size=size) + 1j * generator.normal(size=size)).astype(np.complex64)


# ---------------------------------------------------------------- quality
def test_a_block_of_noise_is_flawless():
    assert examine_block(block_of_noise()).flawless


def test_each_flaw_is_counted_where_it_is():
    block = block_of_noise()
    block[1] = 0
    block[3] = 2 + 1j
    block[4, 0, :2] = np.nan
    block[5, 1, 1] = np.inf
    block[2, 2, :3] = 50  # clipped
    quality = examine_block(block)
    assert quality.dropped_frames == (1, 3)
    assert quality.not_finite == pytest.approx(3 / 120)
    assert quality.saturated == pytest.approx(3 / 120)
    assert quality.repeated_frames == ()
    assert not quality.flawless


def test_frames_without_a_finite_sample_are_dropped_and_copies_repeated():
    block = block_of_noise()
    block[0] = np.nan
    block[3] = block[2]
    block[4] = block[2]
    quality = examine_block(block)
    assert quality.dropped_frames == (0,)
    assert quality.repeated_frames == (3, 4)


def test_a_hole_that_other_frames_do_not_have_is_damage():
    block = block_of_noise(16, shape=(20, 100))
    block[:, 4] = 0  # an element without a cable
    block[:, 7, ::3] = 0  # weak signals as whole numbers
    assert examine_block(block).flawless
    block[2, 9:].flat[50:900] = 0
    block[3] = 0
    quality = examine_block(block)
    assert (quality.torn_frames, quality.dropped_frames) == ((2,), (3,))
    assert not quality.flawless


def test_samples_of_one_frame_beyond_reason_are_damage():
    block = block_of_noise()
    block[2] *= 300  # 50 dB: a reflector that passes
    assert examine_block(block).absurd_frames == ()
    block[4, 1, 1] = 1e20
    assert examine_block(block).absurd_frames == (4,)


def test_no_frame_is_absurd_beside_silence():
    block = np.zeros((3, 4), np.complex64)
    block[1] = [1, 2, 3, 4]
    assert examine_block(block).absurd_frames == ()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_integers_are_clipped_at_the_limits_of_their_type(n_high, n_low):
    block = np.random.default_rng(0).integers(-1000, 1000, size=(3, 5, 40)).astype(np.int16)
    block[0].flat[:n_high] = 32767
    block[2].flat[:n_low] = -32768
    assert examine_block(block).saturated == pytest.approx((n_high + n_low) / 600)


def test_full_scale_is_the_converters_if_it_is_given():
    block = np.random.default_rng(0).integers(-1000, 1000, size=(3, 200)).astype(np.int16)
    block[1, :6] = [8191, -8191, 8190, -8190, 8191, 8191]  # 14 bits in 16
    assert examine_block(block).saturated == 0
    assert examine_block(block, full_scale=8191).saturated == pytest.approx(4 / 600)


def test_the_one_largest_sample_is_not_clipped():
    block = block_of_noise()
    block[0, 0, 0] = 100
    assert examine_block(block).saturated == 0


# ---------------------------------------------------------------- a first look
def test_the_dynamic_range_is_from_the_weak_end_to_the_peak():
    moduli = np.concatenate([np.full(980, 1e-3), np.full(20, 0.0), [10.0, np.nan]])
    assert dynamic_range(moduli) == pytest.approx(80)
    assert dynamic_range(np.zeros(4)) == 0


def test_the_first_image_is_the_mean_power_below_its_peak(tmp_path):
    images = np.ones((4, 3, 2), np.complex64) * np.array([1, 0.1, 0])[:, None]  # (frame, z, x), equal frames
    images[..., 1] *= 1j
    write_v7(tmp_path / "block.mat", {"IQ": images.transpose(1, 2, 0)})
    look = quick_look(open_recording(tmp_path / "block.mat"))
    np.testing.assert_allclose(look, [[0, 0], [-20, -20], [FLOOR_DB, FLOOR_DB]], atol=1e-4)


def test_the_first_image_of_channel_data_has_the_echo_of_the_straight_wave(tmp_path):
    path = tmp_path / "run.mat"
    write_v73(path, verasonics_workspace(mode="BS100BW", scatterer=(0, 6e-3), angles=(-0.2, 0.0, 0.1)))
    recording = open_recording(path)
    look = quick_look(recording)
    assert look.shape == (64, 8)
    assert look.max() == 0
    scan = recording.scan
    places = (np.arange(8) - 3.5) * 0.1e-3
    delays = (6e-3 + np.hypot(places, 6e-3)) / scan.speed_of_sound
    expected = (delays - scan.start_time) * scan.sampling_frequency
    assert np.abs(np.argmax(look, axis=0) - expected).max() <= 0.6


# ---------------------------------------------------------------- inspect
def test_describe_tells_format_arrays_rates_and_dynamic_range(tmp_path):
    path = tmp_path / "run.mat"
    write_v73(path, verasonics_workspace(mode="BS100BW"))
    text = describe(path)
    for part in (
        "format: verasonics",
        "RcvData{1} (448, 8, 2) int16",
        "1 blocks of channel_data (frame, angle, element, time): (2, 3, 8, 64)",
        "sampling_frequency: 1.5625e+07 Hz",
        "angles: -2.86, 0, 2.86 degrees",
        "pitch: 0.0001 m",
        "dynamic range of block 0: ",
    ):
        assert part in text
    decibels = float(text.split("dynamic range of block 0: ")[1].split(" dB")[0])
    assert decibels == pytest.approx(dynamic_range(open_recording(path).read_block(0)), abs=0.06)


def test_describe_tells_what_keeps_a_file_from_being_opened(tmp_path):
    workspace = verasonics_workspace(mode="BS100BW")
    write_v73(tmp_path / "bare.mat", {"RcvData": Cell([workspace["RcvData"][0]])})
    text = describe(tmp_path / "bare.mat")
    assert "RcvData{1} (448, 8, 2) int16" in text
    assert "not to be opened as it is: " in text
    assert "Receive is missing" in text
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    text = describe(tmp_path / "a.npy")
    assert "format: unknown" in text
    assert "(3, 2) float64" in text
    with pytest.raises(InputError, match="no such file"):
        describe(tmp_path / "nothing.npy")


def test_describe_of_a_damaged_file_is_words_not_a_traceback(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(10_000)
    path.write_bytes(path.read_bytes()[:3000])
    assert "cannot be read" in describe(path)


def test_a_set_of_very_many_arrays_is_not_listed_to_its_end(tmp_path):
    with h5py.File(tmp_path / "train.h5", "w") as file:
        for number in range(1, 101):
            file[f"{number}/CorrMap"] = np.zeros((2, 3, 4, 2))
            file[f"{number}/ground_truth/coords"] = np.zeros((1, 4, 2))
    text = describe(tmp_path / "train.h5")
    assert "format: deep_stulm" in text
    assert "100 training blocks" in text
    assert len(text.splitlines()) < 50
