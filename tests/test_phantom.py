from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from ulmpipe.displacement import count_states
from ulmpipe.errors import InputError
from ulmpipe.flow.bubbles import Bubbles
from ulmpipe.phantom import (
    cube_symmetries,
    displace,
    displacement_states,
    lay_mosaic,
    motion_path,
    place_bubbles,
    random_motion,
    random_rotation,
    rigid_drift,
    rotate,
    tissue_scatterers,
)

SIDE, DEPTH = 1e-3, 8e-3
BLOCK = (np.arange(512)[:, None] * 1e-3 + np.arange(3) / 3e3).ravel()


def bubbles_in_a_cube(rng: np.random.Generator, n_bubbles: int) -> Bubbles:
    shape = (7, n_bubbles)
    return Bubbles(
        position=rng.uniform(-SIDE / 2, SIDE / 2, (*shape, 3)).astype(np.float32),
        velocity=rng.standard_normal((*shape, 3)).astype(np.float32),
        vessel=rng.integers(0, 9, shape, dtype=np.int32),
        diameter=rng.uniform(2e-6, 40e-6, shape).astype(np.float32),
        life=np.zeros(shape, np.int16),
        rank=rng.random(n_bubbles, dtype=np.float32),
    )


def test_random_rotations_are_rotations_and_uniform() -> None:
    rng = np.random.default_rng(0)
    matrices = np.array([random_rotation(rng) for _ in range(2000)])
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (2000, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    for column in range(
        3
    ):  # the image of an axis is uniform on the sphere: each coordinate uniform in [-1, 1]
        assert kstest((matrices[:, 2, column] + 1) / 2, "uniform").pvalue > 1e-3
    angle = np.arccos(np.clip((np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert kstest((angle - np.sin(angle)) / np.pi, "uniform").pvalue > 1e-3


def test_rotate_keeps_lengths_dtype_and_absence() -> None:
    position = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    position[0, 0] = np.nan
    turned = rotate(position, random_rotation(np.random.default_rng(1)))
    assert turned.dtype == np.float32
    assert np.isnan(turned[0, 0]).all()
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(position, axis=-1), rtol=1e-5)
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(rotate(np.array([1.0, 0, 0]), quarter), [0, 1, 0])


def test_a_cube_has_48_symmetries_half_of_them_rotations() -> None:
    symmetries = cube_symmetries()
    assert len(np.unique(symmetries.reshape(48, 9), axis=0)) == 48
    np.testing.assert_array_equal(
        symmetries @ symmetries.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (48, 3, 3))
    )
    assert np.isclose(np.linalg.det(symmetries), 1).sum() == 24
    np.testing.assert_array_equal(symmetries[0], np.eye(3))


def test_a_mosaic_fills_its_field_once_with_cubes_all_turned_differently() -> None:
    rng = np.random.default_rng(5)
    mosaic = lay_mosaic(rng, n_x=2, n_z=2, side=SIDE, depth=DEPTH)
    tiles = [bubbles_in_a_cube(rng, 200 + tile) for tile in range(4)]
    placed = place_bubbles(tiles, mosaic)
    assert len(np.unique(mosaic.orientation.reshape(4, 9), axis=0)) == 4
    x, y, z = np.moveaxis(placed.position, -1, 0)
    for coordinate, middle, half in ((x, 0, SIDE), (y, 0, SIDE / 2), (z, DEPTH, SIDE)):
        assert 0.95 * half < middle - coordinate.min() < half + 2e-9
        assert 0.95 * half < coordinate.max() - middle < half + 2e-9
    quadrant = (x[0] > 0) + 2 * (z[0] > DEPTH)
    assert np.bincount(quadrant).tolist() == [200, 201, 202, 203]
    assert placed.rank.shape == (806,)
    second = slice(200, 401)
    back = rotate(placed.position[:, second] - mosaic.centre[1].astype(np.float32), mosaic.orientation[1].T)
    np.testing.assert_allclose(back, tiles[1].position, atol=2e-9)
    np.testing.assert_allclose(
        rotate(placed.velocity[:, second], mosaic.orientation[1].T), tiles[1].velocity, atol=1e-6
    )


def test_tissue_fills_its_box_with_normal_reflectivities() -> None:
    extent = np.array([[-1e-3, 1e-3], [-0.4e-3, 0.4e-3], [7e-3, 9e-3]])
    tissue = tissue_scatterers(np.random.default_rng(0), n_scatterers=5000, extent=extent, reflectivity=0.2)
    for axis in range(3):
        low, high = extent[axis]
        assert kstest((tissue.position[:, axis] - low) / (high - low), "uniform").pvalue > 1e-3
    assert kstest(tissue.reflectivity / 0.2, "norm").pvalue > 1e-3
    assert tissue.position.dtype == tissue.reflectivity.dtype == np.float32


def test_motion_goes_on_from_block_to_block() -> None:
    motion = random_motion(np.random.default_rng(2), amplitude=[4e-6, 1e-6], frequency=[1.3, 7.0])
    whole = motion_path(motion, np.arange(0, 4, 1e-3))
    np.testing.assert_array_equal(motion_path(motion, np.arange(2000, 2500) * 1e-3), whole[2000:2500])
    assert 4e-6 < np.abs(whole).max() <= 5e-6
    assert np.abs(np.diff(whole)).max() < 2 * np.pi * (4e-6 * 1.3 + 1e-6 * 7) * 1e-3
    assert np.hypot(*motion.direction) == pytest.approx(1)
    at_rest = random_motion(np.random.default_rng(2), amplitude=[], frequency=[])
    assert not motion_path(at_rest, BLOCK).any()


def test_drift_starts_at_zero_is_smooth_and_reaches_its_maximum() -> None:
    drift = rigid_drift(np.random.default_rng(1), n_blocks=50, maximum=30e-6, memory=5)
    assert drift.shape == (50, 2)
    assert drift[0].tolist() == [0, 0]
    assert np.linalg.norm(drift, axis=1).max() == pytest.approx(30e-6)
    step = np.diff(drift, axis=0)
    assert np.corrcoef(step[:-1].ravel(), step[1:].ravel())[0, 1] > 0.5
    assert rigid_drift(np.random.default_rng(1), n_blocks=1, maximum=30e-6, memory=5).tolist() == [[0, 0]]
    assert not rigid_drift(np.random.default_rng(1), n_blocks=9, maximum=0.0, memory=5).any()


def test_displacement_moves_x_and_z_of_each_event() -> None:
    position = np.zeros((2, 3, 3), dtype=np.float32)
    moved = displace(position, np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert moved.dtype == np.float32
    assert moved[:, 1].tolist() == [[1, 0, 2], [3, 0, 4]]
    assert displace(position[0], np.array([5.0, 6.0]))[2].tolist() == [5, 0, 6]


@pytest.mark.parametrize(("wavelength", "n_states"), [(100e-6, 4), (66e-6, 5)])
def test_the_counted_states_interpolate_tissue_echoes_to_minus_60_db(
    wavelength: float, n_states: int
) -> None:
    wavenumber = 2 * np.pi / wavelength
    motion = random_motion(np.random.default_rng(0), amplitude=[5e-6], frequency=[4.0])
    path = motion_path(motion, BLOCK)
    assert np.ptp(path) > 9.9e-6
    assert count_states(half_range=5e-6, wavenumber=wavenumber, error=1e-3) == n_states
    rng = np.random.default_rng(1)
    depth, strength = rng.uniform(7e-3, 9e-3, 400), rng.standard_normal(400)

    def echo(displacement: np.ndarray) -> np.ndarray:
        return np.exp(2j * wavenumber * (depth + displacement[:, None])) @ strength

    state, weight = displacement_states(path, n_states=n_states)
    np.testing.assert_allclose(weight.sum(axis=1), 1, atol=1e-6)
    error = weight @ echo(state) - echo(path)
    assert np.sqrt(np.mean(np.abs(error) ** 2) / np.mean(np.abs(echo(path)) ** 2)) < 1e-3
    fewer, coarse = displacement_states(path, n_states=n_states - 2)
    assert np.abs(coarse @ echo(fewer) - echo(path)).max() > 1e-3 * np.abs(echo(path)).max()


def test_tissue_at_rest_needs_one_state() -> None:
    state, weight = displacement_states(np.full(10, 3e-6), n_states=1)
    assert state.tolist() == [3e-6]
    assert weight.tolist() == [[1.0]] * 10
    assert count_states(half_range=0.0, wavenumber=6e4, error=1e-3) == 1
    state, weight = displacement_states(np.zeros(3), n_states=4)
    assert not state.any()
    np.testing.assert_allclose(weight.sum(axis=1), 1, atol=1e-6)


def test_everything_comes_back_the_same_from_the_same_seed() -> None:
    first, again, other = (
        lay_mosaic(np.random.default_rng(seed), n_x=2, n_z=2, side=SIDE, depth=DEPTH) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.orientation, again.orientation)
    assert not np.array_equal(first.orientation, other.orientation)


def test_impossible_phantoms_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="7 × 7 tiles"):
        lay_mosaic(rng, n_x=7, n_z=7, side=SIDE, depth=DEPTH)
    with pytest.raises(InputError, match="bubbles for 1 tiles"):
        place_bubbles([bubbles_in_a_cube(rng, 2)], lay_mosaic(rng, n_x=2, n_z=1, side=SIDE, depth=DEPTH))
    with pytest.raises(InputError, match="extent"):
        tissue_scatterers(rng, n_scatterers=1, extent=np.zeros((3, 2)), reflectivity=1.0)
    with pytest.raises(InputError, match="maximum -1"):
        rigid_drift(rng, n_blocks=3, maximum=-1.0, memory=2)
    with pytest.raises(InputError, match="n_states is 0"):
        displacement_states(np.zeros(3), n_states=0)
    with pytest.raises(InputError, match="1 amplitudes and 2 frequencies"):
        random_motion(rng, amplitude=[1.0], frequency=[1.0, 2.0])
