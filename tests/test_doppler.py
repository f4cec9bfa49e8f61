"""Doppler velocities of reflectors whose velocity is known."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, Probe, simulate_channel_data
from ulmpipe.beamforming import Grid, delay_and_sum
from ulmpipe.doppler import doppler_velocity, nyquist_velocity
from ulmpipe.errors import InputError

SCAN = {"center_frequency": 5e6, "pulse_repetition_frequency": 10e3, "speed_of_sound": 1480.0}
NYQUIST = 0.74


def images(velocity, n_frames=8):
    """(frame, 1) of a reflector whose echo's phase follows its depth: it comes nearer at `velocity`."""
    depth = 20e-3 - velocity * np.arange(n_frames) / SCAN["pulse_repetition_frequency"]
    return np.exp(-4j * np.pi * SCAN["center_frequency"] * depth / SCAN["speed_of_sound"])[:, None]


def test_the_nyquist_velocity():
    assert nyquist_velocity(**SCAN) == pytest.approx(NYQUIST)


@pytest.mark.parametrize("velocity", [-0.7, -0.1, 0.0, 0.25, 0.73])
def test_the_velocity_is_positive_towards_the_probe(velocity):
    found = doppler_velocity(images(velocity), **SCAN)
    assert found.dtype == np.float32
    assert found == pytest.approx([velocity], abs=1e-6)


def test_a_faster_one_wraps_around():
    assert doppler_velocity(images(1.2 * NYQUIST), **SCAN) == pytest.approx([-0.8 * NYQUIST], abs=1e-5)


def test_strong_pairs_of_frames_count_more():
    iq = images(0.3)
    iq[4:] = 1e-4 * images(-0.6)[4:]
    assert doppler_velocity(iq, **SCAN) == pytest.approx([0.3], abs=1e-3)


def test_no_signal_no_velocity():
    assert not doppler_velocity(np.zeros((3, 2, 2), complex), **SCAN).any()


@pytest.mark.parametrize("velocity", [4e-3, -9e-3])
def test_a_simulated_bubble_has_the_velocity_it_was_given(velocity):
    frequency, frame_rate, speed = 15.625e6, 1000.0, 1540.0
    probe = Probe(
        n_elements=128,
        pitch=1e-4,
        width=8e-5,
        height=1.5e-3,
        elevation_focus=8e-3,
        center_frequency=frequency,
        bandwidth=0.67,
    )
    transmit = PlaneWaves(angles=(0.0,), transmit_frequency=frequency, n_cycles=6)
    record = {
        "start_time": 9e-6,
        "sampling_frequency": frequency,
        "demodulation_frequency": frequency,
        "speed_of_sound": speed,
    }
    depth = 8e-3 - velocity * (np.arange(5) - 2) / frame_rate
    bubble = np.stack([np.zeros(5), np.zeros(5), depth], axis=-1)[:, None]
    data = simulate_channel_data(bubble, np.ones(1), probe, transmit, n_samples=112, **record)
    # A narrow aperture, so that all its echoes run along the axis.
    iq = delay_and_sum(data, Grid(x=np.zeros(1), z=np.array([8e-3])), probe, transmit, f_number=8.0, **record)
    found = doppler_velocity(
        iq, center_frequency=frequency, pulse_repetition_frequency=frame_rate, speed_of_sound=speed
    )
    assert found[0, 0] == pytest.approx(velocity, rel=0.01)


@pytest.mark.parametrize("name", SCAN)
def test_a_bad_value_is_named(name):
    with pytest.raises(InputError, match=f"{name}: -1.0"):
        doppler_velocity(images(0.1), **(SCAN | {name: -1.0}))


@pytest.mark.parametrize("iq", [np.zeros((1, 4), complex), np.zeros((3, 4)), np.zeros(4, complex)])
def test_what_is_no_series_of_images_is_refused(iq):
    with pytest.raises(InputError, match="two complex images or more"):
        doppler_velocity(iq, **SCAN)
