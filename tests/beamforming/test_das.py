"""Delay-and-sum against exact spectral delay-and-sum, PyMUST, and bubbles whose place is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, Probe, named_probe, simulate_channel_data
from ulmpipe.beamforming import Grid, delay_and_sum
from ulmpipe.errors import InputError

DEMODULATION = 15.625e6
SPEED = 1540.0
PIXEL = 25e-6
RECORD = {
    "start_time": 9e-6,
    "sampling_frequency": DEMODULATION,
    "demodulation_frequency": DEMODULATION,
    "speed_of_sound": SPEED,
}
N_SAMPLES = 96


def make_probe(*, n_elements: int = 128, height: float = 1.5e-3) -> Probe:
    return named_probe("L22-14v", n_elements=n_elements, height=height)


def make_transmit(*degrees: float) -> PlaneWaves:
    return PlaneWaves(angles=tuple(np.deg2rad(degrees)), transmit_frequency=15e6, n_cycles=3)


def make_grid(n: int, *, x: float = 0.0, z: float = 8e-3, step: float = PIXEL) -> Grid:
    offset = step * (np.arange(n) - (n - 1) / 2)
    return Grid(x=x + offset, z=z + offset)


def pulse_echoes(positions, probe, transmit, *, n_samples=N_SAMPLES):
    """IQ of points (frame, point, (x, z)) under plane waves: a Gaussian pulse, arrival times written out anew."""
    element = probe.element_positions
    time = RECORD["start_time"] + np.arange(n_samples) / DEMODULATION
    data = np.zeros((len(positions), len(transmit.angles), element.size, n_samples), complex)
    for frame, points in enumerate(positions):
        for a, angle in enumerate(transmit.angles):
            fired = (element * np.sin(angle)).min()
            for x, z in points:
                path = x * np.sin(angle) + z * np.cos(angle) - fired + np.hypot(x - element, z)
                since = time - path[:, None] / SPEED
                carrier = 2j * np.pi * (15e6 * since - DEMODULATION * time)
                data[frame, a] += np.exp(-0.5 * (since / 80e-9) ** 2 + carrier)
    return data


def exact_delay_and_sum(data, grid, probe, transmit, *, f_number=0.0):
    """Every frequency bin shifted by the exact delay: interpolation without error."""
    n = data.shape[-1]
    spectrum = np.fft.fft(data, axis=-1) / n
    frequency = np.fft.fftfreq(n, 1 / DEMODULATION)
    x, z = np.meshgrid(grid.x, grid.z)
    image = np.zeros((data.shape[0], x.size), complex)
    for a, angle in enumerate(transmit.angles):
        fired = (probe.element_positions * np.sin(angle)).min()
        for e, element in enumerate(probe.element_positions):
            delay = (x * np.sin(angle) + z * np.cos(angle) - fired + np.hypot(x - element, z)) / SPEED
            shift = np.exp(2j * np.pi * frequency[:, None] * (delay.ravel() - RECORD["start_time"]))
            weight = np.exp(2j * np.pi * DEMODULATION * delay)
            if f_number:
                weight = weight * (np.abs(x - element) <= z / (2 * f_number))
            image += (spectrum[:, a, e] @ shift) * weight.ravel()
    return image.reshape(-1, *grid.shape) / len(transmit.angles)


def relative_error(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(1)
    probe, transmit = make_probe(), make_transmit(-1, 0, 1)
    lateral, depth = rng.uniform(-0.35e-3, 0.35e-3, (2, 4)), rng.uniform(7.65e-3, 8.35e-3, (2, 4))
    return pulse_echoes(np.stack([lateral, depth], axis=-1), probe, transmit), probe, transmit


def oversampled(data, factor):
    spectrum = np.fft.fftshift(np.fft.fft(data, axis=-1), axes=-1)
    extra = data.shape[-1] * (factor - 1) // 2
    padded = np.pad(spectrum, [(0, 0)] * 3 + [(extra, extra)])
    return factor * np.fft.ifft(np.fft.ifftshift(padded, axes=-1), axis=-1)


@pytest.mark.parametrize("f_number", [0.0, 1.5])
def test_interpolation_costs_less_than_half_a_percent_of_the_exact_image(scene, f_number):
    data, probe, transmit = scene
    grid = make_grid(32)
    image = delay_and_sum(data, grid, probe, transmit, f_number=f_number, backend="cpu", **RECORD)
    assert image.dtype == np.complex64
    assert relative_error(image, exact_delay_and_sum(data, grid, probe, transmit, f_number=f_number)) < 0.005


def test_more_oversampling_comes_nearer_to_the_exact_image_and_none_is_bad(scene):
    data, probe, transmit = scene
    grid = make_grid(16)
    exact = exact_delay_and_sum(data, grid, probe, transmit)
    error = [
        relative_error(delay_and_sum(data, grid, probe, transmit, oversampling=q, **RECORD), exact)
        for q in (1, 2, 4)
    ]
    assert error[0] > 0.03
    assert all(finer < coarser / 2.5 for coarser, finer in pairwise(error))
    finest = delay_and_sum(data, grid, probe, transmit, oversampling=8, **RECORD)
    assert relative_error(finest, exact) < error[-1]


def test_data_that_come_oversampled_give_the_same_image(scene):
    data, probe, transmit = scene
    grid = make_grid(16)
    record = RECORD | {"sampling_frequency": 4 * DEMODULATION}
    fine = delay_and_sum(oversampled(data, 4), grid, probe, transmit, oversampling=1, **record)
    # not quite the same: samples made here are made for the linear interpolation between them
    assert relative_error(delay_and_sum(data, grid, probe, transmit, **RECORD), fine) < 5e-3


@pytest.mark.parametrize("f_number", [0.0, 1.5])
def test_it_agrees_with_pymust_on_the_same_samples(scene, f_number):
    pymust = pytest.importorskip("pymust")
    data, probe, transmit = scene
    grid = make_grid(24)
    x, z = np.meshgrid(grid.x, grid.z)
    fine = oversampled(data, 4)
    theirs = np.zeros(x.shape, complex)
    for a, angle in enumerate(transmit.angles):
        param = pymust.utils.Param()
        param.fs, param.fc, param.c = 4 * DEMODULATION, DEMODULATION, SPEED
        param.pitch, param.Nelements, param.radius = probe.pitch, probe.n_elements, np.inf
        param.t0, param.fnumber = np.array([[RECORD["start_time"]]]), f_number
        fires = probe.element_positions * np.sin(angle) / SPEED
        size = 1j * np.array([fine.shape[-1], probe.n_elements])
        matrix = pymust.dasmtx(size, x, z, (fires - fires.min())[None, :], param)
        matrix = matrix[0] if isinstance(matrix, tuple) else matrix
        theirs += (matrix @ fine[0, a].T.flatten(order="F")).reshape(x.shape, order="F") / len(
            transmit.angles
        )
    ours = delay_and_sum(data[:1], grid, probe, transmit, f_number=f_number, **RECORD)[0]
    assert relative_error(ours, theirs) < 0.005


@pytest.mark.parametrize("degrees", [(-1,), (0,), (1,), (12,), (-1, 0, 1)])
@pytest.mark.parametrize("place", [(0, 8e-3), (0.31e-3, 7.63e-3), (-0.37e-3, 8.29e-3), (0.9e-3, 8.1e-3)])
def test_a_lone_bubble_comes_back_where_it_is_within_a_fiftieth_of_a_pixel(place, degrees):
    # Elements this low have no elevation lens to speak of: what is left is the beamformer's own error.
    x, z, lateral = lone_bubble(place, make_probe(height=1e-4), make_transmit(*degrees), f_number=0.0)
    assert abs(x) < PIXEL / 50
    assert abs(z) < PIXEL / 50
    assert lateral < 0


def test_the_elevation_lens_leaves_a_bubble_at_its_focus_in_place():
    x, z, _ = lone_bubble((0.31e-3, 8e-3), make_probe(), make_transmit(-1, 0, 1), f_number=1.0)
    assert abs(x) < PIXEL / 50
    assert abs(z) < PIXEL / 50


def lone_bubble(place, probe, transmit, *, f_number):
    """Error (x, z) of the envelope's peak, by a quadratic fit on a fine grid, and the lateral curvature."""
    data = simulate_channel_data(
        np.array([[[place[0], 0.0, place[1]]]]), np.ones(1), probe, transmit, n_samples=112, **RECORD
    )
    offset = np.arange(-6, 7) * 1e-6
    grid = Grid(x=place[0] + 2 * offset, z=place[1] + offset)
    envelope = np.abs(delay_and_sum(data, grid, probe, transmit, f_number=f_number, **RECORD)[0])
    assert envelope.max() > 0
    x, z = (axis.ravel() * 1e6 for axis in np.meshgrid(2 * offset, offset))
    terms = np.stack([np.ones_like(x), x, z, x * x, z * z, x * z], axis=1)
    _, fx, fz, fxx, fzz, fxz = np.linalg.lstsq(terms, envelope.ravel() / envelope.max(), rcond=None)[0]
    peak = np.linalg.solve([[2 * fxx, fxz], [fxz, 2 * fzz]], [-fx, -fz])
    return peak[0] * 1e-6, peak[1] * 1e-6, fxx


