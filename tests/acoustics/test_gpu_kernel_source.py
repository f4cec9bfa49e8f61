"""The CUDA simulator against the reference: its source compiled for the host, and on a GPU where there is one."""

from __future__ import annotations

import math
from typing import NoReturn

import numpy as np
import pytest

from ulmpipe.acoustics import (
    PlaneWaves,
    Probe,
    composed_gpu,
    kernels_gpu,
    named_probe,
    simulate_channel_data,
    tiled_gpu,
)
from ulmpipe.acoustics.elevation import elevation_lattice
from ulmpipe.acoustics.named_probes import probe_names
from ulmpipe.acoustics.window import ReceiveWindow, echo_times, ringing_time
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


@pytest.fixture(params=[composed_gpu, tiled_gpu], ids=["composed", "tiled"])
def only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have only one family of kernels do the work, whatever fits."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("the other family was taken")

    if request.param is tiled_gpu:
        monkeypatch.setattr(composed_gpu, "degrees_for", lambda *_: None)
    else:
        monkeypatch.setattr(tiled_gpu, "kernels", refuse)


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
@pytest.mark.usefixtures("only")
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


def test_without_scatterers_there_is_silence(gpu, monkeypatch) -> None:
    simulate, probe = kernels_gpu.simulate_samples, named_probe("L22-14v", n_elements=16)

    def with_nobody(positions, reflectivity, tables, **settings) -> None:
        simulate(positions[:, :, :0], reflectivity[:, :0], tables, **settings)

    monkeypatch.setattr(kernels_gpu, "simulate_samples", with_nobody)
    out = gpu.asarray(np.full((2, 3, 16, 80), np.nan, dtype=np.complex64))
    simulate_channel_data(*scene(1), probe, TRANSMIT, **SETTINGS, out=out)
    assert (out.get() == 0).all()


def corners(probe: Probe, depth: float, elevation: float, lateral: float) -> np.ndarray:
    """A bubble a frame: in the middle and to the side, in the image plane and off it, at a depth and below."""
    places = [(x, y, z) for x in (0.0, lateral) for y in (0.0, elevation) for z in (depth, 1.3 * depth)]
    return np.array(places)[:, None]


def errors_of_bubbles(probe: Probe, positions: np.ndarray) -> np.ndarray:
    """Relative errors of each frame by the GPU's kernels, in a window just long enough."""
    transmit = PlaneWaves(angles=(0.0,), transmit_frequency=probe.center_frequency, n_cycles=2)
    speed, ringing = SETTINGS["speed_of_sound"], ringing_time(probe, transmit)
    earliest, latest = echo_times(positions[:, None], probe, transmit, speed_of_sound=speed)
    start = max(earliest - ringing, 0.0)
    settings = {
        "start_time": start,
        "n_samples": 16 * math.ceil((latest + ringing - start) * probe.center_frequency / 16 + 1),
        "sampling_frequency": probe.center_frequency,
        "demodulation_frequency": probe.center_frequency,
        "speed_of_sound": speed,
        "attenuation": 0.5,
    }
    found, expected = (
        simulate_channel_data(positions, np.ones(1), probe, transmit, **settings, backend=backend)
        for backend in ("gpu", "reference")
    )
    return np.linalg.norm((found - expected).reshape(len(found), -1), axis=1) / np.linalg.norm(
        expected.reshape(len(found), -1), axis=1
    )


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...] | None]:
    """The degrees that are chosen for scenes from here on."""
    choose, seen = composed_gpu.degrees_for, []

    def noting(*arguments) -> tuple[int, ...] | None:
        seen.append(choose(*arguments))
        return seen[-1]

    monkeypatch.setattr(composed_gpu, "degrees_for", noting)
    return seen


FEW, MORE = composed_gpu.FEW_DEGREES, composed_gpu.MORE_DEGREES


QUICK = ("L22-14v", "L11-4v", "L12-3v")  # probes of the ordinary test run


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in probe_names()]
)
def test_no_bubbles_polynomial_is_too_short(host_gpu, name, chosen) -> None:
    probe = named_probe(name)
    edge = probe.element_positions[-1]
    for depth, elevation, lateral in [
        (1.1, 0.6, 0.3 * edge),
        (2.0, 0.25, edge),
        (2.0, 0.5, 1.5 * edge),
        (4.0, 0.5, edge),
    ]:
        positions = corners(probe, depth * probe.elevation_focus, elevation * probe.height, lateral)
        largest = errors_of_bubbles(probe, positions).max()
        assert largest < 1e-4 or chosen[-1] is None
    assert set(chosen) & {FEW, MORE}


@pytest.mark.parametrize("depth", [0.2e-3, 0.8e-3, 2e-3, 10e-3])
@pytest.mark.parametrize("name", ["L22-14v", "L12-5-50mm"])
def test_nor_is_one_in_two_dimensions(host_gpu, name, depth) -> None:
    probe = named_probe(name, height=math.inf)
    positions = corners(probe, depth, 0.0, probe.element_positions[-1])
    assert errors_of_bubbles(probe, positions).max() < 1e-4


@pytest.mark.parametrize(
    ("height", "depth", "elevation", "expected", "too_low"),
    [
        (1.5e-3, 8.5e-3, 0.2e-3, FEW, None),
        (1.5e-3, 8e-3, 0.75e-3, MORE, None),
        (1.5e-3, 7e-3, 0.8e-3, None, FEW),
        (1.5e-3, 6.6e-3, 1e-3, None, MORE),
        (math.inf, 0.2e-3, 0.0, None, MORE),
    ],
)
def test_where_degrees_would_not_do_the_other_kernels_are_taken(
    host_gpu, monkeypatch, chosen, height, depth, elevation, expected, too_low
) -> None:
    probe = named_probe("L22-14v", height=height)
    positions = corners(probe, depth, elevation, probe.element_positions[-1])
    assert errors_of_bubbles(probe, positions).max() < 1e-4
    assert chosen == [expected]
    if too_low:
        monkeypatch.setattr(composed_gpu, "degrees_for", lambda *_: too_low)
        assert errors_of_bubbles(probe, positions).max() > 1e-4


def test_what_is_on_a_gpu_is_not_filled_by_the_cpu(gpu) -> None:
    out = gpu.empty((2, 3, 16, 80), dtype=np.complex64)
    with pytest.raises(InputError, match="out is on a GPU"):
        simulate_channel_data(
            *scene(1), named_probe("L22-14v", n_elements=16), TRANSMIT, **SETTINGS, out=out, backend="cpu"
        )
