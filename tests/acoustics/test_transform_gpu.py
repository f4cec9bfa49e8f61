"""The transform inside the GPU's simulator: rows of any length, by device code or by the library."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe, simulate_channel_data
from ulmpipe.acoustics.baseband import transform_radices
from ulmpipe.acoustics.transform_gpu import fused_radices

TRANSMIT = PlaneWaves(angles=(0.0, 0.05), transmit_frequency=15e6, n_cycles=3)


@pytest.mark.parametrize("n_samples", [64, 72, 77, 80, 81, 96, 97, 104, 110, 125, 169, 240])
def test_samples_of_any_number_agree_with_the_reference(gpu, n_samples):
    probe = named_probe("L22-14v", n_elements=16)
    record = {
        "start_time": 9e-6,
        "n_samples": n_samples,
        "sampling_frequency": 15.625e6,
        "demodulation_frequency": 15.625e6,
        "speed_of_sound": 1540.0,
    }
    places = np.array([[[0.1e-3, 0.1e-3, 7.9e-3], [-0.2e-3, 0.0, 8.1e-3]]] * 3)
    expected = simulate_channel_data(places, np.ones(2), probe, TRANSMIT, **record, backend="reference")
    found = simulate_channel_data(places, np.ones(2), probe, TRANSMIT, **record, backend="gpu")
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


def test_what_the_device_code_cannot_do_is_left_to_the_library():
    assert fused_radices(96, 40_000) == (8, 12)
    assert fused_radices(97, 40_000) == ()
    assert fused_radices(4096, 40_000) == ()


@pytest.mark.parametrize("length", [1, 12, 96, 97, 2310])
def test_the_radices_multiply_to_the_length(length):
    for first in (4, 8):
        assert np.prod(transform_radices(length, first=first), dtype=int) == length
