from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import Probe
from ulmpipe.acoustics.receiver import noise_response, receiver_noise
from ulmpipe.acoustics.simus_reference import probe_spectrum

PROBE = Probe(
    n_elements=128,
    pitch=0.1e-3,
    width=0.08e-3,
    height=1.5e-3,
    elevation_focus=8e-3,
    center_frequency=18e6,
    bandwidth=0.44,
)
BAND = {"sampling_frequency": 15.625e6, "demodulation_frequency": 15.625e6}
N_RECORDS = 20_000


def shaped(n_samples: int) -> np.ndarray:
    response = noise_response(PROBE, n_samples=n_samples, **BAND)
    rng = np.random.default_rng(1)
    return receiver_noise(rng, (N_RECORDS, n_samples), root_mean_square=3.0, response=response)


def test_without_a_response_noise_is_that_of_earlier_versions_bit_for_bit() -> None:
    found = receiver_noise(np.random.default_rng(7), (2, 3, 5), root_mean_square=2.5)
    draws = np.random.default_rng(7).standard_normal((2, 3, 5, 2), dtype=np.float32)
    expected = draws[..., 0] + 1j * draws[..., 1]
    expected *= np.float32(2.5 / np.sqrt(2))
    assert found.dtype == np.complex64
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("n_samples", [64, 65])
def test_shaped_noise_has_the_power_spectrum_of_the_probe_s_one_way_response(n_samples: int) -> None:
    power = np.mean(np.abs(np.fft.fft(shaped(n_samples))) ** 2, axis=0)
    frequency = 15.625e6 + np.fft.fftfreq(n_samples, 1 / 15.625e6)
    expected = probe_spectrum(frequency, PROBE) ** 2
    assert expected.min() < 0.05 * expected.max()  # far from white: 14 to 22 MHz seen from 7.8 to 23.4
    # the mean of 20 000 exponential variables is uncertain by 0.7 %
    np.testing.assert_allclose(power / power.sum(), expected / expected.sum(), rtol=0.04)


def test_shaped_noise_has_the_level_asked_for_at_every_time_of_the_record() -> None:
    noise = shaped(64)
    assert noise.dtype == np.complex64
    np.testing.assert_allclose(np.sqrt(np.mean(np.abs(noise) ** 2, axis=0)), 3.0, rtol=0.02)


def test_shaped_noise_is_circular() -> None:
    """Without a preferred phase: the mean of its square vanishes."""
    noise = shaped(64)
    assert np.abs(np.mean(noise**2)) < 0.01 * np.mean(np.abs(noise) ** 2)
