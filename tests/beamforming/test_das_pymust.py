"""Delay-and-sum against `pymust.dasmtx` on the same samples, and against exact delays, for simulated echoes."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from ulmpipe.acoustics import PlaneWaves, named_probe, simulate_channel_data
from ulmpipe.acoustics.receiver import receive_window
from ulmpipe.beamforming import Grid, delay_and_sum

CONFIG = yaml.safe_load((Path(__file__).resolve().parents[2] / "config" / "config.yaml").read_text())
PROBE = named_probe(CONFIG["probe"]["name"])
SEQUENCE = CONFIG["sequence"]
SPEED = CONFIG["medium"]["speed_of_sound"]
RATE, DEMODULATION = SEQUENCE["sampling_frequency"], SEQUENCE["demodulation_frequency"]
FINE = 4  # times the IQ's own rate, for comparisons in which interpolation is to be no matter
HALF_PERCENT = 0.005


def waves(*degrees: float) -> PlaneWaves:
    return PlaneWaves(
        angles=tuple(map(math.radians, degrees)),
        transmit_frequency=SEQUENCE["transmit_frequency"],
        n_cycles=SEQUENCE["n_cycles"],
    )


def square_grid(n: int, x: float, z: float, pixel: float = CONFIG["beamforming"]["pixel"]) -> Grid:
    offset = pixel * (np.arange(n) - (n - 1) / 2)
    return Grid(x=x + offset, z=z + offset)


@lru_cache(maxsize=4)
def echoes(
    x: float, z: float, degrees: tuple[float, ...], oversampling: int
) -> tuple[np.ndarray, dict[str, float]]:
    """IQ (frame, angle, element, sample) of two frames of ten bubbles about (x, z), and when it was recorded."""
    bubbles = np.random.default_rng(5).uniform(-0.5e-3, 0.5e-3, (2, 10, 3)) + np.array([x, 0, z])
    start_time, n_samples = receive_window(
        PROBE,
        waves(*degrees),
        lateral_range=(x - 0.5e-3, x + 0.5e-3),
        depth_range=(z - 0.5e-3, z + 0.5e-3),
        elevation_half_width=0.5e-3,
        sampling_frequency=RATE,
        speed_of_sound=SPEED,
    )
    record = {"start_time": start_time, "demodulation_frequency": DEMODULATION, "speed_of_sound": SPEED}
    data = simulate_channel_data(
        bubbles,
        np.ones(10),
        PROBE,
        waves(*degrees),
        **record,
        n_samples=n_samples,
        sampling_frequency=RATE,
        oversampling=oversampling,
    )
    return data, {**record, "sampling_frequency": RATE * oversampling}


def pymust_image(
    data: np.ndarray, record: dict[str, float], grid: Grid, transmit: PlaneWaves, f_number: float
) -> np.ndarray:
    """Mean over the angles of PyMUST's images of one frame, linear interpolation between samples."""
    pymust = pytest.importorskip("pymust")
    x, z = np.meshgrid(grid.x, grid.z)
    image = np.zeros(x.shape, complex)
    for wave, delays in zip(data, transmit.delays(PROBE, speed_of_sound=SPEED), strict=True):
        param = pymust.utils.Param()
        param.fs, param.fc, param.c = record["sampling_frequency"], DEMODULATION, SPEED
        param.pitch, param.Nelements, param.radius = PROBE.pitch, PROBE.n_elements, np.inf
        param.t0, param.fnumber = np.array([[record["start_time"]]]), f_number
        size = 1j * np.array([wave.shape[-1], PROBE.n_elements])
        matrix = pymust.dasmtx(size, x, z, delays[None, :], param)
        image += (matrix @ wave.T.flatten(order="F")).reshape(x.shape, order="F") / len(data)
    return image


def exact_image(
    data: np.ndarray, record: dict[str, float], grid: Grid, transmit: PlaneWaves, f_number: float
) -> np.ndarray:
    """Every frequency bin shifted by the exact delay: interpolation without error."""
    n_samples = data.shape[-1]
    spectrum = np.fft.fft(data, axis=-1) / n_samples
    frequency = np.fft.fftfreq(n_samples, 1 / record["sampling_frequency"])[:, None]
    x, z = (axis.ravel() for axis in np.meshgrid(grid.x, grid.z))
    image = np.zeros((len(data), x.size), complex)
    for a, angle in enumerate(transmit.angles):
        projection = PROBE.element_positions * math.sin(angle)
        for e, element in enumerate(PROBE.element_positions):
            path = x * math.sin(angle) + z * math.cos(angle) - projection.min() + np.hypot(x - element, z)
            shift = np.exp(2j * np.pi * frequency * (path / SPEED - record["start_time"]))
            inside = (np.abs(x - element) <= z / (2 * f_number)) if f_number else 1
            image += (spectrum[:, a, e] @ shift) * np.exp(2j * np.pi * DEMODULATION * path / SPEED) * inside
    return image.reshape(-1, *grid.shape) / len(transmit.angles)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


