"""Where a lone bubble comes back: in its place but for the elevation lens, whose group delay is told apart.

Probe and pulse are those of config/config.yaml. The elevation factor G delays the envelope by d arg G / dk: in the
image plane by nothing at the elevation focus, and nearer or farther by micrometres, which the beamformer can correct.
"""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import (
    PlaneWaves,
    Probe,
    apparent_depth,
    elevation_gain,
    simulate_channel_data,
    simus_reference,
)
from ulmpipe.acoustics.receiver import receive_window
from ulmpipe.beamforming import Grid, delay_and_sum

FREQUENCY = 15.625e6
SPEED = 1540.0
PIXEL = 25e-6
FOCUS = 8e-3
# Off the pixel centres and the axis; 5 x 5 over 4 x 4 mm, and two depths beyond.
LATERAL = np.linspace(-2e-3, 2e-3, 5) + 3.7e-6
DEPTH = np.array([4e-3, 6e-3, 7e-3, 8e-3, 9e-3, 10e-3, 14e-3]) + 5.3e-6
PLACES = np.array([(x, 0.0, z) for z in DEPTH for x in LATERAL])
ANGLES = np.deg2rad([-1.0, 0.0, 1.0])
CHOICES = {"-1 deg": [0], "0 deg": [1], "+1 deg": [2], "compounded": [0, 1, 2]}


def make_probe(*, height: float = 1.5e-3, bandwidth: float = 0.67) -> Probe:
    return Probe(
        n_elements=128,
        pitch=1e-4,
        width=8e-5,
        height=height,
        elevation_focus=FOCUS,
        center_frequency=FREQUENCY,
        bandwidth=bandwidth,
    )


def make_transmit(angles=ANGLES, frequency=15e6) -> PlaneWaves:
    return PlaneWaves(angles=tuple(angles), transmit_frequency=frequency, n_cycles=3)


def echoes(places, probe, transmit, *, backend="cpu"):
    """Channel data, one bubble a frame, and the time of the first sample."""
    start_time, n_samples = receive_window(
        probe,
        transmit,
        lateral_range=(places[:, 0].min(), places[:, 0].max()),
        depth_range=(places[:, 2].min(), places[:, 2].max()),
        elevation_half_width=places[:, 1].max(),
        sampling_frequency=FREQUENCY,
        speed_of_sound=SPEED,
    )
    data = simulate_channel_data(
        places[:, None],
        np.ones(1),
        probe,
        transmit,
        start_time=start_time,
        n_samples=n_samples,
        sampling_frequency=FREQUENCY,
        demodulation_frequency=FREQUENCY,
        speed_of_sound=SPEED,
        backend=backend,
    )
    return data, start_time


def envelope(data, start_time, grid, probe, transmit, f_number, lens_correction=False):
    image = delay_and_sum(
        data[None],
        grid,
        probe,
        transmit,
        start_time=start_time,
        sampling_frequency=FREQUENCY,
        demodulation_frequency=FREQUENCY,
        speed_of_sound=SPEED,
        f_number=f_number,
        lens_correction=lens_correction,
        backend="cpu",
    )
    return np.abs(image[0])


def peak(data, start_time, x, z, probe, transmit, f_number=0.0, lens_correction=False):
    """Place (x, z) and height of the envelope's peak near (x, z), by a paraboloid on a grid of 1 µm."""
    along = z + np.arange(-40, 81) * 1e-6
    settings = (probe, transmit, f_number, lens_correction)
    z = along[envelope(data, start_time, Grid(x=np.array([x]), z=along), *settings)[:, 0].argmax()]
    offset = np.arange(-6.0, 7.0)
    grid = Grid(x=x + 2e-6 * offset, z=z + 1e-6 * offset)
    values = envelope(data, start_time, grid, *settings)
    dx, dz = (axis.ravel() for axis in np.meshgrid(2 * offset, offset))
    terms = np.stack([np.ones_like(dx), dx, dz, dx * dx, dz * dz, dx * dz], axis=1)
    _, fx, fz, fxx, fzz, fxz = np.linalg.lstsq(terms, values.ravel() / values.max(), rcond=None)[0]
    shift = np.linalg.solve([[2 * fxx, fxz], [fxz, 2 * fzz]], [-fx, -fz])
    return x + 1e-6 * shift[0], z + 1e-6 * shift[1], values.max()


def errors(data, start_time, probe, choice, f_number=0.0, lens_correction=False):
    """Error (place, (x, z)) of every bubble, with the chosen angles."""
    transmit = make_transmit(ANGLES[choice])
    found = [
        peak(frame[choice], start_time, place[0], place[2], probe, transmit, f_number, lens_correction)[:2]
        for frame, place in zip(data, PLACES, strict=True)
    ]
    return np.array(found) - PLACES[:, [0, 2]]


@pytest.fixture(scope="module")
def without_lens():
    # Elements this low have no elevation lens to speak of.
    probe = make_probe(height=1e-4)
    return probe, *echoes(PLACES, probe, make_transmit())


