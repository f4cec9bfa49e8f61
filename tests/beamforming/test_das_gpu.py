"""Delay-and-sum on a GPU against the CPU: the source compiled for the host, and the real thing where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe
from ulmpipe.beamforming import Grid, delay_and_sum
from ulmpipe.errors import InputError

RECORD = {
    "start_time": 9e-6,
    "sampling_frequency": 15.625e6,
    "demodulation_frequency": 15.625e6,
    "speed_of_sound": 1540.0,
}


# wider and deeper than what a record of 40 samples holds, so that some delays fall outside it
GRID = Grid(x=np.linspace(-2e-3, 2e-3, 37), z=np.linspace(6.5e-3, 9.2e-3, 13))


def assert_twins_agree(
    *, f_number, oversampling, n_frames, grid=GRID, n_samples=40, tolerance=2e-5, **settings
):
    rng = np.random.default_rng(3)
    probe = named_probe("L22-14v", n_elements=22)
    transmit = PlaneWaves(angles=(-0.1, 0.05), transmit_frequency=15e6, n_cycles=3)
    data = rng.standard_normal((n_frames, 2, 22, n_samples, 2), dtype=np.float32).view(np.complex64)[..., 0]
    settings |= {"f_number": f_number, "oversampling": oversampling} | RECORD
    expected = delay_and_sum(data, grid, probe, transmit, backend="cpu", **settings)
    found = delay_and_sum(data, grid, probe, transmit, backend="gpu", **settings)
    assert np.abs(expected).max() > 1
    if grid is GRID:
        assert (expected == 0).any()
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


CASES = [(0.0, 4, 11), (1.5, 4, 1), (3.0, 1, 8), (0.0, 3, 70)]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("f_number", "oversampling", "n_frames"), CASES)
def test_the_twins_agree(f_number, oversampling, n_frames):
    assert_twins_agree(f_number=f_number, oversampling=oversampling, n_frames=n_frames)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("f_number", [0.0, 1.5])
@pytest.mark.parametrize(
    "settings", [{"apodization": "hann"}, {"apodization": "tukey", "lens_correction": True}]
)
def test_so_they_do_with_apodization_and_the_lens_corrected(f_number, settings):
    assert_twins_agree(f_number=f_number, oversampling=4, n_frames=5, **settings)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("step", [0.2e-3, 2e-3, 30e-3])
def test_coarse_grids_are_cut_into_smaller_tiles(step):
    """Whose samples fit into shared memory. In long records float32 places a delay to a ten-thousandth of a sample."""
    grid = Grid(x=step * np.arange(-4, 6), z=7.5e-3 + step * np.arange(9))
    assert_twins_agree(f_number=0.0, oversampling=4, n_frames=2, grid=grid, n_samples=900, tolerance=1e-4)


def test_data_on_the_gpu_give_an_image_there(gpu):
    probe = named_probe("L22-14v", n_elements=22)
    transmit = PlaneWaves(angles=(0.0,), transmit_frequency=15e6, n_cycles=3)
    data = gpu.asarray(np.ones((2, 1, 22, 40), np.complex64))
    grid = Grid(x=np.linspace(-1e-3, 1e-3, 5), z=np.linspace(7.5e-3, 8e-3, 4))
    image = delay_and_sum(data, grid, probe, transmit, **RECORD)
    assert isinstance(image, gpu.ndarray)
    expected = delay_and_sum(data.get(), grid, probe, transmit, **RECORD, backend="cpu")
    np.testing.assert_allclose(image.get(), expected, atol=2e-5 * np.abs(expected).max())
    with pytest.raises(InputError, match="on a GPU"):
        delay_and_sum(data, grid, probe, transmit, **RECORD, backend="cpu")


def test_no_frames_give_no_images(gpu):
    probe = named_probe("L22-14v", n_elements=22)
    transmit = PlaneWaves(angles=(0.0,), transmit_frequency=15e6, n_cycles=3)
    grid = Grid(x=np.linspace(-1e-3, 1e-3, 5), z=np.linspace(7.5e-3, 8e-3, 4))
    nothing = np.zeros((0, 1, 22, 40), np.complex64)
    for data in (nothing, gpu.asarray(nothing)):
        assert delay_and_sum(data, grid, probe, transmit, **RECORD, backend="gpu").shape == (0, 4, 5)
