"""Filling of maps whose filling is known, exactly or on average."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.evaluation.saturation import filling, first_blocks, fit_saturation, mean_filling

SECONDS_A_BLOCK = 0.5


def bernoulli_maps(n_blocks, *, probability, reachable, side=60, seed=0):
    """Each block fills every pixel of a part of the field with the same probability, all independently."""
    rng = np.random.default_rng(seed)
    vessels = np.zeros((side, side), bool)
    vessels[: round(reachable * side)] = True
    for _ in range(n_blocks):
        yield vessels & (rng.random((side, side)) < probability)


def test_a_small_film_fills_as_counted_by_hand():
    maps = np.array([[[1, 0, 0, 0]], [[1, 1, 0, 0]], [[0, 0, 0, 0]], [[0, 0, 1, 0]]], bool)
    first, n_blocks = first_blocks(iter(maps))
    assert n_blocks == 4
    np.testing.assert_array_equal(first, [[0, 1, 3, -1]])
    np.testing.assert_allclose(filling(iter(maps)), np.array([1, 2, 2, 3]) / 3)
    vessels = np.array([[0, 1, 1, 1]], bool)
    np.testing.assert_allclose(filling(iter(maps), reference=vessels), np.array([0, 1, 1, 2]) / 3)


@pytest.mark.parametrize("with_reference", [False, True])
def test_the_mean_over_all_orders_is_that_of_every_order_gone_through(with_reference):
    rng = np.random.default_rng(1)
    maps = rng.random((5, 4, 6)) < rng.random((4, 6)) * 0.6
    reference = rng.random((4, 6)) < 0.5 if with_reference else None
    orders = [filling(maps[list(order)], reference=reference) for order in permutations(range(5))]
    mean = mean_filling(maps.sum(axis=0), 5, reference=reference)
    np.testing.assert_allclose(mean, np.mean(orders, axis=0), rtol=1e-12)
    assert len({tuple(order) for order in orders}) > 1


def test_bernoulli_filling_gives_its_own_share_and_time_constant():
    n_blocks, probability = 60, 0.06
    vessels = np.ones((60, 60), bool)  # of which a fifth is never reached
    n = np.arange(1, n_blocks + 1)
    expected = 0.8 * (1 - (1 - probability) ** n)
    share = filling(bernoulli_maps(n_blocks, probability=probability, reachable=0.8), reference=vessels)
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / 3600))
    fit = fit_saturation(n * SECONDS_A_BLOCK, share)
    assert fit.final == pytest.approx(0.8, rel=0.02)
    assert fit.time_constant == pytest.approx(-SECONDS_A_BLOCK / np.log1p(-probability), rel=0.05)
    assert fit.residual < 0.01
    np.testing.assert_allclose(fit.share(n * SECONDS_A_BLOCK), share, atol=0.02)


@pytest.mark.parametrize(("final", "time_constant"), [(0.37, 3.0), (1.0, 40.0), (2.5e-3, 400.0)])
def test_the_fit_returns_the_model_it_is_given(final, time_constant):
    time = np.linspace(2.0, 120.0, 60)
    fit = fit_saturation(time, final * (1 - np.exp(-time / time_constant)))
    assert (fit.final, fit.time_constant) == pytest.approx((final, time_constant), rel=1e-3)
    assert fit.share(np.array([fit.time_to(0.9)]))[0] == pytest.approx(0.9 * final, rel=1e-3)


def test_an_unfinished_image_is_said_to_be_unfinished():
    """The share of the final image ends at 1 however short the acquisition; the model sees what is missing."""
    n_blocks, probability = 30, 0.03
    share = filling(bernoulli_maps(n_blocks, probability=probability, reachable=1.0, side=120))
    assert share[-1] == 1.0
    fit = fit_saturation(np.arange(1, n_blocks + 1) * SECONDS_A_BLOCK, share)
    assert fit.final == pytest.approx(1 / (1 - (1 - probability) ** n_blocks), rel=0.1)


def test_the_order_of_unlike_blocks_matters_and_the_mean_is_between():
    maps = np.zeros((6, 8, 8), bool)
    maps[0] = True
    maps[1:, 0, 0] = True
    early, late = filling(maps), filling(maps[::-1])
    mean = mean_filling(maps.sum(axis=0), 6)
    assert early[0] == 1.0
    assert late[4] == pytest.approx(1 / 64)
    # the full block comes at any place with equal probability
    np.testing.assert_allclose(mean, (np.arange(1, 7) / 6 * 63 + 1) / 64)


def test_wrong_input_is_refused():
    maps = np.ones((2, 3, 3), bool)
    with pytest.raises(InputError, match="no block"):
        filling(iter(()))
    with pytest.raises(InputError, match="shape"):
        filling(maps, reference=np.ones((3, 4), bool))
    with pytest.raises(InputError, match="no pixel is set"):
        filling(~maps)
    with pytest.raises(InputError, match="expected 0 to 2 blocks"):
        mean_filling(np.array([[3]]), 2)
    with pytest.raises(InputError, match="ascending"):
        fit_saturation(np.array([1.0, 1.0, 2.0]), np.array([0.1, 0.2, 0.3]))
    with pytest.raises(InputError, match="nothing is filled"):
        fit_saturation(np.arange(1.0, 4.0), np.zeros(3))
