"""Widths of vessels of images drawn to measure."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.evaluation.vessel_widths import (
    VesselWidths,
    vessel_mask,
    vessel_widths,
    width_distribution,
    widths_within,
)

PIXEL = 3.125e-6
ANGLES = (0.0, 17.0, 45.0, 63.0, 90.0, 128.0)


def distance_from_line(degrees, *, side=100, through=(0.31, 0.17)):
    """Pixels from a straight axis through about the middle, positive on one side."""
    z, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.deg2rad(degrees)
    return np.cos(angle) * (z - through[0]) - np.sin(angle) * (x - through[1])


def gaussian_vessel(distance, width):
    return np.exp(-4 * np.log(2) * (distance / width) ** 2)


def box_vessel(distance, width):
    """Edges smoothed over one pixel, as an image sampled by area has them."""
    return np.clip(width / 2 - np.abs(distance) + 0.5, 0, 1)


def measure(image, **options):
    return vessel_widths(image, vessel_mask(image), PIXEL, **options)


@pytest.mark.parametrize("draw", [gaussian_vessel, box_vessel])
@pytest.mark.parametrize("width", [3.0, 6.0, 12.0])
@pytest.mark.parametrize("degrees", ANGLES)
def test_a_straight_vessel_has_its_width_at_every_angle(draw, width, degrees):
    found = measure(100 * draw(distance_from_line(degrees), width))
    np.testing.assert_allclose(found.width, width * PIXEL, atol=0.5 * PIXEL)
    assert abs(np.median(found.width) / PIXEL - width) < 0.3
    tangent = np.deg2rad(degrees)
    along = np.abs(found.tangent @ [np.sin(tangent), np.cos(tangent)])
    assert (along > np.cos(np.deg2rad(7))).all()
    assert np.median(along) > np.cos(np.deg2rad(1))
    # the length is the axis', not its number of pixels
    axis = (found.position - 49.5) @ [np.sin(tangent), np.cos(tangent)]
    assert found.length.sum() == pytest.approx(np.ptp(axis) * PIXEL, rel=0.04)
    assert found.length.sum() > 40 * PIXEL


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_counting_noise_leaves_the_median_right(degrees):
    rng = np.random.default_rng(0)
    image = rng.poisson(10 * gaussian_vessel(distance_from_line(degrees), 6.0) + 0.05)
    found = measure(image)
    assert len(found.width) > 60
    assert abs(np.median(found.width) / PIXEL - 6) < 0.5


def test_the_background_does_not_count():
    image = gaussian_vessel(distance_from_line(30.0), 6.0)
    raised = vessel_widths(image + 5, vessel_mask(image), PIXEL)
    np.testing.assert_allclose(raised.width, measure(image).width, rtol=1e-3)
    half_way = vessel_widths(image, vessel_mask(image), PIXEL, background=-1.0)
    assert len(half_way.width) == 0  # never at half: 0 of −1 … 1
    assert half_way.left_out["truncated"] > 50


def test_a_bent_vessel_has_its_width_everywhere():
    z, x = np.mgrid[:120, :120] - 59.6
    found = measure(gaussian_vessel(np.hypot(z, x) - 40, 5.0))
    np.testing.assert_allclose(found.width, 5 * PIXEL, atol=0.5 * PIXEL)
    assert found.length.sum() == pytest.approx(2 * np.pi * 40 * PIXEL, rel=0.03)
    radial = (found.position - 59.6) / np.hypot(*(found.position - 59.6).T)[:, None]
    assert np.abs(np.sum(radial * found.tangent, axis=1)).max() < 0.1


def test_where_vessels_cross_nothing_is_measured():
    crossing = np.maximum(
        box_vessel(distance_from_line(20.0, side=140), 6.0),
        box_vessel(distance_from_line(80.0, side=140), 10.0),
    )
    found = measure(crossing)
    assert found.left_out["junction"] > 0
    narrow, wide = np.abs(found.width / PIXEL - 6) < 0.5, np.abs(found.width / PIXEL - 10) < 0.5
    assert (narrow | wide).all()
    assert min(narrow.sum(), wide.sum()) > 50
    # each with the direction of its own vessel
    for sites, degrees in ((narrow, 20.0), (wide, 80.0)):
        axis = [np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))]
        assert (np.abs(found.tangent[sites] @ axis) > 0.99).all()


def test_vessels_side_by_side_are_measured_apart_or_left_out():
    def pair(gap):
        distance = distance_from_line(15.0)
        return gaussian_vessel(distance - gap / 2, 5.0) + gaussian_vessel(distance + gap / 2, 5.0)

    apart = measure(pair(14))
    np.testing.assert_allclose(apart.width, 5 * PIXEL, atol=0.5 * PIXEL)
    # told apart by the mask, but the valley between them does not reach a half
    touching = vessel_widths(pair(6), pair(6) > 0.98 * pair(6).max(), PIXEL)
    assert touching.left_out["merged"] > 0.9 * (touching.left_out["merged"] + len(touching.width))


def test_a_bump_on_the_wall_does_not_make_a_junction():
    image = box_vessel(distance_from_line(0.0), 11.0)
    bumps = image.copy()
    for place in (30, 50, 70):
        bumps[54:58, place : place + 3] = 1
    found = vessel_widths(image, bumps > 0.5, PIXEL)
    assert found.left_out["junction"] == 0
    np.testing.assert_allclose(found.width, 11 * PIXEL, atol=0.5 * PIXEL)


def test_a_vessel_wider_than_the_reach_is_left_out_not_shortened():
    found = measure(box_vessel(distance_from_line(0.0), 30.0), reach=10.0)
    assert len(found.width) == 0
    assert found.left_out["truncated"] > 20


def test_the_mask_is_that_of_the_vessels_without_specks_and_holes():
    vessel = np.abs(distance_from_line(30.0)) < 4
    image = 100.0 * vessel
    image[5, 90] = 100.0
    image[50, 50] = 0.0
    mask = vessel_mask(image, smoothing=0.0)
    np.testing.assert_array_equal(mask, vessel)
    speck = vessel_mask(image, smoothing=0.0, smallest=0)
    assert speck[5, 90]
    assert not speck[50, 50]
    np.testing.assert_array_equal(vessel_mask(image, smoothing=0.0, threshold=100.0), np.zeros_like(vessel))


def test_the_distribution_counts_metres_of_vessel_not_pixels():
    widths = VesselWidths(
        width=np.array([1.0, 2.0, 3.0, 4.0]) * 1e-6,
        position=np.zeros((4, 2)),
        tangent=np.zeros((4, 2)),
        length=np.array([1.0, 1.0, 1.0, 5.0]) * 1e-6,
        left_out={"junction": 3},
    )
    found = width_distribution(widths)
    assert (found["lower_quartile"], found["median"], found["upper_quartile"]) == (2e-6, 4e-6, 4e-6)
    assert found["mean"] == pytest.approx((1 + 2 + 3 + 20) / 8 * 1e-6)
    assert (found["sites"], found["left_out_junction"]) == (4, 3)
    empty = vessel_widths(np.zeros((20, 20)), np.zeros((20, 20), bool), PIXEL)
    assert width_distribution(empty)["median"] is None


def test_each_side_of_an_image_has_the_widths_of_its_own_vessel():
    x = np.mgrid[:80, :120][1].astype(float)
    found = measure(100 * (gaussian_vessel(x - 30, 4.0) + gaussian_vessel(x - 90, 9.0)))
    left = widths_within(found, (slice(0, 80), slice(0, 60)))
    right = widths_within(found, (slice(0, 80), slice(60, 120)))
    np.testing.assert_allclose(left.width, 4 * PIXEL, rtol=0.1)
    np.testing.assert_allclose(right.width, 9 * PIXEL, rtol=0.1)
    assert len(left.width) + len(right.width) == len(found.width)
    assert min(len(left.width), len(right.width)) > 30
    # first row in, last row out
    some = widths_within(found, (slice(30, 40), slice(0, 60)))
    assert some.position[:, 0].tolist() == list(range(30, 40))
    assert some.length.sum() == pytest.approx(10 * PIXEL)
    nothing = width_distribution(widths_within(found, (slice(0, 80), slice(50, 70))))
    assert (nothing["sites"], nothing["median"]) == (0, None)


def test_wrong_input_is_refused():
    image = np.zeros((20, 20))
    with pytest.raises(InputError, match="no vessel"):
        vessel_mask(image)
    with pytest.raises(InputError, match="NaN"):
        vessel_mask(np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="mask of shape"):
        vessel_widths(image, np.zeros((20, 21), bool), PIXEL)
    with pytest.raises(InputError, match="pixel or more"):
        vessel_widths(image, image > 0, PIXEL, reach=0)
