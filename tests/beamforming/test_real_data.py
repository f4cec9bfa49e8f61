"""A scanner's recording of a rotating disk: our images beside PyMUST's, and the disk's own known velocities.

The recording, PWI_disk.mat of the PyMUST repository (its examples/data), is no part of its package: it is looked for
beside the other references (ULMPIPE_REFERENCE). The functions under test are those of examples/rotating_disk.py.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ulmpipe.doppler import doppler_velocity, nyquist_velocity
from ulmpipe.errors import InputError

pytest.importorskip("pymust")

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = Path(os.environ.get("ULMPIPE_REFERENCE", ROOT.parent / "shared" / "reference"))
RECORDING = REFERENCE / "PWI_disk.mat"
needs_recording = pytest.mark.skipif(
    not RECORDING.exists(), reason=f"no recording at {RECORDING}; set ULMPIPE_REFERENCE"
)


def load_example():
    spec = importlib.util.spec_from_file_location("rotating_disk", ROOT / "examples" / "rotating_disk.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


disk = load_example()


@pytest.fixture(scope="module")
def recording():
    return disk.read_recording(RECORDING)


@pytest.fixture(scope="module")
def grid():
    return disk.image_grid(0.25e-3)


@pytest.fixture(scope="module")
def settings(recording):
    return {"f_number": disk.pymust_f_number(recording)}


@pytest.fixture(scope="module")
def their_iq(recording):
    return disk.pymust_iq_samples(recording)


@pytest.fixture(scope="module")
def theirs(recording, grid, settings, their_iq):
    return disk.pymust_beamform(their_iq, recording, grid, **settings)


@pytest.fixture(scope="module")
def ours(recording, grid, settings):
    return disk.beamform(disk.iq_samples(recording), recording, grid, **settings)


@pytest.fixture(scope="module")
def inside(theirs, grid):
    return disk.inside_disk(disk.disk_center(theirs, grid), grid)


@needs_recording
def test_with_the_same_interpolation_the_images_are_pymusts(
    recording, grid, settings, their_iq, theirs, inside
):
    plain = disk.beamform(their_iq, recording, grid, oversampling=1, **settings)
    found = disk.difference(plain, theirs, recording, inside)
    assert found.iq < 1e-3  # measured 3.1e-4, the limit of PyMUST's transmit distances
    assert found.b_mode_db < 0.005
    assert found.velocity < 1e-5


@needs_recording
def test_oversampling_is_what_is_left_and_pymusts_quadratic_interpolation_confirms_it(
    recording, grid, settings, their_iq, theirs, inside
):
    fine = disk.beamform(their_iq, recording, grid, **settings)
    assert 0.003 < disk.difference(fine, theirs, recording, inside).iq < 0.006  # 4.7e-3
    quadratic = disk.pymust_beamform(their_iq, recording, grid, method="quadratic", **settings)
    assert disk.difference(fine, quadratic, recording, inside).iq < 0.0015  # 9.5e-4


@needs_recording
def test_demodulated_by_our_own_filter_the_images_and_velocities_stay(recording, ours, theirs, inside):
    found = disk.difference(ours, theirs, recording, inside)
    assert found.iq < 0.006  # 4.9e-3
    assert found.b_mode_db < 0.1  # 0.067
    assert found.velocity < 3e-4  # 1.6e-4 of the Nyquist velocity


@needs_recording
def test_the_disk_turns_rigidly_about_its_centre(recording, grid, ours, inside):
    velocity = doppler_velocity(ours, **recording.doppler_settings)
    rotation = disk.fit_rotation(velocity, grid, inside)
    assert rotation.correlation > 0.995  # 0.9986
    assert rotation.residual < 0.03 * nyquist_velocity(**recording.doppler_settings)  # 0.02
    # The axis by the velocities and the centre by the echoes are two measurements.
    assert rotation.axis == pytest.approx(disk.disk_center(ours, grid)[0], abs=0.15e-3)
    depth = np.broadcast_to(grid.z[:, None], inside.shape)[inside]
    line = -rotation.rate * (np.broadcast_to(grid.x, inside.shape)[inside] - rotation.axis)
    assert abs(np.polyfit(depth, velocity[inside] - line, 1)[0]) < 0.02 * rotation.rate


@needs_recording
def test_the_speckle_turns_as_fast_as_the_velocities_say(recording, grid, ours, inside):
    from scipy.ndimage import map_coordinates

    velocity = doppler_velocity(ours, **recording.doppler_settings)
    rotation = disk.fit_rotation(velocity, grid, inside)
    x, z = disk.disk_center(ours, grid)
    angle = np.arange(0, 2 * np.pi, 2 * np.pi / 1440)
    radius = np.arange(3e-3, 9e-3, 0.2e-3)[:, None]
    step, lag = grid.x[1] - grid.x[0], 8
    places = [
        (z + radius * np.sin(angle) - grid.z[0]) / step,
        (x + radius * np.cos(angle) - grid.x[0]) / step,
    ]
    correlation = 0.0
    for frame in range(0, len(ours) - lag, 4):
        pair = [map_coordinates(np.abs(ours[frame + after]), places, order=3) for after in (0, lag)]
        first, second = (np.fft.fft(part - part.mean(axis=1, keepdims=True)) for part in pair)
        correlation = correlation + np.fft.ifft((second * first.conj()).sum(axis=0)).real
    turned = (np.argmax(correlation) + 720) % 1440 - 720
    # Both run from x to z. Speckle is the point spread's shape too, which does not turn with the disk.
    rate = turned * (angle[1] - angle[0]) * recording.pulse_repetition_frequency / lag
    assert rate == pytest.approx(rotation.rate, rel=0.12)


@needs_recording
def test_the_figure_is_drawn(recording, grid, ours, theirs, tmp_path):
    disk.save(disk.draw(ours, theirs, recording, grid), tmp_path / "disk.png")
    assert (tmp_path / "disk.png").stat().st_size > 10_000


def test_a_missing_recording_is_named():
    with pytest.raises(InputError, match=r"--data: nowhere\.mat, expected PWI_disk\.mat"):
        disk.read_recording(Path("nowhere.mat"))
