"""The reference against PyMUST itself (frequency step 0.1, 3-D), and against stored PyMUST spectra."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from pymust_simus import pymust_echoes

from ulmpipe.acoustics import PlaneWaves, Probe, named_probe, simulate_channel_data
from ulmpipe.acoustics.simus_reference import echo_spectrum

FREQUENCY = 15.625e6
SPEED = 1540.0
RF_RATE = 4 * FREQUENCY
WINDOW_LENGTH = 30e-6  # s, holds all echoes of the scenes below
REFERENCE = Path(
    os.environ.get("ULMPIPE_REFERENCE", Path(__file__).resolve().parents[3] / "shared" / "reference")
)


def probe_of(bandwidth: float, baffle: str = "soft") -> Probe:
    return named_probe("L22-14v", n_elements=64, bandwidth=bandwidth, baffle=baffle)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


SCENES = [
    # name, bandwidth, baffle, angle in degrees, attenuation, positions in mm (PyMUST computes in 2-D if all y are 0)
    ("one bubble at the focus", 0.512, "soft", 0.0, 0.0, [(0.0, 0.02, 8.0)]),
    ("off the plane", 0.67, "soft", 1.0, 0.0, [(0.3, 0.4, 7.8), (-0.2, -0.25, 8.2)]),
    ("edge of the field", 0.67, "soft", -1.0, 0.0, [(1.0, 0.1, 9.0), (-1.0, 0.0, 7.0), (0.4, -0.3, 8.0)]),
    ("rigid baffle", 0.67, "rigid", 0.0, 0.0, [(0.1, 0.2, 7.6), (-0.4, 0.0, 8.3)]),
    ("steep angle and loss", 0.44, "soft", 10.0, 0.7, [(0.3, 0.1, 7.0), (-0.8, 0.2, 9.5)]),
    ("shallow and deep", 0.67, "soft", 2.0, 0.0, [(0.5, 0.2, 4.0), (-0.5, 0.1, 12.0)]),
]
# PyMUST's default directivity, that of the centre frequency, is itself further off than ours in the last two.
CASES = [(scene, True) for scene in SCENES] + [(scene, False) for scene in SCENES[:4]]


@pytest.mark.parametrize(
    ("scene", "own_directivity"),
    CASES,
    ids=[f"{scene[0]}-{'every' if own else 'centre'} frequency's directivity" for scene, own in CASES],
)
def test_rf_agrees_with_pymust(scene: tuple, own_directivity: bool) -> None:
    _, bandwidth, baffle, degrees, attenuation, millimetres = scene
    probe = probe_of(bandwidth, baffle)
    transmit = PlaneWaves(angles=(math.radians(degrees),), transmit_frequency=FREQUENCY, n_cycles=3)
    positions = np.array(millimetres) * 1e-3
    reflectivity = np.linspace(1.0, 0.6, len(positions))
    expected = pymust_echoes(
        positions,
        reflectivity,
        probe,
        transmit,
        speed_of_sound=SPEED,
        attenuation=attenuation,
        own_directivity=own_directivity,
    ).radio_frequency
    n_samples = math.floor(WINDOW_LENGTH * 2 * FREQUENCY)
    # The band of the baseband signal is all of 0 to 2 fc, as in PyMUST, so that the RF can be compared.
    baseband = simulate_channel_data(
        positions[None],
        reflectivity,
        probe,
        transmit,
        start_time=0.0,
        n_samples=n_samples,
        sampling_frequency=2 * FREQUENCY,
        demodulation_frequency=FREQUENCY,
        speed_of_sound=SPEED,
        attenuation=attenuation,
        oversampling=2,
        backend="reference",
    )[0, 0]
    time = np.arange(2 * n_samples) / RF_RATE
    rf = np.real(baseband * np.exp(2j * np.pi * FREQUENCY * time))
    # Much of what is left is PyMUST refreshing its elevation factor every 20 bins: it shrinks with its step.
    assert relative_difference(rf, expected[:, : rf.shape[1]]) < 0.01


@pytest.mark.parametrize("name", ["ref_3d_n1_step0.1", "ref_3d_n5_step0.1"])
def test_spectra_agree_with_the_stored_ones(name: str) -> None:
    path = REFERENCE / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"no PyMUST reference at {path}; set ULMPIPE_REFERENCE")
    stored = np.load(path)
    probe = Probe(
        n_elements=int(stored["nel"]),
        pitch=float(stored["pitch"]),
        width=float(stored["width"]),
        height=float(stored["height"]),
        elevation_focus=float(stored["focus"]),
        center_frequency=float(stored["fc"]),
        bandwidth=float(stored["bandwidth_pct"]) / 100,
        baffle=str(stored["baffle"]),
    )
    transmit = PlaneWaves(
        angles=tuple(stored["angles"]),
        transmit_frequency=float(stored["ftx"]),
        n_cycles=float(stored["txnow"]),
    )
    delays = transmit.delays(probe, speed_of_sound=float(stored["c"]))
    np.testing.assert_allclose(delays, stored["delays"][:, 0], atol=1e-12)
    positions = np.stack([stored["x"], stored["y"], stored["z"]], axis=1)
    for angle in range(len(delays)):
        step = 2 * probe.center_frequency / (int(stored[f"nf_full{angle}"]) - 1)
        expected = stored[f"spec{angle}"].T / step
        found = echo_spectrum(
            positions,
            stored["rc"].astype(complex),
            np.arange(expected.shape[1]) * 10 * step,
            probe,
            transmit,
            delays=delays[angle],
            speed_of_sound=float(stored["c"]),
        )
        # The stored spectra use two sub-elements and the centre frequency's directivity: 0.8 % apart.
        assert relative_difference(found, expected) < 0.01
        two_parts = echo_spectrum(
            positions,
            stored["rc"].astype(complex),
            np.arange(expected.shape[1]) * 10 * step,
            probe,
            transmit,
            delays=delays[angle],
            speed_of_sound=float(stored["c"]),
            n_subelements=2,
        )
        assert relative_difference(two_parts, expected) < 0.01
