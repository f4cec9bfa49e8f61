"""Verasonics workspaces, of both MATLAB versions: a point's echoes must come back as the analytic baseband."""

from __future__ import annotations

import numpy as np
import pytest
from recording_files import (
    SPEED,
    WRITERS,
    Cell,
    echo_delays,
    element_places,
    expected_baseband,
    verasonics_workspace,
)

from ulmpipe.acoustics import PlaneWaves, Probe
from ulmpipe.beamforming import Grid, delay_and_sum
from ulmpipe.errors import InputError
from ulmpipe.io.recordings import guess_format, open_recording

SCATTERER, ANGLES = (0.25e-3, 6e-3), np.array([-0.05, 0.0, 0.05])
# Echoes that fit each mode's band (Hz), with the samples that span them.
MODES = {
    "NS200BW": (4e6, 256),
    "BS100BW": (3e6, 128),
    "BS67BW": (2.2e6, 96),
    "BS50BW": (1.4e6, 64),
}
TOLERANCE = 3e-3  # of the echo's peak: the filters' pass band, the interpolator and 16-bit rounding


def write(path, version="7.3", **changes):
    workspace = verasonics_workspace(**changes)
    WRITERS[version](path, workspace)
    return path


def expected_block(recording, *, bandwidth, amplitude=8000.0, frames=(0, 1)):
    places = element_places(recording.block_shape[2], 0.1e-3)
    scan = recording.scan
    time = scan.start_time + np.arange(recording.block_shape[3]) / scan.sampling_frequency
    echoes = expected_baseband(
        time,
        echo_delays(SCATTERER, ANGLES, places)[..., None],
        frequency=15.625e6,
        bandwidth=bandwidth,
        demodulation_frequency=scan.demodulation_frequency,
    )
    return amplitude * np.array([1.1**frame * echoes for frame in frames])


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_comes_back_as_the_analytic_baseband(tmp_path, mode, version):
    bandwidth, n_samples = MODES[mode]
    path = write(
        tmp_path / "run.mat",
        version,
        mode=mode,
        scatterer=SCATTERER,
        angles=ANGLES,
        bandwidth=bandwidth,
        n_samples=n_samples,
    )
    assert guess_format(path) == "verasonics"
    recording = open_recording(path)
    assert (recording.kind, recording.n_blocks) == ("channel_data", 1)
    assert recording.block_shape == (2, 3, 8, n_samples // 2)
    block, expected = recording.read_block(0), expected_block(recording, bandwidth=bandwidth)
    assert np.abs(expected).max() > 7000  # the echo lies within the record
    np.testing.assert_allclose(block, expected, atol=TOLERANCE * 8800)


def test_the_file_says_the_whole_scan(tmp_path):
    scan = open_recording(write(tmp_path / "run.mat", mode="BS100BW", angles=ANGLES)).scan
    assert scan.sampling_frequency == pytest.approx(15.625e6)
    assert scan.demodulation_frequency == pytest.approx(15.625e6)
    assert scan.angles == pytest.approx(ANGLES)
    assert scan.speed_of_sound == SPEED
    assert (scan.n_elements, scan.pitch) == (8, pytest.approx(0.1e-3))
    # 100 periods of depth, less 3.2 of the pulse and twice 0.1 mm of the lens.
    assert scan.start_time == pytest.approx((100 - 3.2) / 15.625e6 - 0.2e-3 / SPEED)
    assert scan.frame_rate is None


def test_lengths_in_wavelengths_mean_the_same(tmp_path):
    one, other = (
        open_recording(write(tmp_path / f"{units}.mat", mode="NS200BW", units=units)).scan
        for units in ("mm", "wavelengths")
    )
    assert one.start_time == pytest.approx(other.start_time, abs=1e-12)
    assert one.pitch == pytest.approx(other.pitch)


def test_a_beamformed_point_is_where_it_was(tmp_path):
    """The angles' sign, the elements' order and t = 0 at once, through the pipeline's own beamformer."""
    point = (0.9e-3, 6e-3)
    path = write(
        tmp_path / "run.mat",
        mode="BS100BW",
        scatterer=point,
        angles=(-0.1, 0.1),
        n_elements=32,
        n_frames=1,
    )
    recording = open_recording(path)
    scan = recording.scan
    probe = Probe(
        n_elements=scan.n_elements,
        pitch=scan.pitch,
        width=0.08e-3,
        height=1.5e-3,
        elevation_focus=8e-3,
        center_frequency=15.625e6,
        bandwidth=0.67,
    )
    step = 10e-6
    grid = Grid(x=np.arange(0.6e-3, 1.2e-3, step), z=np.arange(5.85e-3, 6.15e-3, step))
    image = np.abs(
        delay_and_sum(
            recording.read_block(0),
            grid,
            probe,
            PlaneWaves(angles=scan.angles, transmit_frequency=15.625e6, n_cycles=2),
            start_time=scan.start_time,
            sampling_frequency=scan.sampling_frequency,
            demodulation_frequency=scan.demodulation_frequency,
            speed_of_sound=scan.speed_of_sound,
            backend="cpu",
        )[0]
    )
    z, x = np.unravel_index(np.argmax(image), image.shape)
    assert (grid.x[x], grid.z[z]) == pytest.approx(point, abs=step)
    assert image.max() > 0.95 * 8000  # all elements and angles in phase


def test_elements_are_sorted_from_left_to_right_by_channel_and_place(tmp_path):
    straight = open_recording(write(tmp_path / "straight.mat", mode="NS200BW")).read_block(0)
    connector = [3, 1, 8, 2, 5, 4, 7, 6]
    crossed = write(tmp_path / "crossed.mat", mode="NS200BW", connector=connector)
    np.testing.assert_array_equal(open_recording(crossed).read_block(0), straight)
    workspace = verasonics_workspace(mode="NS200BW", connector=connector)
    backwards = workspace["Trans"]
    backwards["ElementPos"] = backwards["ElementPos"][::-1]
    backwards["Connector"] = backwards["Connector"][::-1]
    for transmit in workspace["TX"]:
        transmit["Delay"] = transmit["Delay"][:, ::-1]
    WRITERS["7.3"](tmp_path / "backwards.mat", workspace)
    np.testing.assert_array_equal(open_recording(tmp_path / "backwards.mat").read_block(0), straight)


def test_a_frame_of_the_buffer_that_holds_many_images_is_a_block(tmp_path):
    path = write(
        tmp_path / "run.mat",
        mode="BS100BW",
        scatterer=SCATTERER,
        angles=ANGLES,
        n_repeats=6,
        n_frames=3,
        amplitude=4000.0,
    )
    recording = open_recording(path)
    assert (recording.n_blocks, recording.block_shape[0]) == (3, 6)
    for block in range(3):
        images = range(6 * block, 6 * block + 6)
        expected = expected_block(recording, bandwidth=3e6, amplitude=4000.0, frames=images)
        tolerance = TOLERANCE * 4000 * 1.1 ** images[-1]
        np.testing.assert_allclose(recording.read_block(block), expected, atol=tolerance)
    halves = open_recording(path, {"frames_per_block": 3})
    assert (halves.n_blocks, halves.block_shape[0]) == (6, 3)
    np.testing.assert_array_equal(halves.read_block(3), recording.read_block(1)[3:])
    with pytest.raises(InputError, match=r"run\.mat: frames_per_block is 4, expected a divisor of the 6"):
        open_recording(path, {"frames_per_block": 4})


@pytest.mark.parametrize("version", WRITERS)
def test_frames_come_in_the_order_in_which_they_were_recorded(tmp_path, version):
    """The buffer is filled in circles: of four frames the second is the newest, the third the oldest."""
    workspace = verasonics_workspace(mode="BS100BW", scatterer=SCATTERER, angles=ANGLES, n_frames=4)
    straight, path = tmp_path / "straight.mat", tmp_path / "run.mat"
    WRITERS[version](straight, workspace)
    workspace["RcvData"] = Cell([np.roll(workspace["RcvData"][0], 2, axis=2)])
    last = {"RcvBuffer": [{"numFrames": 9.0, "lastFrame": 9.0}, {"numFrames": 4.0, "lastFrame": 2.0}]}
    first = last["RcvBuffer"][1:]
    workspace["Resource"] |= {"RcvBuffer": first}
    WRITERS[version](path, workspace)
    np.testing.assert_array_equal(open_recording(path).read_block(0), open_recording(straight).read_block(0))
    # The second buffer's own.
    second = tmp_path / "second.mat"
    other = verasonics_workspace(mode="BS100BW", scatterer=SCATTERER, angles=ANGLES, n_frames=9)
    receive = [{**entry, "bufnum": 2.0} for entry in workspace["Receive"]]
    both = Cell([other["RcvData"][0], workspace["RcvData"][0]])
    resource = {**workspace["Resource"], **last}
    WRITERS[version](second, {**workspace, "RcvData": both, "Receive": receive, "Resource": resource})
    np.testing.assert_array_equal(
        open_recording(second, {"buffer": 2}).read_block(0), open_recording(straight).read_block(0)
    )


def test_the_last_frame_of_another_files_run_does_not_count(tmp_path):
    workspace = verasonics_workspace(mode="BS100BW", n_frames=4)
    WRITERS["7"](tmp_path / "straight.mat", workspace)
    WRITERS["7"](tmp_path / "block.mat", {"RcvData": workspace.pop("RcvData")})
    workspace["Resource"] |= {"RcvBuffer": {"numFrames": 4.0, "lastFrame": 2.0}}
    WRITERS["7"](tmp_path / "sequence.mat", workspace)
    recording = open_recording(tmp_path / "block.mat", {"metadata": str(tmp_path / "sequence.mat")})
    np.testing.assert_array_equal(
        recording.read_block(0), open_recording(tmp_path / "straight.mat").read_block(0)
    )


def test_acquisitions_that_are_summed_in_the_buffer_are_one(tmp_path):
    """Pulse inversion or averages: a second Receive of the same rows, in mode 1, adds to the first."""
    workspace = verasonics_workspace(mode="NS200BW", scatterer=SCATTERER, angles=ANGLES)
    WRITERS["7.3"](tmp_path / "plain.mat", workspace)
    plain = open_recording(tmp_path / "plain.mat")
    workspace["Receive"] = [
        {**receive, "mode": mode} for receive in workspace["Receive"] for mode in (0.0, 1.0)
    ]
    workspace["TX"] = [{**transmit} for transmit in workspace["TX"] for _ in range(2)]
    workspace["Event"] = [
        {"tx": index % 6 + 1.0, "rcv": index + 1.0} for index in range(len(workspace["Receive"]))
    ]
    WRITERS["7.3"](tmp_path / "sums.mat", workspace)
    sums = open_recording(tmp_path / "sums.mat")
    assert sums.scan == plain.scan
    np.testing.assert_array_equal(sums.read_block(0), plain.read_block(0))


def test_one_of_several_buffers_is_chosen_by_its_number(tmp_path):
    first, second = (verasonics_workspace(mode="BS100BW", amplitude=a) for a in (1000.0, 4000.0))
    both = {**first, "RcvData": Cell([first["RcvData"][0], second["RcvData"][0]])}
    both["Receive"] = first["Receive"] + [{**receive, "bufnum": 2.0} for receive in second["Receive"]]
    path = tmp_path / "run.mat"
    WRITERS["7.3"](path, both)
    with pytest.raises(InputError, match=r"RcvData has 2 buffers, expected the description to say which"):
        open_recording(path)
    WRITERS["7.3"](tmp_path / "second.mat", second)
    np.testing.assert_array_equal(
        open_recording(path, {"buffer": 2}).read_block(0),
        open_recording(tmp_path / "second.mat").read_block(0),
    )
    with pytest.raises(InputError, match="buffer is 3, expected 1 to 2"):
        open_recording(path, {"buffer": 3})


@pytest.mark.parametrize("version", WRITERS)
def test_events_say_which_transmission_goes_with_which_acquisition(tmp_path, version):
    workspace = verasonics_workspace(mode="NS200BW", scatterer=SCATTERER, angles=ANGLES, n_frames=1)
    plain = tmp_path / "plain.mat"
    WRITERS[version](plain, workspace)
    workspace["TX"] = [workspace["TX"][index] for index in (1, 2, 0)]
    angles = [transmit["Steer"][0, 0] for transmit in workspace["TX"]]
    sent = [angles.index(angle) + 1.0 for angle in ANGLES]
    workspace["Event"] = [
        {"info": "tx", "tx": sent[index], "rcv": index + 1.0, "recon": 0.0} for index in range(3)
    ] + [{"info": "recon", "tx": 0.0, "rcv": 0.0, "recon": 1.0}]
    path = tmp_path / "events.mat"
    WRITERS[version](path, workspace)
    assert open_recording(path).scan.angles == pytest.approx(ANGLES)
    np.testing.assert_array_equal(open_recording(path).read_block(0), open_recording(plain).read_block(0))


def test_the_structures_may_be_in_a_file_of_their_own(tmp_path):
    workspace = verasonics_workspace(mode="BS100BW")
    samples = {"RcvData": workspace.pop("RcvData")}
    for block in (1, 2, 10):
        scaled = Cell([(samples["RcvData"][0] // block).astype(np.int16)])
        WRITERS["7.3"](tmp_path / f"block_{block}.mat", {"RcvData": scaled})
    WRITERS["7"](tmp_path / "sequence.mat", workspace)
    with pytest.raises(InputError, match=r"block_1\.mat: Receive is missing, expected the struct Receive"):
        open_recording(tmp_path / "block_*.mat")
    recording = open_recording(tmp_path / "block_*.mat", {"metadata": str(tmp_path / "sequence.mat")})
    assert recording.n_blocks == 3
    strength = [np.abs(block).max() for block in recording.blocks()]
    assert strength == pytest.approx([strength[0], strength[0] / 2, strength[0] / 10], rel=0.01)


def test_channels_of_a_multiplexer_are_those_of_the_aperture(tmp_path):
    workspace = verasonics_workspace(mode="NS200BW")
    for receive in workspace["Receive"]:
        receive["aperture"] = 2.0
    table = np.zeros((8, 2))
    table[:, 1] = [1, 2, 3, 4, 0, 6, 7, 8]  # the fifth element is not received in the second aperture
    workspace["Trans"]["HVMux"] = {"Aperture": table}
    path = tmp_path / "run.mat"
    WRITERS["7.3"](path, workspace)
    block = open_recording(path).read_block(0)
    assert np.abs(block[:, :, 4]).max() == 0
    straight = open_recording(write(tmp_path / "straight.mat", mode="NS200BW")).read_block(0)
    kept = [0, 1, 2, 3, 5, 6, 7]
    np.testing.assert_array_equal(block[:, :, kept], straight[:, :, kept])


def changed(workspace, name, **fields):
    target = workspace[name]
    for struct in target if isinstance(target, list) else [target]:
        for field, value in fields.items():
            struct.pop(field) if value is None else struct.update({field: value})
    return workspace


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "TW",
            {"peak": None},
            "TW.peak is missing, expected it in the file, or start_time in the description",
        ),
        ("Trans", {"lensCorrection": None}, "Trans.lensCorrection is missing"),
        ("Trans", {"frequency": None}, "Trans.frequency is missing, expected a number"),
        ("Receive", {"startSample": None}, "Receive.startSample is missing, expected a number"),
        ("Receive", {"sampleMode": "NS200BWI"}, "sampleMode is NS200BWI, expected one of NS200BW"),
        ("Receive", {"demodFrequency": 12.0}, r"demodFrequency is 12.0 MHz, expected 15.625 for BS100BW"),
        ("Receive", {"bufnum": 7.0}, "Receive has nothing for buffer 1"),
        ("Trans", {"Connector": np.arange(2.0, 10.0)[:, None]}, "goes to channel 9, expected at most the 8"),
        ("Trans", {"ElementPos": np.zeros((8, 5))}, "element positions are 0 to 0 m apart, expected even"),
        (
            "Trans",
            {
                "ElementPos": np.column_stack(
                    [np.repeat([0.0, 1.0], 4), np.tile(np.arange(4.0), 2), np.zeros((8, 3))]
                )
            },
            r"elements lie up to 0\.003 m off a line, expected a linear array along x",
        ),
        ("TX", {"Steer": np.array([[0.3, 0.0]])}, r"Steer is 0.3 rad, expected -?0.05"),
        ("TX", {"Delay": np.arange(8.0)[None] ** 2}, "off those of a plane wave"),
    ],
)
def test_what_is_missing_or_contradicts_is_named_in_one_line(tmp_path, name, fields, message):
    path = tmp_path / "run.mat"
    WRITERS["7.3"](path, changed(verasonics_workspace(mode="BS100BW"), name, **fields))
    with pytest.raises(InputError, match=message) as caught:
        open_recording(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_words_of_the_description_fill_what_is_missing_and_must_agree_with_the_rest(tmp_path):
    path = tmp_path / "run.mat"
    WRITERS["7.3"](path, changed(verasonics_workspace(mode="BS100BW"), "TW", peak=None))
    assert open_recording(path, {"start_time": 6.1e-6}).scan.start_time == 6.1e-6
    whole = write(tmp_path / "whole.mat", mode="BS100BW")
    start = open_recording(whole).scan.start_time
    assert open_recording(whole, {"start_time": start, "frame_rate": 500}).scan.frame_rate == 500
    with pytest.raises(InputError, match=r"start_time is 6\.06\S+ in the file and 7e-06 in the description"):
        open_recording(whole, {"start_time": 7e-6})
    with pytest.raises(InputError, match=r"speed_of_sound is 1540\.0 in the file and 1480\.0 in the desc"):
        open_recording(whole, {"speed_of_sound": 1480})
    later = open_recording(whole, {"time_offset": 20e-9})
    assert later.scan.start_time == pytest.approx(start + 20e-9, abs=1e-15)
    turn = np.exp(-2j * np.pi * 15.625e6 * 20e-9)  # the phase counts from the same t = 0
    np.testing.assert_allclose(later.read_block(0), turn * open_recording(whole).read_block(0), atol=1e-2)


# ---------------------------------------------------------------- images
def image_workspace(images):
    workspace = {
        "Trans": {"frequency": 15.0, "units": "mm"},
        "Resource": {"Parameters": {"speedOfSound": 1500.0}},
        "PData": {"PDelta": np.array([[0.5, 0.0, 0.25]]), "Origin": np.array([[-32.0, 0.0, 40.0]])},
    }
    return workspace | images


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("parts", [1, 2])
def test_images_come_with_the_pixels_of_pdata(tmp_path, version, parts):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(5, 4, 1, 3)) + 1j * generator.normal(size=(5, 4, 1, 3))
    stored = {"IQData": Cell([images])}
    if parts == 2:
        stored = {"IData": Cell([images.real.copy()]), "QData": Cell([images.imag.copy()])}
    path = tmp_path / "images.mat"
    WRITERS[version](path, image_workspace(stored))
    recording = open_recording(path)
    assert (recording.kind, recording.block_shape) == ("iq", (3, 5, 4))
    np.testing.assert_allclose(recording.read_block(0), images[:, :, 0].transpose(2, 0, 1), rtol=1e-6)
    scan = recording.scan  # a wavelength is 0.1 mm
    assert (scan.spacing_z, scan.spacing_x) == pytest.approx((25e-6, 50e-6))
    assert (scan.origin_z, scan.origin_x) == pytest.approx((4e-3, -3.2e-3))
    assert scan.demodulation_frequency == 15e6


@pytest.mark.parametrize("version", WRITERS)
def test_pages_of_a_buffer_frame_are_a_block_of_images(tmp_path, version):
    images = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5) + 0j  # (z, x, page, frame)
    path = tmp_path / "images.mat"
    WRITERS[version](path, image_workspace({"IQData": images}))
    recording = open_recording(path)
    assert (recording.n_blocks, recording.block_shape) == (5, (4, 2, 3))
    for block in range(5):
        np.testing.assert_array_equal(
            recording.read_block(block), images[..., block].transpose(2, 0, 1).astype(np.complex64)
        )
