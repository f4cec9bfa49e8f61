"""The simulator's public function: backends against the reference, conventions, and scenes at their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe, simulate_channel_data
from ulmpipe.acoustics.elevation import elevation_lattice
from ulmpipe.acoustics.window import ReceiveWindow
from ulmpipe.errors import InputError

SPEED = 1540.0
CARRIER = 15.625e6
PROBE = named_probe("L22-14v")
WAVES = PlaneWaves(angles=np.deg2rad([-1.0, 0.0, 1.0]), transmit_frequency=15e6, n_cycles=3)
WINDOW = {
    "start_time": 9e-6,
    "n_samples": 96,
    "sampling_frequency": CARRIER,
    "demodulation_frequency": CARRIER,
    "speed_of_sound": SPEED,
}
RECEIVE = ("start_time", "n_samples", "sampling_frequency", "demodulation_frequency")
WIDE = {**WINDOW, "start_time": 8.7e-6, "n_samples": 104}


def simulate(positions, reflectivity, probe=PROBE, waves=WAVES, **settings) -> np.ndarray:
    return simulate_channel_data(positions, reflectivity, probe, waves, **{**WINDOW, **settings})


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def bubbles(*shape: int, half: tuple[float, float, float] = (0.5e-3, 0.5e-3, 0.5e-3)) -> np.ndarray:
    rng = np.random.default_rng(shape)
    return rng.uniform(-1, 1, (*shape, 3)) * half + np.array([0, 0, 8e-3])


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (1, 3, 17), (3, 1)])
def test_cpu_agrees_with_the_reference_in_the_cube(shape: tuple[int, ...]) -> None:
    reflectivity = np.linspace(0.5, 1.5, shape[-1])
    expected = simulate(bubbles(*shape), reflectivity, backend="reference")
    assert relative_difference(simulate(bubbles(*shape), reflectivity, backend="cpu"), expected) < 2e-5


@pytest.mark.parametrize(
    ("probe", "angles", "window", "places"),
    [
        ({}, (-0.0175, 0.0, 0.0175), WIDE, bubbles(1, 3, 6, half=(1e-3, 0.7e-3, 1e-3))),
        ({"baffle": "rigid", "n_elements": 37}, (0.1,), WINDOW, bubbles(2, 3)),
        ({"n_elements": 1}, (0.0, 0.05), {"n_samples": 60}, bubbles(1, 2, 2)),
        ({"elevation_focus": math.inf}, (0.0,), {"attenuation": 0.7}, bubbles(1, 3)),
        ({"bandwidth": 0.44}, (0.0,), {"n_samples": 101, "oversampling": 3}, bubbles(1, 3)),
        (
            {"pitch": 0.3e-3, "width": 0.27e-3, "height": 5e-3, "elevation_focus": 18e-3,
             "center_frequency": 7.6e6},
            (-0.05, 0.05),
            {"start_time": 35e-6, "n_samples": 128, "sampling_frequency": 7.6e6, "demodulation_frequency": 7.6e6},
            bubbles(1, 2, 4) + np.array([0, 0, 20e-3]),
        ),
        ({}, (0.0,), {"start_time": 4e-6, "n_samples": 240}, bubbles(1, 4, half=(3e-3, 0.3e-3, 4e-3))),
    ],
    ids=["wide field", "rigid, 37 elements", "one element", "flat lens, loss", "odd window", "L11", "shallow"],
)  # fmt: skip
def test_cpu_agrees_with_the_reference_for_other_probes(
    probe: dict, angles: tuple, window: dict, places: np.ndarray
) -> None:
    waves = PlaneWaves(angles=angles, transmit_frequency=probe.get("center_frequency", 15e6), n_cycles=3)
    arguments = (places, np.ones(places.shape[-2]), named_probe("L22-14v", **probe), waves)
    window = {**WINDOW, **window}
    receive = ReceiveWindow(**{name: value for name, value in window.items() if name in RECEIVE})
    n_lanes = 16 * math.ceil(arguments[2].n_elements / 16)
    # Without a lattice the CPU backend would be the reference, and the comparison empty.
    assert elevation_lattice(arguments[2], waves, receive, n_lanes, SPEED) is not None
    expected = simulate(*arguments, **window, backend="reference")
    found = simulate(*arguments, **window, backend="cpu")
    assert relative_difference(found, expected) < 1e-4
    assert not np.array_equal(found, expected)


@pytest.mark.parametrize("y", [0.0, 0.3e-3, 0.5e-3, 0.8e-3, 1.0e-3])
def test_a_lone_bubble_off_the_plane_is_as_exact_as_one_in_it(y: float) -> None:
    position = np.array([[[0.1e-3, y, 8e-3]]])
    expected = simulate(position, [1.0], backend="reference")
    assert relative_difference(simulate(position, [1.0], backend="cpu"), expected) < 1e-4


def test_the_echo_of_a_bubble_peaks_at_its_travel_time_on_every_element() -> None:
    x, z = 0.2e-3, 8.1e-3
    waves = PlaneWaves(angles=(0.0,), transmit_frequency=15e6, n_cycles=3)
    samples = simulate(np.array([[[x, 0.0, z]]]), [1.0], waves=waves, oversampling=16)[0, 0]
    peak = WINDOW["start_time"] + np.abs(samples).argmax(axis=1) / (16 * CARRIER)
    expected = (z + np.hypot(x - PROBE.element_positions, z)) / SPEED
    central = slice(32, 96)
    # The transmitted edge waves and the element's directivity shift the peak by a few nanoseconds.
    np.testing.assert_allclose(peak[central], expected[central], atol=0.1 / 15e6)


def test_time_zero_is_when_the_first_element_fires() -> None:
    degrees = 5.0
    waves = PlaneWaves(angles=(math.radians(degrees),), transmit_frequency=15e6, n_cycles=3)
    delays = waves.delays(PROBE, speed_of_sound=SPEED)
    assert delays.min() == 0.0
    assert delays.argmin() == 0
    assert delays.max() == pytest.approx(127 * 0.1e-3 * math.sin(math.radians(degrees)) / SPEED)


def test_oversampling_adds_samples_between_and_keeps_the_others() -> None:
    plain = simulate(bubbles(1, 3), np.ones(3), backend="cpu")
    fine = simulate(bubbles(1, 3), np.ones(3), backend="cpu", oversampling=4)
    assert fine.shape == (1, 3, 128, 384)
    assert fine.dtype == np.complex64
    assert relative_difference(fine[..., ::4], plain) < 1e-6
    expected = simulate(bubbles(1, 3), np.ones(3), backend="reference", oversampling=4)
    assert relative_difference(fine, expected) < 2e-5


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_echoes_add_and_scale_with_complex_reflectivity(backend: str) -> None:
    places = bubbles(1, 2)
    strength = np.array([0.7 - 0.2j, 1.1j])
    both = simulate(places, strength, backend=backend)
    apart = sum(strength[i] * simulate(places[:, i : i + 1], [1.0], backend=backend) for i in range(2))
    assert relative_difference(both, apart) < 1e-5


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_the_amplitude_does_not_depend_on_the_window(backend: str) -> None:
    place = np.array([[[0.0, 0.0, 8e-3]]])
    short = simulate(place, [1.0], backend=backend)
    long = simulate(place, [1.0], backend=backend, n_samples=160)
    assert relative_difference(long[..., :96], short) < 3e-3  # the band's edges ring differently


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_bubbles_with_nan_or_behind_the_probe_are_absent(backend: str) -> None:
    places = bubbles(2, 3)
    places[0, 1] = np.nan
    places[1, 0, 2] = -2e-3
    found = simulate(places, np.ones(3), backend=backend)
    expected = [
        simulate(places[:1, [0, 2]], np.ones(2), backend=backend),
        simulate(places[1:, [1, 2]], np.ones(2), backend=backend),
    ]
    assert relative_difference(found, np.concatenate(expected)) < 1e-6


def test_a_window_that_opens_next_to_the_probe_is_exact_too() -> None:
    # Too near for the elevation table: the CPU backend falls back on the reference.
    places = np.array([[[0.1e-3, 0.2e-3, 1e-3]]])
    window = {"start_time": 0.0, "n_samples": 160}
    expected = simulate(places, [1.0], **window, backend="reference")
    assert relative_difference(simulate(places, [1.0], **window, backend="cpu"), expected) < 1e-6


def test_no_bubbles_give_silence() -> None:
    assert not simulate(np.zeros((2, 0, 3)), np.zeros(0)).any()
    assert not simulate(np.full((2, 3, 4, 3), np.nan), np.ones(4)).any()
    assert simulate(np.zeros((2, 0, 3)), np.zeros(0)).shape == (2, 3, 128, 96)
    assert simulate(np.zeros((0, 2, 3)), np.ones(2)).shape == (0, 3, 128, 96)


def test_the_result_does_not_depend_on_threads_or_on_how_frames_are_cut() -> None:
    places, strengths = bubbles(7, 3, 9), np.ones(9)
    whole = simulate(places, strengths, backend="cpu", workers=1)
    for workers in (2, 3, 16):
        np.testing.assert_array_equal(simulate(places, strengths, backend="cpu", workers=workers), whole)
    parts = [simulate(places[i : i + 1], strengths, backend="cpu") for i in range(7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_window_too_short_for_the_edge_waves_is_refused_with_the_length_needed() -> None:
    places = np.array([[[1.0e-3, 0.0, 9e-3]]])
    with pytest.raises(InputError, match=r"wrap around.*n_samples at least (\d+)") as caught:
        simulate(places, [1.0])
    needed = int(str(caught.value).rsplit(maxsplit=1)[-1])
    simulate(places, [1.0], n_samples=needed)
    with pytest.raises(InputError, match="wrap around"):
        simulate(places, [1.0], n_samples=needed - 1)
    with pytest.raises(InputError, match=r"start_time at most 7\.\d+ µs"):
        simulate(np.array([[[0.0, 0.0, 6e-3]]]), [1.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((2, 3))}, "positions: shape"),
        ({"positions": np.zeros((2, 2, 5, 3))}, "positions: shape"),
        ({"reflectivity": np.ones(4)}, "reflectivity: shape"),
        ({"reflectivity": np.full(5, np.nan)}, "reflectivity"),
        ({"demodulation_frequency": -1.0}, "demodulation_frequency"),
        ({"sampling_frequency": 40e6}, "below zero"),
        ({"n_samples": 0}, "n_samples"),
        ({"start_time": -1e-6}, "start_time"),
        ({"speed_of_sound": math.nan}, "speed_of_sound"),
        ({"attenuation": -0.5}, "attenuation"),
        ({"oversampling": 0}, "oversampling"),
        ({"backend": "fpga"}, "backend"),
    ],
)
def test_mistakes_are_told_in_one_line(change: dict, message: str) -> None:
    arguments = {"positions": bubbles(1, 5), "reflectivity": np.ones(5), **WINDOW, **change}
    with pytest.raises(InputError, match=message) as caught:
        simulate_channel_data(
            arguments.pop("positions"), arguments.pop("reflectivity"), PROBE, WAVES, **arguments
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_elements", 0), ("pitch", -1e-4), ("width", 0.2e-3), ("bandwidth", 2.5), ("baffle", "hard")],
)
def test_an_impossible_probe_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"probe {field}"):
        named_probe("L22-14v", **{field: value})


def test_impossible_plane_waves_are_refused() -> None:
    with pytest.raises(InputError, match="angles"):
        PlaneWaves(angles=(), transmit_frequency=15e6, n_cycles=3)
    with pytest.raises(InputError, match="transmit_frequency"):
        PlaneWaves(angles=(0.0,), transmit_frequency=0.0, n_cycles=3)
