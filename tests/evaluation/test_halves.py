"""Random halves of tracks and of blocks."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.evaluation.halves import block_halves, track_halves

POINT = np.dtype([("track", np.int32), ("z", np.float32), ("x", np.float32)])


def columns(blocks):
    """(1, 500) whether a localization with this x is drawn."""
    return np.bincount(np.concatenate([block["x"] for block in blocks]).astype(int), minlength=500)[None]


def test_tracks_are_split_whole_into_equal_halves():
    rng = np.random.default_rng(6)
    together = np.zeros(500, POINT)
    together["track"] = np.sort(rng.permutation(500) % 41)
    together["x"] = np.arange(500)
    # a block numbers its tracks from 1, with gaps
    first_block, second_block = together[together["track"] < 18], together[together["track"] >= 18].copy()
    second_block["track"] = 1 + 3 * (second_block["track"] - 18)
    blocks = [first_block, second_block[:0], second_block]
    halves = list(track_halves(lambda: iter(blocks), columns, n_splits=5, rng=np.random.default_rng(3)))
    for first, second in halves:
        np.testing.assert_array_equal(first + second, 1)
        ours, theirs = (set(together["track"][half[0] == 1].tolist()) for half in (first, second))
        assert not ours & theirs
        assert ours | theirs == set(range(41))
        assert abs(len(ours) - len(theirs)) == 1
    assert len({first.tobytes() for first, _ in halves}) == 5
    # how tracks are spread over blocks is all the same
    again = track_halves(lambda: [together], columns, n_splits=5, rng=np.random.default_rng(3))
    for one, other in zip(halves, again, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="named track"):
        next(track_halves(lambda: [np.zeros(3, np.dtype([("x", float)]))], columns, n_splits=1, rng=rng))
    with pytest.raises(InputError, match="at least 2"):
        next(track_halves(lambda: [together[:1]], columns, n_splits=1, rng=rng))


def test_no_two_blocks_of_tracks_are_held_together():
    alive = []

    def blocks():
        for _ in range(20):
            assert sum(one() is not None for one in alive) <= 2  # the one that is drawn, and its half
            block = np.zeros(40, POINT)
            block["track"] = np.arange(40)
            alive.append(weakref.ref(block))
            yield block
            del block

    def render(parts):
        return np.array([[sum(len(part) for part in parts)]])

    ((first, second),) = track_halves(blocks, render, n_splits=1, rng=np.random.default_rng(0))
    assert (first[0, 0], second[0, 0]) == (400, 400)


def test_blocks_are_split_into_halves_that_add_up():
    rng = np.random.default_rng(8)
    maps = rng.random((9, 6, 5)) < 0.4
    halves = list(block_halves(iter(maps), 9, n_splits=4, rng=rng))
    assert len(halves) == 4
    for first, second in halves:
        np.testing.assert_array_equal(first + second, maps.sum(axis=0))
    # a map of its own pixel for each block tells which half each went to
    own = np.eye(9, dtype=bool).reshape(9, 3, 3)
    sides = [first.ravel() for first, _ in block_halves(own, 9, n_splits=20, rng=rng)]
    assert {int(side.sum()) for side in sides} == {4, 5}
    assert len({tuple(side) for side in sides}) > 15
    for number in (8, 10):
        with pytest.raises(InputError, match="9 blocks"):
            block_halves(maps, number, n_splits=1, rng=rng)
    with pytest.raises(InputError, match="at least 2"):
        block_halves(maps[:1], 1, n_splits=1, rng=rng)
