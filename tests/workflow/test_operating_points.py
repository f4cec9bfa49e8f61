"""Thresholds of both methods: those of the expert do not depend on what the network looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_run import SMALL, run_stages, stage_arguments

from ulmpipe.io.stores import open_store, read_json

WEIGHTS = """
import pathlib
from ulmpipe.network.architectures import build_network
from ulmpipe.network.inference import save_weights
pathlib.Path("results/model").mkdir()
made = {{"parameters": {{"network": {{"input": "{seen}"}}}}}}
save_weights(build_network("light", seed=5), pathlib.Path("results/model/phase_2.safetensors"), metadata=made)
"""
STAGES = (
    "trajectories:synthetic_1",
    "point_spread",
    "training_blocks:synthetic_1,validation",
    "operating_points",
)
INPUTS = ("filtered", "correlation")


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What was chosen with either input of a network of the same weights."""
    chosen = {}
    for seen in INPUTS:
        folder = tmp_path_factory.mktemp(seen)
        changes = SMALL | {
            "network": {"input": seen},
            "clutter_filter": {"n_removed": 0},  # there is no tissue, and bubbles would go
            "tissue": {"reflectivity_db": None},
            "noise": {"snr_db": None},
            "evaluation": {"border": 8},
            "training_set": SMALL["training_set"]
            | {"validation_blocks_per_volume": 2, "validation_concentrations_per_mm3": [100.0]},
        }
        calls = stage_arguments(folder, changes)
        run = run_stages(folder, [calls[name] for name in STAGES], before=WEIGHTS.format(seen=seen))
        assert run.returncode == 0, run.stderr
        kept = set(open_store(folder / "results/training/synthetic_1/validation.zarr"))
        assert kept & set(INPUTS) == {seen}
        chosen[seen] = read_json(Path(folder) / "results/model/operating_points.json")["operating_points"][0]
    return chosen


@pytest.mark.parametrize("criterion", ["per_block", "accumulated"])
def test_the_expert_has_the_points_of_its_correlation_maps(points: Any, criterion: str) -> None:
    one, other = (points[seen]["expert"][criterion] for seen in INPUTS)
    assert one["dice"] > 0.1
    assert one["dice"] == pytest.approx(other["dice"], abs=0.01)
    assert one["threshold"] == pytest.approx(other["threshold"], abs=0.03)


def test_the_network_is_given_what_it_looks_at(points: Any) -> None:
    one, other = (points[seen]["network"]["per_block"] for seen in INPUTS)
    assert one != other