def test_the_phase_is_that_of_the_radio_frequency_image(scene):
    _, probe, transmit = scene
    depth = 8e-3
    data = pulse_echoes(np.array([[[0.0, depth]]]), probe, transmit)
    grid = Grid(x=np.zeros(1), z=depth + np.array([0.0]))
    image = delay_and_sum(data, grid, probe, transmit, **RECORD)[0, 0, 0]
    assert abs(np.angle(image)) < 0.02  # the pulse's carrier has phase zero at its peak
    assert abs(image) == pytest.approx(probe.n_elements, rel=0.01)


def test_images_do_not_depend_on_threads_nor_on_the_other_frames(scene):
    data, probe, transmit = scene
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((140, *data.shape[1:], 2), dtype=np.float32).view(np.complex64)[..., 0]
    frames, grid = noise[:, :, :48], make_grid(34)
    probe = make_probe(n_elements=48)
    settings = {"backend": "cpu"} | RECORD
    together = delay_and_sum(frames, grid, probe, transmit, workers=3, **settings)
    single = delay_and_sum(frames, grid, probe, transmit, workers=1, **settings)
    alone = delay_and_sum(frames[131:132], grid, probe, transmit, workers=1, **settings)
    assert np.abs(together).min() > 0
    np.testing.assert_array_equal(together, single)
    np.testing.assert_array_equal(together[131], alone[0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (33, 2), (70, 5)])
