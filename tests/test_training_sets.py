"""Training blocks in memory: kept while there is room, read again when there is none, and the same either way."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.stages._training_sets import WITHOUT_BLOCKS, Blocks, Memory


@pytest.mark.parametrize(("free_mb", "n_kept"), [(0, 0), (2, 2), (3, 3), (9, 4)])
def test_as_many_blocks_are_kept_as_a_job_has_memory_for(free_mb, n_kept):
    stored = np.repeat(np.arange(4, dtype=np.uint8)[:, None], 1_000_000, axis=1)
    blocks = Blocks(stored, Memory(WITHOUT_BLOCKS + free_mb))
    for _ in range(2):
        assert [int(blocks[block].max()) for block in range(4)] == [0, 1, 2, 3]
    assert len(blocks.kept) == n_kept


def test_a_job_with_less_memory_than_a_training_takes_keeps_no_block():
    assert not Memory(WITHOUT_BLOCKS // 2).take(1)
