"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ulmpipe.network.losses import (
    LOSSES,
    bce_dice,
    dice,
    dice_per_sample,
    focal,
    generalised_dice,
    nll,
    weighted_nll,
)

TARGET = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]], [[[1.0, 1.0], [0.0, 0.0]]]])
HALF = torch.zeros_like(TARGET)  # probability ½ everywhere


def test_dice_of_the_whole_batch_counts_all_pixels_together() -> None:
    assert float(dice(HALF, TARGET)) == pytest.approx(1 - (2 * 1.5 + 1) / (4 + 3 + 1))


def test_dice_per_sample_is_the_mean_over_blocks() -> None:
    first, second = 1 - (2 * 0.5 + 1) / (2 + 1 + 1), 1 - (2 * 1.0 + 1) / (2 + 2 + 1)
    assert float(dice_per_sample(HALF, TARGET)) == pytest.approx((first + second) / 2)


def test_generalised_dice_weighs_a_class_by_the_inverse_square_of_its_size() -> None:
    tracks, background = 1 / (3 + 1) ** 2, 1 / (5 + 1) ** 2
    expected = 1 - 2 * (tracks * 1.5 + background * 2.5) / (tracks * (4 + 3) + background * (4 + 5))
    assert float(generalised_dice(HALF, TARGET)) == pytest.approx(expected)


def test_nll_of_a_coin_toss_is_log_2() -> None:
    assert float(nll(HALF, TARGET)) == pytest.approx(math.log(2))


def test_a_track_pixel_weighs_as_often_as_asked() -> None:
    assert float(weighted_nll(HALF, TARGET, weight=5.0)) == pytest.approx(math.log(2) * (3 * 5 + 5) / 8)


def test_focal_without_focus_is_half_the_nll() -> None:
    logits = torch.randn(2, 1, 4, 4)
    target = (torch.rand(2, 1, 4, 4) < 0.3).float()
    assert float(focal(logits, target, gamma=0.0, balance=0.5)) == pytest.approx(
        0.5 * float(nll(logits, target)), rel=1e-5
    )


def test_focal_of_a_coin_toss() -> None:
    expected = math.log(2) * 0.5**2 * (3 * 0.75 + 5 * 0.25) / 8
    assert float(focal(HALF, TARGET)) == pytest.approx(expected, rel=1e-5)


def test_the_default_is_the_sum_of_its_two_parts() -> None:
    assert float(bce_dice(HALF, TARGET)) == pytest.approx(
        float(weighted_nll(HALF, TARGET) + dice_per_sample(HALF, TARGET))
    )


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_least_at_the_truth_and_finite_at_certainty(name: str) -> None:
    loss = LOSSES[name]
    right, wrong = (loss(sign * 60.0 * (2 * TARGET - 1), TARGET) for sign in (1, -1))
    assert float(right) == pytest.approx(0.0, abs=1e-4)
    assert math.isfinite(float(wrong))
    assert float(wrong) > float(loss(HALF, TARGET)) > float(right)
