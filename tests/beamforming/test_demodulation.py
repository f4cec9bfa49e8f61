"""Demodulation against signals whose envelope and phase are known."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.beamforming import demodulate
from ulmpipe.errors import InputError

CARRIER = 5e6
START = 9.95e-6
PULSE_TIME, PULSE_WIDTH = 25e-6, 1.5e-6


def chirp(time):
    """Envelope and phase (less the carrier's) of a pulse that sweeps 0.2 MHz about 0.1 MHz above the carrier."""
    since = time - PULSE_TIME
    envelope = 3.0 * np.exp(-0.5 * (since / PULSE_WIDTH) ** 2)
    return envelope, 0.7 + 2 * np.pi * (0.1e6 * since + 0.5 * 0.2e6 / 3e-6 * since**2)


def recording(sampling_frequency):
    """The chirp as RF, and its IQ, over 30 µs."""
    time = START + np.arange(round(30e-6 * sampling_frequency)) / sampling_frequency
    envelope, phase = chirp(time)
    return envelope * np.cos(2 * np.pi * CARRIER * time + phase), envelope * np.exp(1j * phase)


def iq_of(rf, sampling_frequency, **change):
    settings = {"start_time": START, "demodulation_frequency": CARRIER, "bandwidth": 2.4e6} | change
    return demodulate(rf, sampling_frequency=sampling_frequency, **settings)


@pytest.mark.parametrize("ratio", [4, 8, 12.3, 4 / 3], ids="sampled at {} times the carrier".format)
def test_a_chirp_comes_back_with_its_envelope_and_phase(ratio):
    rf, expected = recording(ratio * CARRIER)
    found = iq_of(rf, ratio * CARRIER)
    assert found.dtype == np.complex64
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("offset", "gain"), [(0.0, 1.0), (0.2e6, 1024 / 1025), (-0.4e6, 0.5), (0.8e6, 1 / 1025)]
)
def test_the_gain_is_a_half_at_the_edge_of_the_band(offset, gain):
    time = START + np.arange(4000) / 40e6
    found = iq_of(np.cos(2 * np.pi * (CARRIER + offset) * time), 40e6, bandwidth=0.8e6)
    middle = slice(1000, 3000)
    expected = gain * np.exp(2j * np.pi * offset * time)
    np.testing.assert_allclose(found[middle], expected[middle], atol=2e-4)


def test_a_high_order_is_a_brick_wall():
    time = START + np.arange(4000) / 40e6
    middle = slice(1500, 2500)
    for offset, gain in ((0.3e6, 1.0), (0.5e6, 0.0)):
        found = iq_of(np.cos(2 * np.pi * (CARRIER + offset) * time), 40e6, bandwidth=0.8e6, order=100)
        assert np.abs(found[middle]).mean() == pytest.approx(gain, abs=0.03)


def test_an_echo_at_the_end_of_the_record_does_not_come_back_at_its_start():
    rf = np.zeros(400)
    rf[-1] = 1.0
    found = np.abs(iq_of(rf, 20e6, bandwidth=0.75e6))
    assert found[:100].max() < 1e-4 * found.max()


def test_every_channel_is_demodulated_by_itself():
    rf = np.random.default_rng(1).integers(-2000, 2000, (3, 2, 5, 64)).astype(np.int16)
    together = iq_of(rf, 20e6)
    assert together.shape == rf.shape
    np.testing.assert_allclose(together[2, 1, 3], iq_of(rf[2, 1, 3], 20e6), atol=1e-2)


def test_it_agrees_with_pymust_on_a_pulse():
    pymust = pytest.importorskip("pymust")
    rf, _ = recording(4 * CARRIER)
    param = pymust.utils.Param()
    param.fs, param.fc, param.bandwidth, param.t0 = 4 * CARRIER, CARRIER, 48.0, np.array([START])
    theirs = pymust.rf2iq(rf[:, None], param)[:, 0]
    assert np.linalg.norm(iq_of(rf, 4 * CARRIER) - theirs) < 1e-3 * np.linalg.norm(theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth: 0.0"),
        ({"demodulation_frequency": np.nan}, "demodulation_frequency: nan"),
        ({"order": 0}, "order: 0"),
        ({"bandwidth": 12e6}, "leaves the negative frequencies 1e\\+07 Hz"),
        ({"demodulation_frequency": 10e6}, "leaves the negative frequencies 0 Hz"),
    ],
)
def test_a_bad_value_is_named(change, message):
    with pytest.raises(InputError, match=message):
        iq_of(np.zeros(64), 20e6, **change)


@pytest.mark.parametrize("rf", [np.zeros(8, complex), np.zeros((3, 0)), np.float64(1.0)])
def test_what_is_no_rf_is_refused(rf):
    with pytest.raises(InputError, match=r"expected real \(\.\.\., sample\)"):
        iq_of(rf, 20e6)