@pytest.fixture(scope="module")
def with_lens():
    probe = make_probe()
    return probe, *echoes(PLACES, probe, make_transmit())


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("f_number", [0.0, 1.0])
def test_without_a_lens_every_bubble_is_in_place_within_a_fiftieth_of_a_pixel(without_lens, choice, f_number):
    probe, data, start_time = without_lens
    error = np.abs(errors(data, start_time, probe, choice, f_number))
    assert error[:, 0].max() < PIXEL / 500  # measured 0.02 µm
    assert error[:, 1].max() < PIXEL / 50  # 0.23 µm, 0.38 µm with f-number 1


def test_the_default_probe_puts_them_there_too_when_its_lens_has_no_phase(monkeypatch):
    factor = simus_reference.elevation_factor
    monkeypatch.setattr(simus_reference, "elevation_factor", lambda *a: np.abs(factor(*a)).astype(complex))
    probe = make_probe()
    data, start_time = echoes(PLACES, probe, make_transmit(), backend="reference")
    error = np.abs(errors(data, start_time, probe, CHOICES["compounded"]))
    assert error.max() < PIXEL / 50  # 0.21 µm


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("f_number", [0.0, 1.0])
def test_with_the_lens_corrected_the_default_probe_puts_every_bubble_in_place(with_lens, choice, f_number):
    probe, data, start_time = with_lens
    error = np.abs(errors(data, start_time, probe, choice, f_number, lens_correction=True))
    assert error.max() < PIXEL / 50  # measured 0.25 µm, 0.46 µm with f-number 1


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_the_lens_moves_bubbles_by_its_group_delay_in_depth(with_lens, choice):
    probe, data, start_time = with_lens
    shift = errors(data, start_time, probe, choice, f_number=1.0)[:, 1].reshape(len(DEPTH), -1).mean(axis=1)
    wavenumber = 2 * np.pi * 15e6 / SPEED * np.array([0.999, 1.001])
    factor = simus_reference.elevation_factor(wavenumber, 0.0, DEPTH[:, None], probe)
    group_delay = np.angle(factor[:, 1] / factor[:, 0]) / np.diff(wavenumber)  # as a path, m
    assert group_delay[DEPTH > FOCUS + 1e-4].max() < -1e-6 < 1e-6 < group_delay[DEPTH < FOCUS].min()
    # From 10 µm at 4 mm to -5 µm at 14 mm.
    np.testing.assert_allclose(shift, group_delay, atol=PIXEL / 50)


def test_at_the_focus_the_lens_leaves_them_in_place_and_two_millimetres_away_it_does_not(with_lens):
    probe, data, start_time = with_lens
    error = errors(data, start_time, probe, CHOICES["compounded"], 1.0).reshape(len(DEPTH), -1, 2)
    at_focus = np.abs(DEPTH - FOCUS) < 1e-4
    assert np.abs(error[at_focus]).max() < PIXEL / 50
    assert error[DEPTH < 6.1e-3, :, 1].min() > 2e-6
    assert error[DEPTH > 9.9e-3, :, 1].max() < -2e-6


@pytest.mark.parametrize(
    ("y", "amplitude", "deeper"), [(0.1e-3, 0.90, 1.3e-6), (0.3e-3, 0.36, 11.4e-6), (0.5e-3, 0.03, 30e-6)]
)
def test_a_bubble_off_the_plane_comes_back_weaker_and_deeper(y, amplitude, deeper):
    probe, transmit = make_probe(bandwidth=0.512), make_transmit(frequency=15e6)
    places = np.array([(0.0, 0.0, FOCUS), (0.0, y, FOCUS)])
    data, start_time = echoes(places, probe, transmit)
    (_, z0, in_plane), (_, z, off_plane) = (
        peak(frame, start_time, 0.0, FOCUS, probe, transmit, 1.0) for frame in data
    )
    assert off_plane / in_plane == pytest.approx(amplitude, abs=0.01)
    assert z - z0 == pytest.approx(deeper, abs=0.05 * deeper)
    gain = elevation_gain(y, FOCUS, probe, transmit, speed_of_sound=SPEED)
    depth = apparent_depth(y, FOCUS, probe, transmit, speed_of_sound=SPEED)
    assert off_plane / in_plane == pytest.approx(float(gain), abs=0.015)
    assert z - z0 == pytest.approx(float(depth) - FOCUS, rel=0.08)


@pytest.mark.parametrize("bandwidth", [0.512, 0.67])
def test_the_echo_of_the_pulse_peaks_at_the_time_of_flight(bandwidth):
    probe, transmit = make_probe(height=1e-4, bandwidth=bandwidth), make_transmit([0.0])
    # In front of one element: the path is twice the depth.
    place = np.array([(probe.element_positions[64], 0.0, FOCUS)])
    data, start_time = echoes(place, probe, transmit)
    samples = data[0, 0, 64]
    frequency = np.fft.fftfreq(samples.size, 1 / FREQUENCY)
    time = 2 * FOCUS / SPEED + np.arange(-200, 201) * 0.1e-9
    shifted = np.exp(2j * np.pi * np.outer(time - start_time, frequency)) @ np.fft.fft(samples)
    found = np.polyfit(time[150:251] - 2 * FOCUS / SPEED, np.abs(shifted[150:251]), 2)
    assert abs(-found[1] / (2 * found[0])) < 0.05e-9  # measured 0.007 ns: 6 nm of depth
