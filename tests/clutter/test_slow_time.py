"""Filters over slow time on tones, whose answer is known in closed form, and on reflectors that move."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmpipe.clutter.slow_time import band_pass, doppler_frequency, split_directions, velocity_band_pass
from ulmpipe.doppler import doppler_velocity, nyquist_velocity
from ulmpipe.errors import InputError

RATE = 1000.0
SCAN = {"center_frequency": 15e6, "pulse_repetition_frequency": RATE, "speed_of_sound": 1540.0}


def tone(frequency, n_frames=400, phase=0.3):
    """(frame, 1)"""
    return np.exp(1j * (2 * np.pi * frequency * np.arange(n_frames)[:, None] / RATE + phase))


def random_series(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def reflector(velocity, n_frames=400):
    """(frame, 1) of an echo that comes nearer at `velocity`, as in the tests of `ulmpipe.doppler`."""
    depth = 8e-3 - velocity * np.arange(n_frames)[:, None] / RATE
    return np.exp(-4j * np.pi * SCAN["center_frequency"] * depth / SCAN["speed_of_sound"])


def butterworth_squared(frequency, low, high, order):
    """|H|² of the digital Butterworth filter: the analogue one at frequencies bent by the bilinear transform."""
    bent, bent_low, bent_high = (
        None if value is None else np.tan(np.pi * abs(value) / RATE) for value in (frequency, low, high)
    )
    if low is None:
        ratio = bent / bent_high
    elif high is None:
        ratio = bent_low / bent
    else:
        ratio = (bent**2 - bent_low * bent_high) / ((bent_high - bent_low) * bent)
    return 1 / (1 + ratio ** (2 * order))


@pytest.mark.parametrize(("low", "high"), [(50.0, None), (None, 120.0), (50.0, 200.0)])
@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("frequency", [12.0, 50.0, -50.0, 90.0, -120.0, 200.0, -333.0])
def test_a_tone_keeps_its_phase_and_gets_the_gain_of_the_filter_squared(low, high, order, frequency):
    series = tone(frequency, n_frames=1500)
    filtered = band_pass(series, pulse_repetition_frequency=RATE, low=low, high=high, order=order)
    assert filtered.dtype == np.complex64
    gain = (filtered / series)[600:900]  # far from both ends
    np.testing.assert_allclose(gain, butterworth_squared(frequency, low, high, order), atol=2e-5)


@pytest.mark.parametrize("sign", [-1, 1])
def test_at_the_cut_offs_the_gain_is_a_half(sign):
    for cutoff in (50.0, 200.0):
        series = tone(sign * cutoff, n_frames=1500)
        filtered = band_pass(series, pulse_repetition_frequency=RATE, low=50.0, high=200.0)
        np.testing.assert_allclose((filtered / series)[600:900], 0.5, atol=1e-4)


def test_what_does_not_move_is_gone_after_a_high_pass_and_stays_after_a_low_pass():
    still = np.full((200, 3, 4), 100.0 - 40.0j, dtype=np.complex64)
    assert np.abs(band_pass(still, pulse_repetition_frequency=RATE, low=20.0)).max() < 1e-3
    np.testing.assert_allclose(band_pass(still, pulse_repetition_frequency=RATE, high=20.0), still, rtol=1e-5)


def test_swinging_tissue_is_suppressed_up_to_the_ends_of_the_block():
    swing = 10e-6 * np.sin(2 * np.pi * 1.5 * np.arange(400) / RATE + np.linspace(0, 2 * np.pi, 50)[:, None]).T
    tissue = np.exp(-4j * np.pi * SCAN["center_frequency"] / SCAN["speed_of_sound"] * swing)
    left = np.abs(band_pass(tissue, pulse_repetition_frequency=RATE, low=20.0)) ** 2
    assert np.mean(left) < 1e-6
    assert np.mean(left[150:250]) < 1e-9
    assert np.mean(left[[0, -1]]) < 1e-4


def test_the_filter_is_linear_and_treats_pixels_apart():
    rng = np.random.default_rng(0)
    first, second = random_series(rng, 60, 5, 7), random_series(rng, 60, 5, 7)
    options = {"pulse_repetition_frequency": RATE, "low": 40.0, "high": 300.0}
    both = band_pass(first + 2j * second, **options)
    separate = band_pass(first, **options) + 2j * band_pass(second, **options)
    np.testing.assert_allclose(both, separate, atol=1e-5)
    alone = band_pass(first[:, 2:3, 4:5], **options)
    np.testing.assert_array_equal(alone[:, 0, 0], band_pass(first, **options)[:, 2, 4])


def test_threads_and_strips_of_pixels_change_nothing():
    series = random_series(np.random.default_rng(1), 40, 90, 60)  # three strips
    options = {"pulse_repetition_frequency": RATE, "low": 40.0}
    one = band_pass(series, **options, workers=1)
    np.testing.assert_array_equal(one, band_pass(series, **options, workers=3))
    np.testing.assert_array_equal(one[:, 70:, :], band_pass(series[:, 70:, :], **options))
    for left, right in zip(
        split_directions(series, workers=1), split_directions(series, workers=3), strict=True
    ):
        np.testing.assert_array_equal(left, right)


def test_speeds_are_kept_by_their_doppler_frequency():
    kept = velocity_band_pass(reflector(5e-3), slowest=2e-3, fastest=10e-3, **SCAN)
    np.testing.assert_allclose(np.abs(kept[150:250]), 1.0, atol=0.01)
    np.testing.assert_array_equal(
        kept,
        band_pass(
            reflector(5e-3),
            pulse_repetition_frequency=RATE,
            low=doppler_frequency(2e-3, center_frequency=15e6, speed_of_sound=1540.0),
            high=doppler_frequency(10e-3, center_frequency=15e6, speed_of_sound=1540.0),
        ),
    )
    for velocity in (-0.5e-3, 22e-3):
        gone = velocity_band_pass(reflector(velocity), slowest=2e-3, fastest=10e-3, **SCAN)
        assert np.abs(gone[150:250]).max() < 0.02
    away = velocity_band_pass(reflector(-5e-3), slowest=2e-3, **SCAN)
    np.testing.assert_allclose(np.abs(away[150:250]), 1.0, atol=0.01)


def test_the_doppler_frequency_of_the_nyquist_velocity_is_half_the_rate_and_has_the_sign_of_the_velocity():
    limit = nyquist_velocity(**SCAN)
    options = {"center_frequency": 15e6, "speed_of_sound": 1540.0}
    assert doppler_frequency(limit, **options) == pytest.approx(RATE / 2)
    assert doppler_frequency(-limit / 5, **options) == pytest.approx(-RATE / 10)
    spectrum = np.abs(np.fft.fft(reflector(limit / 4)[:, 0]))
    assert np.fft.fftfreq(400, 1 / RATE)[np.argmax(spectrum)] == doppler_frequency(limit / 4, **options)


@pytest.mark.parametrize("velocity", [-9e-3, -1.3e-3, 1.3e-3, 4e-3, 20e-3])
def test_what_comes_nearer_goes_into_the_first_part(velocity):
    series = reflector(velocity)
    parts = split_directions(series)
    right, wrong = parts if velocity > 0 else parts[::-1]
    assert np.mean(np.abs(wrong) ** 2) < 1e-3
    assert doppler_velocity(right, **SCAN) == pytest.approx([velocity], rel=1e-3)


def test_two_opposite_flows_come_apart():
    towards, away = reflector(6.1e-3), 0.5 * reflector(-11.7e-3)
    up, down = split_directions(towards + away)
    assert np.linalg.norm(up - towards) < 0.05 * np.linalg.norm(towards)
    assert np.linalg.norm(down - away) < 0.1 * np.linalg.norm(away)


def test_short_passages_of_bubbles_hardly_leak_into_the_other_direction():
    rng = np.random.default_rng(2)
    times = np.arange(400)[:, None] / RATE
    passing = np.exp(-(((times - rng.uniform(0, 0.4, 200)) / 0.03) ** 2))
    bubbles = passing * np.exp(2j * np.pi * (rng.uniform(40, 400, 200) * times + rng.random(200)))
    _, away = split_directions(bubbles)
    assert np.sum(np.abs(away) ** 2) < 1e-3 * np.sum(np.abs(bubbles) ** 2)


@given(n_frames=st.integers(2, 41), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_both_directions_add_up_to_what_was_split(n_frames, seed):
    series = random_series(np.random.default_rng(seed), n_frames, 3, 2)
    up, down = split_directions(series)
    assert up.dtype == down.dtype == np.complex64
    assert np.abs(up + down - series).max() <= 2 * np.finfo(np.float32).eps * np.abs(series).max()


@given(n_frames=st.integers(2, 41), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_conjugate_series_has_the_directions_exchanged(n_frames, seed):
    series = random_series(np.random.default_rng(seed), n_frames, 4)
    (up, down), (other_up, other_down) = split_directions(series), split_directions(series.conj())
    np.testing.assert_allclose(other_up, down.conj(), atol=2e-5)
    np.testing.assert_allclose(other_down, up.conj(), atol=2e-5)


@pytest.mark.parametrize("n_frames", [50, 51, 52, 53])
def test_what_does_not_move_goes_half_into_each_direction(n_frames):
    still = np.full((n_frames, 2), 3.0 - 1.0j, dtype=np.complex64)
    up, down = split_directions(still)
    # the continued series is constant but for the phase of its conjugate, which is in phase at the joint
    np.testing.assert_allclose(up, still / 2, atol=1e-5)
    np.testing.assert_allclose(down, still / 2, atol=1e-5)


def test_nothing_gives_nothing():
    nothing = np.zeros((10, 3), np.complex64)
    for part in (
        *split_directions(nothing),
        band_pass(nothing, pulse_repetition_frequency=RATE, low=10.0),
    ):
        assert not part.any()


def test_the_input_is_left_alone():
    series = random_series(np.random.default_rng(3), 30, 4)
    before = series.copy()
    split_directions(series)
    band_pass(series, pulse_repetition_frequency=RATE, low=20.0)
    np.testing.assert_array_equal(series, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "low, high: both None"),
        ({"low": 0.0}, r"low: 0\.0 Hz, expected above 0 and below 500 Hz"),
        ({"high": 500.0}, r"high: 500\.0 Hz"),
        ({"low": float("nan")}, "low: nan"),
        ({"low": 100.0, "high": 100.0}, "expected low < high"),
        ({"low": 10.0, "order": 0}, "order: 0"),
        ({"low": 10.0, "pulse_repetition_frequency": -1.0}, r"pulse_repetition_frequency: -1\.0"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        band_pass(tone(50.0), **({"pulse_repetition_frequency": RATE} | options))


def test_speeds_that_cannot_be_are_refused():
    with pytest.raises(
        InputError, match=r"fastest: 0\.03 m/s, expected above 0 and below the Nyquist velocity"
    ):
        velocity_band_pass(tone(50.0), fastest=0.03, **SCAN)
    with pytest.raises(InputError, match=r"slowest: -0\.001 m/s"):
        velocity_band_pass(tone(50.0), slowest=-1e-3, **SCAN)
    with pytest.raises(InputError, match="velocity: inf"):
        doppler_frequency(float("inf"), center_frequency=15e6, speed_of_sound=1540.0)
    with pytest.raises(InputError, match="center_frequency: 0"):
        doppler_frequency(1.0, center_frequency=0, speed_of_sound=1540.0)


@pytest.mark.parametrize("iq", [np.zeros((1, 4), complex), np.zeros((3, 4)), np.zeros(4, complex)])
def test_what_is_no_series_of_images_is_refused(iq):
    for filtered in (split_directions, lambda x: band_pass(x, pulse_repetition_frequency=RATE, low=20.0)):
        with pytest.raises(InputError, match="two complex images or more"):
            filtered(iq)


def test_images_that_are_not_finite_are_refused():
    series = random_series(np.random.default_rng(4), 20, 3)
    series[4, 1] = np.nan
    for filtered in (split_directions, lambda x: band_pass(x, pulse_repetition_frequency=RATE, low=20.0)):
        with pytest.raises(InputError, match="NaN or infinite"):
            filtered(series)