def test_any_grid_and_any_number_of_elements_agree_with_the_exact_image(shape):
    probe, transmit = make_probe(n_elements=5), make_transmit(3)
    z, x = (np.array([8e-3, 0])[i] + 7e-6 * (np.arange(n) - n // 2) for i, n in enumerate(shape))
    grid = Grid(x=x, z=z)
    data = pulse_echoes(np.array([[[5e-5, 8e-3]]]), probe, transmit)
    image = delay_and_sum(data, grid, probe, transmit, **RECORD)
    assert image.shape == (1, *shape)
    assert relative_error(image, exact_delay_and_sum(data, grid, probe, transmit)) < 0.01


def test_what_the_record_does_not_hold_stays_zero(scene):
    data, probe, transmit = scene
    assert not delay_and_sum(data, make_grid(3, z=1e-3), probe, transmit, **RECORD).any()
    assert not delay_and_sum(data, make_grid(3, z=30e-3), probe, transmit, **RECORD).any()
    assert not delay_and_sum(np.zeros_like(data), make_grid(3), probe, transmit, **RECORD).any()
    assert delay_and_sum(data[:0], make_grid(3), probe, transmit, **RECORD).shape == (0, 3, 3)


def test_an_aperture_of_one_element_sees_only_the_element_above(scene):
    data, probe, transmit = scene
    element = 40
    grid = Grid(x=probe.element_positions[element : element + 1], z=np.array([8e-3]))
    only = np.zeros_like(data)
    only[:, :, element] = data[:, :, element]
    narrow = delay_and_sum(data, grid, probe, transmit, f_number=8e-3 / 1e-4, **RECORD)
    np.testing.assert_array_equal(narrow, delay_and_sum(only, grid, probe, transmit, **RECORD))
    assert np.abs(narrow).min() > 0


def test_apodization_weighs_the_elements_by_their_window():
    # one pixel, one wave, and the same sample everywhere: the image is the sum of the weights
    probe, transmit = make_probe(), make_transmit(0)
    grid = Grid(x=np.array([0.0]), z=np.array([8e-3]))
    data = np.ones((1, 1, 128, N_SAMPLES), np.complex64)
    for f_number, half_aperture in ((0.0, 6.4e-3), (1.0, 4e-3)):
        off_axis = np.abs(probe.element_positions) / half_aperture
        delay = (8e-3 + np.hypot(probe.element_positions, 8e-3)) / SPEED
        phase = np.exp(2j * np.pi * DEMODULATION * delay) * (off_axis <= 1)
        for name, window in (
            ("rectangular", np.ones(128)),
            ("hann", 0.5 + 0.5 * np.cos(np.pi * off_axis)),
            ("tukey", np.where(off_axis < 0.5, 1.0, 0.5 + 0.5 * np.cos(np.pi * (2 * off_axis - 1)))),
        ):
            image = delay_and_sum(
                data, grid, probe, transmit, f_number=f_number, apodization=name, oversampling=1, **RECORD
            )
            assert image[0, 0, 0] == pytest.approx((phase * window).sum(), abs=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"apodization": "hamming"}, "apodization: 'hamming', expected one of rectangular, tukey, hann"),
        ({"oversampling": 0}, "oversampling: 0"),
        ({"f_number": -1.0}, "f_number: -1.0"),
        ({"f_number": np.nan}, "f_number: nan"),
        ({"speed_of_sound": 0.0}, "speed_of_sound: 0.0"),
        ({"backend": "abacus"}, "backend: 'abacus'"),
    ],
)
def test_a_bad_value_is_named(scene, change, message):
    data, probe, transmit = scene
    with pytest.raises(InputError, match=message):
        delay_and_sum(data, make_grid(3), probe, transmit, **(RECORD | change))


def test_data_that_do_not_fit_the_probe_are_refused(scene):
    data, probe, transmit = scene
    with pytest.raises(InputError, match="3 angles and 128 elements"):
        delay_and_sum(data[:, :2], make_grid(3), probe, transmit, **RECORD)
    with pytest.raises(InputError, match="complex IQ"):
        delay_and_sum(data.real, make_grid(3), probe, transmit, **RECORD)
    with pytest.raises(InputError, match="1-D axis"):
        Grid(x=np.zeros((2, 2)), z=np.zeros(2))


def test_a_record_longer_than_the_blocks_of_samples_is_the_same_as_a_short_one(scene):
    _, probe, transmit = scene
    points = np.array([[[1e-4, 8e-3]]])
    grid = make_grid(8)
    short = delay_and_sum(pulse_echoes(points, probe, transmit), grid, probe, transmit, **RECORD)
    long = delay_and_sum(
        pulse_echoes(points, probe, transmit, n_samples=700), grid, probe, transmit, **RECORD
    )
    np.testing.assert_allclose(long, short, atol=1e-5 * np.abs(short).max())
