"""Thresholds of both methods: those of the expert do not depend on what the network looks at."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import SMALL, run_stages, stage_arguments

from ulmpipe.io.stores import open_store, read_json
from ulmpipe.stages._detections import operated
from ulmpipe.stages._expert import MAPS, expert_maps
from ulmpipe.stages._maps import as_correlation

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


VALIDATION = "results/training/synthetic_1/validation.zarr"
Runs = tuple[dict[str, Path], dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Folders, and what was chosen with either input of a network of the same weights."""
    folders, chosen = {}, {}
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
        assert set(open_store(folder / VALIDATION)) & set(INPUTS) == {seen}
        folders[seen] = folder
        chosen[seen] = read_json(folder / "results/model/operating_points.json")["operating_points"][0]
    return folders, chosen


def test_the_expert_looks_at_the_correlation_maps_with_either_input(runs: Runs) -> None:
    folders, points = runs
    stores = {seen: open_store(folder / VALIDATION)[seen] for seen, folder in folders.items()}
    psf = open_store(folders["filtered"] / "results/point_spread.zarr")["point_spread"][0]
    for block in range(2):
        expected = stores["correlation"][block]
        made = as_correlation("filtered", stores["filtered"][block], psf, {"regularization": 1.0})
        assert np.abs(expected).max() > 0.5
        np.testing.assert_allclose(made, expected, atol=2e-3)
        assert as_correlation("correlation", expected, psf, {}) is expected
    one, other = (points[seen]["expert"]["per_block"] for seen in INPUTS)
    assert min(one["dice"], other["dice"]) > 0.02  # of sixteen frames: several times chance
    assert one["threshold"] == pytest.approx(other["threshold"], abs=0.05)


def test_the_experts_points_are_the_best_of_each_map_and_the_better_of_them(runs: Runs) -> None:
    folders, points = runs
    store = open_store(folders["correlation"] / VALIDATION)
    made = read_json(folders["correlation"] / "results/model/operating_points.json")["provenance"]
    spacing = store["correlation"].attrs["spacing"]
    inner = (slice(8, -8), slice(8, -8))
    truths = [tracks[inner] for tracks in store["tracks"][:]]
    blocks = [expert_maps(maps, made["parameters"], spacing=spacing) for maps in store["correlation"][:]]

    def dice_of(name: str, radius: int, rise: int, threshold: float) -> float:
        found = [operated(block[name], radius=radius, rise=rise)[inner] >= threshold for block in blocks]
        pairs = zip(found, truths, strict=True)
        return float(np.mean([2 * (one & truth).sum() / (one.sum() + truth.sum()) for one, truth in pairs]))

    expert = points["correlation"]["expert"]
    assert [point["map"] for point in expert["of_each_map"]] == list(MAPS)
    for point in expert["of_each_map"]:
        chosen = dice_of(point["map"], point["radius"], point["rise"], point["threshold"])
        assert chosen == pytest.approx(point["dice"], rel=1e-6)
        others = product([point["map"]], range(3), range(3), np.arange(6, 98, 3) * 0.01)
        assert max(dice_of(*other) for other in others) <= chosen * (1 + 1e-9)
    assert expert["per_block"] == max(expert["of_each_map"], key=lambda point: point["dice"])
    assert min(point["dice"] for point in expert["of_each_map"]) > 0.02


def test_the_network_is_given_what_it_looks_at(runs: Runs) -> None:
    _, points = runs
    one, other = (points[seen]["network"]["per_block"] for seen in INPUTS)
    assert one != other
