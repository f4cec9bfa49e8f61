"""The CUDA simulator against the reference: its source compiled for the host, and on a GPU where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe, simulate_channel_data
from ulmpipe.acoustics.elevation import elevation_lattice
from ulmpipe.acoustics.window import ReceiveWindow
from ulmpipe.errors import InputError

SETTINGS = {
    "start_time": 9e-6,
    "n_samples": 80,
    "sampling_frequency": 15.625e6,
    "demodulation_frequency": 15.625e6,
    "speed_of_sound": 1540.0,
}
TRANSMIT = PlaneWaves(angles=(-0.02, 0.0, 0.1), transmit_frequency=15e6, n_cycles=3)


def scene(n_geometries: int, n_bubbles: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of bubbles, some absent, one behind the probe, and their complex reflectivity."""
    rng = np.random.default_rng(4)
    positions = rng.uniform(-0.5e-3, 0.5e-3, (2, n_geometries, n_bubbles, 3)) + np.array([0, 0, 8e-3])
    if n_bubbles > 3:
        positions[0, :, 0] = np.nan
        positions[0, :, 2, 1] = np.inf
        positions[1, 0, -1, 2] = -1e-3
    return positions, rng.uniform(0.5, 1.5, (2, n_bubbles)) * np.exp(1j * rng.uniform(0, 6, (2, n_bubbles)))


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


CASES = {
    "40 elements": ({"n_elements": 40}, {}),
    "96 elements, attenuation": ({"n_elements": 96}, {"attenuation": 0.7}),
    "one element": ({"n_elements": 1}, {}),
    "rigid baffle": ({"n_elements": 32, "baffle": "rigid"}, {}),
    "two dimensions": ({"n_elements": 40, "height": np.inf}, {}),
    "33 bins": ({"n_elements": 33}, {"n_samples": 65, "demodulation_frequency": 14e6}),
    "oversampled": ({"n_elements": 40}, {"oversampling": 3}),
    "longer than the registers like": ({"n_elements": 400, "pitch": 0.03e-3, "width": 0.02e-3}, {}),
}


@pytest.mark.parametrize("n_geometries", [1, 3])
@pytest.mark.parametrize(("probe", "settings"), CASES.values(), ids=CASES.keys())
def test_it_agrees_with_the_reference(gpu, probe, settings, n_geometries) -> None:
    probe = named_probe("L22-14v", **probe)
    positions, reflectivity = scene(n_geometries)
    settings = {**SETTINGS, "n_samples": 104, **settings}
    expected = simulate_channel_data(
        positions, reflectivity, probe, TRANSMIT, **settings, backend="reference"
    )
    found = simulate_channel_data(positions, reflectivity, probe, TRANSMIT, **settings, backend="gpu")
    assert isinstance(found, np.ndarray)
    assert relative_error(found, expected) < 1e-4


@pytest.mark.parametrize(
    ("depth", "start_time", "tile", "series"),
    [(20e-3, 22e-6, 64, False), (6e-3, 6e-6, 16, False), (3.2e-3, 2.6e-6, 16, True)],
)
def test_near_the_probe_a_polynomial_serves_few_elements(gpu, depth, start_time, tile, series) -> None:
    probe = named_probe("L22-14v", n_elements=64)
    rng = np.random.default_rng(5)
    positions = rng.uniform(-0.4e-3, 0.4e-3, (2, 4, 3)) + np.array([0, 0, depth])
    settings = {**SETTINGS, "start_time": start_time, "n_samples": 160}
    window = ReceiveWindow(**{name: settings[name] for name in settings if name != "speed_of_sound"})
    lattice = elevation_lattice(probe, TRANSMIT, window, 64, settings["speed_of_sound"])
    assert (lattice.tile, lattice.series) == (tile, series)
    expected = simulate_channel_data(positions, np.ones(4), probe, TRANSMIT, **settings, backend="reference")
    found = simulate_channel_data(positions, np.ones(4), probe, TRANSMIT, **settings, backend="gpu")
    assert relative_error(found, expected) < 1e-4


def test_frames_without_bubbles_are_silent_and_a_result_may_stay_on_the_gpu(gpu) -> None:
    probe = named_probe("L22-14v", n_elements=16)
    positions, reflectivity = scene(1)
    positions[1] = np.nan
    out = gpu.asarray(np.full((2, 3, 16, 80), np.nan, dtype=np.complex64))
    found = simulate_channel_data(positions, reflectivity, probe, TRANSMIT, **SETTINGS, out=out)
    assert found is out
    assert isinstance(out, gpu.ndarray)
    assert np.abs(out.get()[0]).max() > 0
    assert (out.get()[1] == 0).all()


def test_what_is_on_a_gpu_is_not_filled_by_the_cpu(gpu) -> None:
    out = gpu.empty((2, 3, 16, 80), dtype=np.complex64)
    with pytest.raises(InputError, match="out is on a GPU"):
        simulate_channel_data(
            *scene(1), named_probe("L22-14v", n_elements=16), TRANSMIT, **SETTINGS, out=out, backend="cpu"
        )
