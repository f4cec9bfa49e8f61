"""An infinite element height is SIMUS in two dimensions: against PyMUST, which takes scenes with y = 0 for that."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, apparent_depth, elevation_gain, named_probe, simulate_channel_data

FREQUENCY, SPEED = 15.625e6, 1540.0
RECORD = {"start_time": 0.0, "n_samples": 936, "sampling_frequency": 2 * FREQUENCY, "speed_of_sound": SPEED}


def probe_of(**changes):
    return named_probe("L22-14v", n_elements=64, height=math.inf, **changes)


def waves(*degrees: float) -> PlaneWaves:
    return PlaneWaves(angles=tuple(np.deg2rad(degrees)), transmit_frequency=FREQUENCY, n_cycles=3)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
    ("degrees", "attenuation", "baffle", "millimetres"),
    [
        (0.0, 0.0, "soft", [(0.0, 8.0)]),
        (-10.0, 0.0, "rigid", [(0.3, 3.0), (-1.2, 6.5)]),
        (5.0, 0.7, "soft", [(0.5, 5.0), (-0.5, 9.0), (2.0, 11.0)]),
    ],
)
def test_rf_is_that_of_pymust(degrees: float, attenuation: float, baffle: str, millimetres: list) -> None:
    pymust_simus = pytest.importorskip("pymust_simus")
    probe, transmit = probe_of(baffle=baffle), waves(degrees)
    positions = np.array([(x, 0.0, z) for x, z in millimetres]) * 1e-3
    reflectivity = np.linspace(1.0, 0.6, len(positions))
    # PyMUST has no infinite height; it does not look at the height in two dimensions
    finite = named_probe("L22-14v", n_elements=64, baffle=baffle)
    echoes = pymust_simus.pymust_echoes(
        positions,
        reflectivity,
        finite,
        transmit,
        speed_of_sound=SPEED,
        attenuation=attenuation,
        n_subelements=1,
    )
    baseband = simulate_channel_data(
        positions[None],
        reflectivity,
        probe,
        transmit,
        **RECORD,
        demodulation_frequency=FREQUENCY,
        attenuation=attenuation,
        oversampling=2,
        backend="reference",
    )[0, 0]
    time = np.arange(baseband.shape[-1]) / (4 * FREQUENCY)
    found = np.real(baseband * np.exp(2j * np.pi * FREQUENCY * time))
    expected = echoes.radio_frequency / probe.width  # by which PyMUST multiplies in two dimensions only
    n_samples = min(found.shape[1], expected.shape[1])
    assert relative_difference(found[:, :n_samples], expected[:, :n_samples]) < 0.005


@pytest.mark.parametrize("start_time", [2.5e-6, 9e-6])
def test_the_cpu_agrees_with_the_reference(start_time: float) -> None:
    rng = np.random.default_rng(0)
    depth = start_time * SPEED / 2 + 1.2e-3
    places = rng.uniform(-0.5e-3, 0.5e-3, (3, 2, 7, 3)) + np.array([0, 0, depth])
    scene = (places, np.ones(7), probe_of(), waves(-3.0, 2.0))
    record = {
        "start_time": start_time,
        "n_samples": 120,
        "sampling_frequency": FREQUENCY,
        "demodulation_frequency": FREQUENCY,
        "speed_of_sound": SPEED,
    }
    expected = simulate_channel_data(*scene, **record, backend="reference")
    found = simulate_channel_data(*scene, **record, backend="cpu")
    assert relative_difference(found, expected) < 1e-4
    assert not np.array_equal(found, expected)
    flat = places * np.array([1, 0, 1])
    np.testing.assert_allclose(
        simulate_channel_data(flat, *scene[1:], **record, backend="cpu"),
        found,
        atol=1e-3 * np.abs(found).max(),
    )


def test_there_is_no_slice_of_a_thickness() -> None:
    settings = {"probe": probe_of(), "transmit": waves(0.0), "speed_of_sound": SPEED}
    np.testing.assert_array_equal(elevation_gain(np.array([0.0, 1e-3]), 8e-3, **settings), 1.0)
    np.testing.assert_allclose(apparent_depth(np.array([0.0, 1e-3]), 8e-3, **settings), 8e-3, rtol=1e-12)
