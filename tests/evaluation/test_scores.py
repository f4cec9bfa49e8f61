"""Scores of maps small enough to count by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from ulmpipe.errors import InputError
from ulmpipe.evaluation import (
    crop_border,
    evaluate,
    grow,
    hallucination_fraction,
    highest_recall,
    matthews,
    precision_recall_dice,
    recall_at_matched_precision,
)


def image(*pixels, shape=(9, 9)):
    result = np.zeros(shape, bool)
    for z, x in pixels:
        result[z, x] = True
    return result


def test_precision_recall_and_dice_are_those_counted_by_hand():
    found = precision_recall_dice(image((1, 1), (2, 2), (3, 3)), image((1, 1), (2, 2), (5, 5), (6, 6)))
    assert found == pytest.approx({"precision": 2 / 3, "recall": 1 / 2, "dice": 4 / 7})


def test_a_track_one_pixel_aside_counts_with_tolerance_only():
    truth, aside = image(*[(z, 4) for z in range(9)]), image(*[(z, 5) for z in range(9)])
    assert precision_recall_dice(aside, truth)["dice"] == 0
    assert precision_recall_dice(aside, truth, tolerance=1)["dice"] == 1
    two_aside = image(*[(z, 6) for z in range(9)])
    assert precision_recall_dice(two_aside, truth, tolerance=1)["dice"] == 0


def test_empty_maps_have_scores_too():
    nothing, something = image(), image((1, 1))
    assert precision_recall_dice(nothing, nothing) == {"precision": 1.0, "recall": 1.0, "dice": 1.0}
    assert precision_recall_dice(nothing, something) == {"precision": 0.0, "recall": 0.0, "dice": 0.0}
    assert precision_recall_dice(something, nothing) == {"precision": 0.0, "recall": 0.0, "dice": 0.0}


def test_matthews_is_the_correlation_coefficient():
    rng = np.random.default_rng(0)
    truth = rng.random((40, 50)) < 0.2
    prediction = truth ^ (rng.random((40, 50)) < 0.1)
    assert matthews(prediction, truth) == pytest.approx(np.corrcoef(prediction.ravel(), truth.ravel())[0, 1])
    assert matthews(truth, truth) == pytest.approx(1)
    assert matthews(~truth, truth) == pytest.approx(-1)
    assert matthews(np.ones_like(truth), truth) == 0


@pytest.mark.parametrize("pixels", [0, 1, 2, 3])
def test_growing_is_dilation_by_a_square_in_each_image_apart(pixels):
    maps = np.random.default_rng(1).random((3, 20, 17)) < 0.02
    square = np.ones((1, 2 * pixels + 1, 2 * pixels + 1), bool)
    np.testing.assert_array_equal(grow(maps, pixels=pixels), binary_dilation(maps, square))


def test_growing_further_than_the_image_fills_it():
    assert grow(image((4, 4)), pixels=20).all()


def test_only_pixels_far_from_any_track_are_hallucinated():
    prediction, truth = image((4, 4), (4, 6), (4, 7), (7, 4)), image((4, 4))
    assert hallucination_fraction(prediction, truth) == 2 / 4
    assert hallucination_fraction(image(), truth) == 0


def test_blocks_are_averaged_and_accumulated():
    truths = np.stack([image((1, 1), (2, 2)), image((3, 3), (4, 4))])
    predictions = np.stack([image((1, 1), (2, 2)), image((1, 1), (2, 2))])
    reference = image((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8))
    found = evaluate(predictions, truths, reference=reference)
    assert found["per_block"]["dice"] == 0.5
    assert found["accumulated_same_blocks"]["precision"] == 1
    assert found["accumulated_same_blocks"]["recall"] == 0.5
    assert found["accumulated_reference"]["recall"] == 0.25
    assert set(found["per_block"]) >= {"precision", "recall", "dice", "matthews", "dice_within_1_px"}
    assert json.loads(json.dumps(found)) == found
    assert "accumulated_reference" not in evaluate(predictions, truths)


def test_the_all_ones_map_scores_by_the_coverage_alone():
    truths = np.random.default_rng(2).random((4, 30, 30)) < 0.3
    coverage = truths.any(axis=0).mean()
    found = evaluate(np.ones_like(truths), truths)["accumulated_same_blocks"]
    assert found["dice"] == pytest.approx(2 * coverage / (1 + coverage))
    assert found["recall"] == 1
    assert found["matthews"] == 0


def test_what_lies_in_the_border_is_not_scored():
    truths = np.stack([image((0, 0), (4, 4))])
    predictions = np.stack([image((8, 8), (4, 4))])
    assert evaluate(predictions, truths, border=1)["per_block"]["dice"] == 1
    assert evaluate(predictions, truths)["per_block"]["dice"] == 0.5
    assert crop_border(truths, 2).shape == (1, 5, 5)
    with pytest.raises(InputError, match="border"):
        crop_border(truths, 5)


def test_recall_at_matched_precision_is_that_of_an_exhaustive_sweep():
    rng = np.random.default_rng(3)
    truth = rng.random((2, 40, 40)) < 0.1
    fast = truth & (rng.random(truth.shape) < 0.4)
    scores = np.round(np.clip(0.35 * truth + 0.2 * fast + rng.normal(0.3, 0.2, truth.shape), 0, 1), 2)
    scores = scores.astype(np.float16)
    found = recall_at_matched_precision(
        scores, truth, {"fast": fast, "slow": truth & ~fast}, precisions=(0.4, 0.6, 0.8), tolerance=0
    )
    for precision in (0.4, 0.6, 0.8):
        entry = found[f"{precision:g}"]
        values = np.unique(scores[scores > 0])
        reaching = [t for t in values if truth[scores >= t].mean() >= precision]
        assert entry["threshold"] == min(reaching)
        assert entry["precision"] == pytest.approx(truth[scores >= min(reaching)].mean())
        assert entry["all"] == pytest.approx((scores >= min(reaching))[truth].mean())
        assert entry["fast"] == pytest.approx((scores >= min(reaching))[fast].mean())
    assert found["0.6"]["fast"] > found["0.6"]["slow"]
    assert json.loads(json.dumps(found)) == found


def test_matched_precision_forgives_one_pixel():
    truth = image(*[(z, 4) for z in range(9)])
    scores = np.where(image(*[(z, 5) for z in range(9)]), 0.75, 0.0)
    scores[0, 0] = 0.25
    found = recall_at_matched_precision([scores], [truth], precisions=(0.95,), tolerance=1)["0.95"]
    assert found == {"threshold": 0.75, "precision": 1.0, "all": 1.0}
    assert recall_at_matched_precision([scores], [truth], precisions=(0.95,), tolerance=0)["0.95"]["all"] == 0


def test_blocks_are_taken_one_by_one_from_anything_that_gives_them():
    rng = np.random.default_rng(4)
    truths, scores = rng.random((3, 20, 20)) < 0.2, rng.random((3, 20, 20)).astype(np.float16)
    assert evaluate(iter(scores > 0.5), iter(truths), border=2) == evaluate(scores > 0.5, truths, border=2)
    whole = recall_at_matched_precision([np.hstack(list(scores))], [np.hstack(list(truths))], tolerance=0)
    assert recall_at_matched_precision(iter(scores), iter(truths), tolerance=0) == whole
    with pytest.raises(InputError, match="no block"):
        evaluate([], [])


def test_a_precision_out_of_reach_has_no_threshold():
    found = recall_at_matched_precision(
        [np.zeros((9, 9))], [image((1, 1))], {"slow": [image((1, 1))]}, precisions=(0.5,)
    )
    assert found == {"0.5": {"threshold": None, "precision": None, "all": 0.0, "slow": 0.0}}


def test_maps_of_unequal_shape_are_refused():
    with pytest.raises(InputError, match="expected equal"):
        precision_recall_dice(image(), image(shape=(9, 8)))
    with pytest.raises(InputError, match="truth slow"):
        recall_at_matched_precision([np.zeros((9, 9))], [image()], {"slow": [image(shape=(9, 8))]})


def test_of_several_maps_the_one_that_finds_most_counts_at_each_precision():
    """A faint map that shows all, and a bright one of one right pixel: the first has a wrong pixel beside it."""
    truth = image((2, 2), (2, 6), (6, 2))
    whole, sure = np.zeros((9, 9)), np.zeros((9, 9))
    for z, x in ((2, 2), (2, 6), (6, 2), (6, 6)):
        whole[z, x] = 0.5
    sure[2, 2] = 0.9
    precisions = {"precisions": (0.7, 0.9), "tolerance": 0}
    of_maps = [recall_at_matched_precision([each], [truth], **precisions) for each in (whole, sure)]
    assert [row["all"] for row in of_maps[0].values()] == [1.0, 0.0]
    found = highest_recall(of_maps)
    assert found == {"0.7": of_maps[0]["0.7"], "0.9": of_maps[1]["0.9"]}
    assert found["0.9"]["all"] == pytest.approx(1 / 3)
