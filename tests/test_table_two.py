"""Table II: what all blocks say of a pixel together, and points chosen on the validation volumes alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ulmpipe.evaluation.scores import precision_recall_dice

path = Path(__file__).parents[1] / "examples/table_two.py"
specification = importlib.util.spec_from_file_location("table_two", path)
table_two = importlib.util.module_from_spec(specification)
specification.loader.exec_module(table_two)


@pytest.fixture
def scores():
    """Of 30 blocks, (30, z, x)."""
    return np.random.default_rng(0).random((30, 5, 7), dtype=np.float32)


def test_the_brightest_blocks_of_each_pixel_are_kept_in_order(scores):
    best = np.zeros((16, 5, 7), np.float16)
    for block in scores:
        best = table_two.add_block(best, block)
    assert np.array_equal(best, np.sort(scores.astype(np.float16), axis=0)[::-1][:16])


def test_blocks_are_taken_together_by_the_so_many_th_and_by_the_mean_of_so_many(scores):
    best = np.sort(scores, axis=0)[::-1][:4].astype(np.float16)
    ways = {(name, number): values for name, number, values in table_two.together(best, 3)}
    assert set(ways) == {(name, number) for name in ("times", "mean") for number in (1, 2, 3)}
    np.testing.assert_array_equal(ways["times", 3], best[2])
    np.testing.assert_allclose(ways["mean", 3], best[:3].astype(float).mean(axis=0), rtol=1e-6)


def test_all_thresholds_at_once_score_as_one_after_the_other(scores):
    real = scores[1] > 0.4
    found = table_two.scores_at_thresholds(scores[0], real)
    for at, threshold in enumerate(table_two.THRESHOLDS.astype(np.float32)):
        if (scores[0] >= threshold).any():
            expected = precision_recall_dice(scores[0] >= threshold, real)
            assert found[:, at] == pytest.approx([expected[name] for name in ("precision", "recall", "dice")])


def _volume(rng, *, seen_twice: float, false: float):
    """A volume of tracks in one bright block, some `seen_twice`, and of `false` pixels in one bright block."""
    real = rng.random((40, 40)) < 0.3
    first = np.where(real, 0.9, np.where(rng.random(real.shape) < false, 0.9, 0.0))
    second = np.where(real & (rng.random(real.shape) < seen_twice), 0.8, 0.0)
    best = np.zeros((table_two.MOST_BLOCKS, 40, 40), np.float16)
    best[:2] = first, second
    named = {table_two._named(method, *v): best for method, vs in table_two.VARIANTS.items() for v in vs}
    return {**named, "truth": real, "reference": real}


def test_the_point_is_the_validation_volume_s_best_and_is_scored_on_the_other():
    rng = np.random.default_rng(1)
    validation, test = _volume(rng, seen_twice=0.9, false=0.5), _volume(rng, seen_twice=0.2, false=0.0)
    rows = [
        row
        for row in table_two.report(validation, test, most_blocks=2)
        if (row["against"], row["method"]) == ("reference", "network") and row["least_precision"] > 0
    ]
    assert len(rows) == 1
    # two blocks tell tracks from what is false in the validation volume, and see a fifth of the other's
    assert set(rows[0]["point"]) in ({"times", "threshold"}, {"mean", "threshold"})
    assert rows[0]["point"].get("times", rows[0]["point"].get("mean")) == 2
    assert rows[0]["precision"] == 1.0
    assert rows[0]["recall"] == pytest.approx(0.2, abs=0.05)
    assert rows[0]["ground_truth"]["dice"] == 1.0
    assert rows[0]["share"] == pytest.approx(rows[0]["dice"])


def test_a_precision_that_no_point_reaches_gives_no_row():
    rng = np.random.default_rng(2)
    volume = _volume(rng, seen_twice=0.0, false=1.0)
    least = {row["least_precision"] for row in table_two.report(volume, volume, most_blocks=1)}
    assert least == {0.0}


def test_shards_hold_all_blocks_once_and_none_of_the_reference_alone_among_the_others():
    parts = table_two.parts_of([10.0, 20.0], n_blocks=100, n_reference=125, shard=40)
    assert parts == [
        (20.0, 0, 40),
        (20.0, 40, 40),
        (20.0, 80, 20),
        (10.0, 0, 40),
        (10.0, 40, 40),
        (10.0, 80, 20),
        (20.0, 100, 25),
    ]


def test_a_shard_that_is_there_is_another_s_unless_all_that_it_was_made_by_is_the_same(tmp_path):
    weights = {name: tmp_path / name for name in ("kept", "other")}
    for name, path in weights.items():
        path.write_bytes(name.encode())
    settings = {"targets": {"upsampling": 8}, "training_set": {}, "seed": 1}

    def shard(settings=settings, name="kept", part=(20.0, 0, 4)):
        return table_two.shard_of_blocks(settings, {"weights": weights[name]}, tmp_path, part)

    place, *_ = table_two.place_of_shard(settings, {"weights": weights["kept"]}, tmp_path, (20.0, 0, 4))
    place.touch()
    assert shard() == place
    for other in ({"name": "other"}, {"part": (20.0, 0, 8)}, {"settings": settings | {"seed": 2}}):
        with pytest.raises(KeyError):  # begins to make one, for which these settings say nothing
            shard(**other)
