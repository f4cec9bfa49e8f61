"""From samples as scanners store them to baseband: known echoes, and an independent way to the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_files import PATTERNS, expected_baseband, gaussian_echo, stored_times

from ulmpipe.beamforming import demodulate
from ulmpipe.errors import InputError
from ulmpipe.io.recordings.baseband import (
    pairs_to_baseband,
    rf_to_baseband,
    shifted,
    with_one_start_time,
)

CARRIER = 15.625e6
START = 3.217e-6
PERIODS = {"BS100BW": 1, "BS50BW": 2}
# Full width at half amplitude, Hz: what fits each mode's band, and how near the analytic echo then comes.
ECHOES = {"NS200BW": (6e6, 2e-4), "BS100BW": (3.5e6, 2e-3), "BS67BW": (2.5e6, 2e-3), "BS50BW": (1.5e6, 2e-3)}


def imported(mode, samples):
    if mode in PERIODS:
        return pairs_to_baseband(
            samples, start_time=START, demodulation_frequency=CARRIER, periods_per_pair=PERIODS[mode]
        )
    rate = PATTERNS[mode][2] * CARRIER
    return rf_to_baseband(samples, start_time=START, sampling_frequency=rate, demodulation_frequency=CARRIER)


@pytest.mark.parametrize("mode", PATTERNS)
@pytest.mark.parametrize("delay", [8.0e-6, 8.011e-6, 8.0273e-6])
def test_every_sampling_gives_the_analytic_echo_times_the_carrier(mode, delay):
    bandwidth, tolerance = ECHOES[mode]
    # Off the carrier: a transmit frequency is seldom the demodulation frequency.
    pulse = {"frequency": 0.98 * CARRIER, "bandwidth": bandwidth}
    time = START + stored_times(mode, 400, CARRIER)
    iq, rate = imported(mode, gaussian_echo(time, delay, **pulse).real)
    expected = expected_baseband(
        START + np.arange(iq.size) / rate, delay, demodulation_frequency=CARRIER, **pulse
    )
    assert iq.dtype == np.complex64
    assert iq.size == 200  # two stored samples for a complex one, in every mode
    np.testing.assert_allclose(iq, expected, atol=tolerance)


@pytest.mark.parametrize("mode", ["NS200BW", "BS67BW"])
def test_the_middle_of_unsigned_integers_is_no_echo(mode):
    """Bytes lie around 128, with a mean of their own on each element."""
    bandwidth, _ = ECHOES[mode]
    time = START + stored_times(mode, 400, CARRIER)
    delays, offsets = np.array([[8.0e-6], [8.02e-6]]), np.array([[128], [126]])
    echoes = np.rint(100 * gaussian_echo(time, delays, frequency=CARRIER, bandwidth=bandwidth).real)
    centred, _ = imported(mode, echoes)
    stored, _ = imported(mode, (echoes + offsets).astype(np.uint8))
    np.testing.assert_allclose(stored, centred, atol=1e-4 * np.abs(centred).max())


@pytest.mark.parametrize(
    ("mode", "rate"), [("NS200BW", 2), ("BS100BW", 1), ("BS67BW", 2 / 3), ("BS50BW", 0.5)]
)
def test_complex_samples_come_at_half_the_rate_of_the_stored_ones(mode, rate):
    assert imported(mode, np.zeros((2, 64)))[1] == pytest.approx(rate * CARRIER)


@pytest.mark.parametrize("periods", [1, 2])
def test_pairs_agree_with_demodulating_the_stream_with_its_gaps_as_zeros(periods):
    """The gaps' pattern has no line at twice the carrier: the negative frequencies fall out by themselves."""
    mode = "BS100BW" if periods == 1 else "BS50BW"
    generator = np.random.default_rng(4)
    n_pairs = 256
    # Noise within 70 % of the band, as the sum of complex tones.
    tones = (np.arange(60) / 60 - 0.5) * 0.7 * CARRIER / periods
    weights = generator.normal(size=(60, 2)) @ [1, 1j]
    time = START + stored_times(mode, 2 * n_pairs, CARRIER)
    stream = (weights * np.exp(2j * np.pi * (CARRIER + tones) * time[:, None])).sum(axis=1).real
    with_gaps = np.zeros((n_pairs, 4 * periods))
    with_gaps[:, :2] = stream.reshape(n_pairs, 2)
    filled = demodulate(
        with_gaps.ravel(),
        start_time=START,
        sampling_frequency=4 * CARRIER,
        demodulation_frequency=CARRIER,
        bandwidth=CARRIER / periods,
        order=60,
    )
    other = 2 * periods * filled[:: 4 * periods]
    ours, _ = imported(mode, stream)
    inner = slice(40, -40)  # both see nothing beyond the record's ends
    assert np.abs(ours - other)[inner].max() < 0.01 * np.abs(other).max()


def test_a_narrower_band_drops_noise_outside_it():
    time = START + np.arange(2048) / (4 * CARRIER)
    settings_ = {"start_time": START, "sampling_frequency": 4 * CARRIER, "demodulation_frequency": CARRIER}
    outside = np.cos(2 * np.pi * 0.5 * CARRIER * time)
    whole, _ = rf_to_baseband(outside, **settings_)
    narrow, rate = rf_to_baseband(outside, bandwidth=0.5 * CARRIER, **settings_)
    assert rate == pytest.approx(0.5 * CARRIER)  # no more samples than the band needs
    assert np.abs(narrow[50:-50]).max() < 1e-3
    assert np.abs(whole[50:-50]).min() > 0.9


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.95, 0.95), st.floats(-0.4, 0.4))
def test_a_shift_by_part_of_a_sample_is_exact_for_tones_within_the_band(by, frequency):
    n = np.arange(128)
    tone = np.exp(2j * np.pi * frequency * n).astype(np.complex64)
    moved = shifted(tone, by)
    np.testing.assert_allclose(moved[30:-30], np.exp(2j * np.pi * frequency * (n + by))[30:-30], atol=2e-3)


def test_records_that_begin_at_different_times_are_brought_to_the_latest():
    rate, begin = CARRIER, np.array([0.0, 0.31e-6, 0.155e-6])
    pulse = {"frequency": CARRIER, "bandwidth": 3e6, "demodulation_frequency": CARRIER}
    delays = np.array([3.0e-6, 3.1e-6, 3.2e-6])
    time = begin[:, None] + np.arange(96) / rate
    records = expected_baseband(time, delays[:, None], **pulse)[None, :, None].astype(np.complex64)
    common, start = with_one_start_time(records, begin, rate)
    assert start == begin.max()
    assert common.shape == (1, 3, 1, 96 - 5)  # 0.31 µs are 4.84 samples
    expected = expected_baseband(start + np.arange(91) / rate, delays[:, None], **pulse)
    np.testing.assert_allclose(common[0, :, 0], expected, atol=2e-3)


def test_an_odd_number_of_samples_is_no_pairs():
    with pytest.raises(InputError, match="7 samples, expected pairs"):
        pairs_to_baseband(np.zeros(7), start_time=0.0, demodulation_frequency=CARRIER, periods_per_pair=1)
