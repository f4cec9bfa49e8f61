"""Errors of velocities against known answers."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.evaluation.velocity_errors import velocity_errors


def turned(true: np.ndarray, angle: np.ndarray | float, factor: float = 1.0) -> np.ndarray:
    """The same velocities (z, x), turned from +x towards +z."""
    moved = (true[1] + 1j * true[0]) * np.exp(1j * np.asarray(angle)) * factor
    return np.stack([moved.imag, moved.real])


@pytest.fixture
def true() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(0, 1e-3, (2, 501))


def test_the_truth_has_no_errors(true: np.ndarray) -> None:
    errors = velocity_errors(true, true)
    assert errors["n_pixels"] == 501
    assert errors["median_speed"] == pytest.approx(np.median(np.hypot(*true)))
    for name in ("median_speed_error", "median_relative_error", "median_angle_error", "reversed"):
        assert errors[name] == pytest.approx(0, abs=1e-12), name
    for name in ("median_speed_ratio", "speed_correlation", "velocity_correlation"):
        assert errors[name] == pytest.approx(1), name


def test_turned_by_60_degrees_and_half_as_fast(true: np.ndarray) -> None:
    signs = np.where(np.arange(501) % 2, 1, -1)
    errors = velocity_errors(turned(true, signs * np.pi / 3, 0.5), true)
    assert errors["median_angle_error"] == pytest.approx(np.pi / 3)
    assert errors["reversed"] == 0
    assert errors["median_relative_error"] == pytest.approx(0.5)
    assert errors["median_speed_ratio"] == pytest.approx(0.5)
    assert errors["median_speed_error"] == pytest.approx(0.5 * errors["median_speed"])
    assert errors["speed_correlation"] == pytest.approx(1)
    assert errors["velocity_correlation"] < 0.75


def test_a_third_of_them_backwards(true: np.ndarray) -> None:
    found = true * np.where(np.arange(501) % 3, 1, -1)
    errors = velocity_errors(found, true)
    assert errors["reversed"] == pytest.approx(1 / 3)
    assert errors["median_speed_error"] == pytest.approx(0)
    assert errors["velocity_correlation"] == pytest.approx(1 / 3, abs=0.1)


def test_a_constant_speed_errs_as_the_entry_for_it_says(true: np.ndarray) -> None:
    constant = true / np.hypot(*true) * np.median(np.hypot(*true))
    errors = velocity_errors(constant, true)
    assert errors["median_speed_error"] == pytest.approx(errors["median_speed_error_of_a_constant"])
    assert velocity_errors(true * 0 + 1e-3, true)["velocity_correlation"] is None


def test_what_rests_has_no_direction_and_no_pixel_no_error() -> None:
    true = np.array([[0.0, 1e-3], [0.0, 0.0]])
    errors = velocity_errors(np.array([[-1e-3, 1e-3], [0.0, 0.0]]), true)
    assert errors["reversed"] == 0
    assert errors["median_speed_error"] == pytest.approx(0.5e-3)
    empty = velocity_errors(np.zeros((2, 0)), np.zeros((2, 0)))
    assert empty.pop("n_pixels") == 0
    assert set(empty.values()) == {None}


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected two \(2, pixel\)"):
        velocity_errors(np.zeros((2, 3)), np.zeros((2, 4)))
