"""Independent halves of the data, to compare with each other: of the tracks, or of the blocks.

Never of the localizations: those of one bubble would lie in both halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.evaluation.regions import Image

Halves = tuple[Image, Image]
Tracks = NDArray[np.void]


def tracks_chosen(blocks: Iterable[Tracks], chosen: NDArray[np.bool_]) -> Iterator[Tracks]:
    """Some of the tracks of every block, whole.

    Parameters
    ----------
    blocks
        Structured array of each block, a localization each, with the integer field ``track``: a number of its own
        for each track of the block.
    chosen
        (track) whether each is wanted: those of the first block by their number, then those of the next.

    Raises
    ------
    InputError
        There is no field ``track``.

    """
    n_before = 0
    for block in blocks:
        names, track = _tracks_of(block)
        yield block[chosen[n_before + track]]
        n_before += len(names)


def track_halves(
    blocks: Callable[[], Iterable[Tracks]],
    render: Callable[[Iterable[Tracks]], NDArray[Any]],
    *,
    n_splits: int,
    rng: np.random.Generator,
) -> Iterator[Halves]:
    """Images of the two halves of several random splits of the tracks, equally many whole tracks in each.

    The blocks are gone through once for each split and twice more; no more than one of them is held.

    Parameters
    ----------
    blocks
        Goes through the blocks from the first one on, see `tracks_chosen`.
    render
        Draws the (z, x) image of some of the tracks; the images of two halves must add up to that of all.
    n_splits
        How many splits.
    rng
        Draws which tracks go where, one split after the other; an odd one out falls to either half.

    Raises
    ------
    InputError
        There is no field ``track``, or there are fewer than two tracks.

    """
    n_tracks = sum(len(_tracks_of(block)[0]) for block in blocks())
    if n_tracks < 2:
        raise InputError(f"tracks: {n_tracks} of them, expected at least 2 to split")
    total = render(blocks())
    for _ in range(n_splits):
        first = render(tracks_chosen(blocks(), _half_of(n_tracks, rng)))
        yield first, total - first


def block_halves(
    maps: Iterable[NDArray[np.bool_]], n_blocks: int, *, n_splits: int, rng: np.random.Generator
) -> Iterator[Halves]:
    """Counts of the two halves of several random splits of the blocks.

    The maps are gone through once; one image a split is held, and the sum of all. Blocks that follow on one
    another without a pause share their slow bubbles: such halves are less independent than they should be.

    Parameters
    ----------
    maps
        (z, x) binary map of every block, registered.
    n_blocks
        How many there are.
    n_splits
        How many splits.
    rng
        Which blocks go where; an odd one out falls to either half.

    Returns
    -------
    Two (z, x) int32 images a split: in how many blocks of each half a pixel has a track.

    Raises
    ------
    InputError
        There are fewer than two blocks, or another number than ``n_blocks``.

    """
    if n_blocks < 2:
        raise InputError(f"blocks: {n_blocks} of them, expected at least 2 to split")
    chosen = [_half_of(n_blocks, rng) for _ in range(n_splits)]
    total: NDArray[np.int32] = np.zeros((), np.int32)
    firsts = [total] * n_splits
    n_seen = 0
    for n_seen, one in enumerate(maps, start=1):
        total = total + one
        if n_seen <= n_blocks:
            firsts = [first + one * half[n_seen - 1] for first, half in zip(firsts, chosen, strict=True)]
    if n_seen != n_blocks:
        raise InputError(f"maps: {n_seen} blocks, expected {n_blocks}")
    return ((first, total - first) for first in firsts)


def _tracks_of(block: NDArray[np.void]) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
    """Numbers of a block's tracks, ascending, and to which of them each of its localizations belongs."""
    if block.dtype.names is None or "track" not in block.dtype.names:
        raise InputError(f"tracks: fields {block.dtype.names}, expected one named track")
    return np.unique(block["track"], return_inverse=True)


def _half_of(number: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Random half of so many things: (number,) bool."""
    chosen = np.zeros(number, dtype=bool)
    chosen[rng.permutation(number)[: (number + int(rng.integers(2))) // 2]] = True
    return chosen
