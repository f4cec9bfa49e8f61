"""The threshold chosen is the one an exhaustive search would choose."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.evaluation import choose_threshold, precision_recall_dice, sweep_thresholds

THRESHOLDS = np.linspace(0.05, 0.95, 19)


@pytest.fixture
def blocks():
    rng = np.random.default_rng(0)
    truths = rng.random((6, 30, 40)) < 0.08
    scores = np.clip(0.4 * truths + rng.normal(0.25, 0.15, truths.shape), 0, 1).astype(np.float32)
    return scores, truths


def test_a_sweep_is_what_thresholding_and_scoring_give(blocks):
    scores, truths = blocks
    sweep = sweep_thresholds(scores, truths, thresholds=THRESHOLDS)
    for number, threshold in enumerate(THRESHOLDS):
        maps = scores >= np.float32(threshold)
        each = [precision_recall_dice(one, truth)["dice"] for one, truth in zip(maps, truths, strict=True)]
        together = precision_recall_dice(maps.any(axis=0), truths.any(axis=0))["dice"]
        assert sweep.per_block[number] == pytest.approx(np.mean(each))
        assert sweep.accumulated[number] == pytest.approx(together)


def test_each_criterion_finds_its_own_best_threshold(blocks):
    scores, truths = blocks
    sweep = sweep_thresholds(scores, truths, thresholds=THRESHOLDS)
    single, together = (choose_threshold(sweep, criterion=name) for name in ("per_block", "accumulated"))
    assert single.dice == sweep.per_block.max()
    assert together.dice == sweep.accumulated.max()


def test_the_union_of_noisy_blocks_asks_for_a_higher_threshold_than_a_block():
    rng = np.random.default_rng(1)
    truths = np.repeat(rng.random((1, 40, 40)) < 0.1, 30, axis=0)
    scores = np.clip(0.25 * truths + rng.normal(0.3, 0.1, truths.shape), 0, 1).astype(np.float32)
    sweep = sweep_thresholds(scores, truths, thresholds=THRESHOLDS)
    single, together = (choose_threshold(sweep, criterion=name) for name in ("per_block", "accumulated"))
    assert together.threshold > single.threshold + 0.05


def test_wrong_input_is_refused(blocks):
    scores, truths = blocks
    for thresholds in ([], [0.0, 0.5], [0.5, 0.4]):
        with pytest.raises(InputError, match="thresholds"):
            sweep_thresholds(scores, truths, thresholds=np.array(thresholds))
    with pytest.raises(InputError, match="scores"):
        sweep_thresholds(scores[0], truths[0], thresholds=THRESHOLDS)
    with pytest.raises(InputError, match="criterion"):
        choose_threshold(sweep_thresholds(scores, truths, thresholds=THRESHOLDS), criterion="matthews")
