"""Which blocks of a training volume are seen from the same side."""

from __future__ import annotations

import numpy as np

from ulmpipe.stages.training_blocks import _echo_level, _validation_concentration, group_of


def test_validation_blocks_have_rotations_of_their_own_shared_as_configured():
    sizes = {"blocks_per_volume": 10, "blocks_per_rotation": 4}
    training = [group_of({"validation": False, "training_set": sizes}, block) for block in range(10)]
    assert training == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    held_out = {"validation": True, "training_set": {**sizes, "validation_blocks_per_rotation": 3}}
    assert [group_of(held_out, block) for block in range(10, 18)] == [3, 3, 3, 4, 4, 4, 5, 5]


def test_rotations_of_the_validation_blocks_have_the_concentrations_in_turn() -> None:
    given = {
        "training_set": {
            "blocks_per_volume": 7,
            "validation_blocks_per_rotation": 3,
            "validation_concentrations_per_mm3": [5.0, 20.0],
        }
    }
    found = [_validation_concentration(given, 7 + block) for block in range(9)]
    assert found == [5.0] * 3 + [20.0] * 3 + [5.0] * 3


def test_echoes_of_training_blocks_spread_evenly_in_decibels_and_those_of_validation_blocks_do_not() -> None:
    given = {
        "seed": 1,
        "name": "a",
        "validation": False,
        "training_set": {"echo_spread_db": 6.0},
    }
    level_db = np.array([20 * np.log10(_echo_level(given, block)) for block in range(400)])
    assert np.abs(level_db).max() <= 6.0
    counts, _ = np.histogram(level_db, bins=6, range=(-6, 6))
    assert counts.min() > 45  # of 67
    assert _echo_level({**given, "validation": True}, 0) == 1
    assert _echo_level({**given, "training_set": {"echo_spread_db": 0.0}}, 5) == 1