GRIDS = {
    "centre": (0.0, 8e-3),
    "to the side": (-3.2e-3, 8.3e-3),
    "shallow": (1e-3, 4e-3),
    "deep": (0.5e-3, 20e-3),
}
ANGLES = [(0,), (-15,), (15,), (7.5,), (-1, 0, 1), (-15, -4, 4, 15)]


@pytest.mark.parametrize("degrees", ANGLES, ids=str)
@pytest.mark.parametrize("place", GRIDS.values(), ids=GRIDS.keys())
def test_it_agrees_with_pymust_between_the_same_samples(place: tuple, degrees: tuple) -> None:
    # Both interpolate linearly between the samples they are given.
    data, record = echoes(*place, degrees, FINE)
    grid, transmit = square_grid(16, *place), waves(*degrees)
    for f_number in (0.0, 1.0, 2.5):
        ours = delay_and_sum(
            data[:1], grid, PROBE, transmit, **record, f_number=f_number, oversampling=1, backend="cpu"
        )[0]
        theirs = pymust_image(data[0], record, grid, transmit, f_number)
        assert relative_difference(ours, theirs) < HALF_PERCENT


@pytest.mark.parametrize("degrees", [(0,), (-1, 0, 1), (-15, 15)], ids=str)
def test_so_it_does_between_samples_that_are_not_oversampled(degrees: tuple) -> None:
    data, record = echoes(0.0, 8e-3, degrees, 1)
    grid, transmit = square_grid(16, 0.0, 8e-3), waves(*degrees)
    ours = delay_and_sum(data[:1], grid, PROBE, transmit, **record, oversampling=1, backend="cpu")[0]
    assert relative_difference(ours, pymust_image(data[0], record, grid, transmit, 0.0)) < HALF_PERCENT
    # Not for want of a difference to see: both are far from the exact image.
    assert relative_difference(ours, exact_image(data[:1], record, grid, transmit, 0.0)[0]) > 0.03


@pytest.mark.parametrize("oversampling", [4, 16, "before"])
@pytest.mark.parametrize("f_number", [0.0, 1.5])
def test_it_comes_to_the_image_of_pymust_from_fine_samples(f_number: float, oversampling: int | str) -> None:
    degrees = (-10, 0, 10)
    fine, fine_record = echoes(0.0, 8e-3, degrees, 16)
    data, record = echoes(0.0, 8e-3, degrees, 16 if oversampling == "before" else 1)
    factor = 1 if oversampling == "before" else oversampling
    grid, transmit = square_grid(24, 0.0, 8e-3), waves(*degrees)
    settings = {**record, "f_number": f_number, "oversampling": factor}
    ours = delay_and_sum(data[:1], grid, PROBE, transmit, **settings, backend="cpu")[0]
    theirs = pymust_image(fine[0], fine_record, grid, transmit, f_number)
    assert relative_difference(ours, theirs) < HALF_PERCENT


@pytest.mark.parametrize("oversampling", [CONFIG["beamforming"]["oversampling"], 5, 8])
@pytest.mark.parametrize("f_number", [0.0, 1.5])
@pytest.mark.parametrize("place", [GRIDS["centre"], GRIDS["to the side"]], ids=["centre", "to the side"])
def test_interpolation_of_simulated_echoes_costs_less_than_half_a_percent(
    place: tuple, f_number: float, oversampling: int
) -> None:
    degrees = tuple(SEQUENCE["angles_deg"])
    data, record = echoes(*place, degrees, 1)
    grid, transmit = square_grid(32, *place), waves(*degrees)
    settings = {**record, "f_number": f_number, "oversampling": oversampling}
    image = delay_and_sum(data, grid, PROBE, transmit, **settings, backend="cpu")
    assert relative_difference(image, exact_image(data, record, grid, transmit, f_number)) < HALF_PERCENT


def test_the_sum_over_angles_is_coherent() -> None:
    degrees = (-15, -4, 4, 15)
    data, record = echoes(0.0, 8e-3, degrees, FINE)
    grid = square_grid(16, 0.0, 8e-3)
    together = delay_and_sum(data, grid, PROBE, waves(*degrees), **record, oversampling=1, backend="cpu")
    single = [
        delay_and_sum(data[:, i : i + 1], grid, PROBE, waves(angle), **record, oversampling=1, backend="cpu")
        for i, angle in enumerate(degrees)
    ]
    assert relative_difference(together, np.mean(single, axis=0)) < 1e-6
