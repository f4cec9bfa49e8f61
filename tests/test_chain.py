"""From a bubble's position to a pixel of the fine grid, by way of echoes, images, correlation and localization."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe
from ulmpipe.acoustics.receiver import noise_level, receive_window, receiver_noise
from ulmpipe.beamforming import Grid
from ulmpipe.beamforming.point_spread import point_spread_function
from ulmpipe.correlation import correlation_map, remove_carrier
from ulmpipe.imaging import simulate_image
from ulmpipe.localization import brightness_map, localize
from ulmpipe.stages._scan import fine_axis
from ulmpipe.targets import track_map

PROBE = named_probe("L22-14v")
WAVES = PlaneWaves(angles=tuple(np.deg2rad([-1.0, 0.0, 1.0])), transmit_frequency=15e6, n_cycles=3)
SAMPLING = {"sampling_frequency": 15.625e6, "demodulation_frequency": 15.625e6, "speed_of_sound": 1540.0}
PIXEL, UPSAMPLING = 25e-6, 8
WAVENUMBER = 2 * np.pi * 15.625e6 / 1540.0


def correlate(positions: np.ndarray, grid: Grid) -> np.ndarray:
    start_time, n_samples = receive_window(
        PROBE,
        WAVES,
        lateral_range=(grid.x[0], grid.x[-1]),
        depth_range=(grid.z[0], grid.z[-1]),
        elevation_half_width=0.1e-3,
        sampling_frequency=SAMPLING["sampling_frequency"],
        speed_of_sound=1540.0,
    )
    record = {"start_time": start_time, "n_samples": n_samples, "attenuation": 0.0, **SAMPLING}
    image = {"f_number": 0.0, "apodization": "rectangular", "lens_correction": False, "oversampling": 4}
    psf = point_spread_function(
        PROBE, WAVES, grid_step=PIXEL, shape=(9, 9), depth=8e-3, wavenumber=WAVENUMBER, **record, **image
    )
    iq = simulate_image(positions, np.ones(positions.shape[-2]), grid, PROBE, WAVES, **record, **image)
    return correlation_map(remove_carrier(iq, grid.z, wavenumber=WAVENUMBER), psf, regularization=0.1)


@pytest.mark.parametrize("lateral", [-0.6e-3, 0.0, 0.6e-3])
def test_a_lone_bubble_is_localized_on_the_pixel_of_its_target(lateral: float) -> None:
    grid = Grid(x=lateral + PIXEL * (np.arange(32) - 15.5), z=8e-3 + PIXEL * (np.arange(32) - 15.5))
    fine_x, fine_z = fine_axis(grid.x, UPSAMPLING), fine_axis(grid.z, UPSAMPLING)
    rng = np.random.default_rng(3)
    frames = np.stack(
        [rng.uniform(grid.x[6], grid.x[-7], 24), np.zeros(24), rng.uniform(grid.z[6], grid.z[-7], 24)], 1
    )
    correlation = correlate(frames[:, None].astype(np.float32), grid)
    for frame, position in zip(correlation, frames, strict=True):
        found = localize(frame[None], threshold=0.8)
        assert len(found) == 1
        truth = np.argwhere(track_map(position[None, None], np.ones((1, 1), bool), x=fine_x, z=fine_z))
        pixel = np.argwhere(brightness_map(found, shape=grid.shape, upsampling=UPSAMPLING))
        # half a fine pixel of rounding on either side
        np.testing.assert_allclose(pixel, truth, atol=1)


def test_fine_pixels_tile_the_pixels_they_come_from() -> None:
    axis = np.array([1.0, 2.0, 3.0])
    fine = fine_axis(axis, 8)
    np.testing.assert_allclose(np.diff(fine), 1 / 8)
    np.testing.assert_allclose(fine.reshape(3, 8).mean(axis=1), axis)


def test_the_receive_window_holds_every_echo_of_the_field() -> None:
    # simulate_channel_data refuses echoes that would wrap around: it must accept the corners of the box
    grid = Grid(x=np.linspace(-1e-3, 1e-3, 80), z=np.linspace(7e-3, 9e-3, 80))
    corners = np.array([[[x, y, z] for x in (-1e-3, 1e-3) for y in (0, 0.1e-3) for z in (7e-3, 9e-3)]])
    assert np.isfinite(correlate(corners, grid)).all()


def test_noise_has_the_level_it_was_asked_for() -> None:
    quiet = noise_level(PROBE, WAVES, snr_db=20.0, attenuation=0.0, **SAMPLING)
    loud = noise_level(PROBE, WAVES, snr_db=0.0, attenuation=0.0, **SAMPLING)
    assert loud / quiet == pytest.approx(10.0)
    noise = receiver_noise(np.random.default_rng(0), (64, 1024), root_mean_square=loud)
    assert np.sqrt(np.mean(np.abs(noise) ** 2)) == pytest.approx(loud, rel=0.01)
    spectrum = np.mean(np.abs(np.fft.fft(noise)) ** 2, axis=0)
    assert spectrum.std() / spectrum.mean() == pytest.approx(
        1 / 8, rel=0.2
    )  # white: only the scatter of 64 frames
