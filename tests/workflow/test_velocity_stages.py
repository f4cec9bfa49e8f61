"""Velocities from the stages at their smallest: targets, training, maps and errors; and what makes them again."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dry_runs import commands, prepare, pretend, would_run
from small_run import SMALL, run_stages, stage_arguments

from ulmpipe.io.stores import open_store, write_json
from ulmpipe.stages._mosaic import block_bubbles, mosaic_of
from ulmpipe.stages._parameters import event_times
from ulmpipe.stages.training_blocks import block_generator, draw_placement, place_bubbles, placement_generator

POINT = {"threshold": 0.4, "radius": 0, "rise": 0, "dice": 0.0}
POINTS = [
    {
        "concentration_per_mm3": 20.0,
        **{method: {"per_block": POINT, "accumulated": POINT} for method in ("network", "expert")},
    }
]
CHANGES = SMALL | {
    "training_set": SMALL["training_set"] | {"blocks_per_volume": 2},
    "tracking": {"minimum_length": 4},
    "clutter_filter": {"n_removed": 0},  # there is no tissue, and bubbles would go
    "tissue": {"reflectivity_db": None},
    "noise": {"snr_db": None},
    "velocity": {"n_epochs": 2},
    "evaluation": {"border": 0},
    "flow": {"velocity_law": {"intercept": -3.0}},  # 20 times as fast: tracks of several pixels in 16 frames
}
TARGETS = ("results/velocity/20MB_scores.json", "results/velocity/20MB_speed.png")
STAGES = {
    "velocity_targets",
    "velocity_truth",
    "train_velocity",
    "infer_velocity",
    "velocity_maps",
    "score_velocity",
}
RANDOM_WEIGHTS = """
import pathlib
from ulmpipe.network.architectures import build_network
from ulmpipe.network.inference import save_weights
pathlib.Path("results/model").mkdir(exist_ok=True)
save_weights(build_network("light", seed=5), pathlib.Path("results/model/phase_2.safetensors"), metadata={})
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks of a phantom without tissue and noise; the network finds what the expert finds."""
    folder = tmp_path_factory.mktemp("velocity")
    stage_arguments(folder, CHANGES)
    calls = {name: _words(command) for name, command in commands(folder, CHANGES, TARGETS).items()}
    phantom = ("channel_data", "beamform", "correlate", "register", "localize", "ground_truth", "track")
    first = ["trajectories:synthetic_1", "trajectories:synthetic_3_20MB", "point_spread"]
    both = ("training_blocks", "velocity_targets")
    shards = [f"{rule}:synthetic_1,{shard}" for rule in both for shard in ("000", "validation")]
    results = folder / "results"
    write_json(results / "model/operating_points.json", {"operating_points": POINTS, "provenance": {}})
    first += [*shards, "train_velocity", *(f"{rule}:20MB" for rule in phantom)]
    calls["localize:20MB"] = _words(
        commands(folder, CHANGES, ("results/detections/20MB_expert.zarr",))["localize:20MB"]
    )
    _succeed(folder, [calls[name] for name in first], before=RANDOM_WEIGHTS)
    (results / "detections/20MB_network.zarr").symlink_to(results / "detections/20MB_expert.zarr")
    rest = ("infer_velocity", "velocity_truth", "velocity_maps", "score_velocity")
    _succeed(folder, [calls[f"{rule}:20MB"] for rule in rest])
    return results


def _words(command: str) -> list[str]:
    words = shlex.split(command)
    return words[words.index("ulmpipe") + 1 : words.index("2>&1")]


def _succeed(folder: Path, calls: list[list[str]], *, before: str = "") -> None:
    done = run_stages(folder, calls, before=before)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("tracks", "velocities"),
    [
        ("training/synthetic_1/000", "training/synthetic_1/000_velocity"),
        ("training/synthetic_1/validation", "training/synthetic_1/validation_velocity"),
        ("ground_truth/20MB", "ground_truth/20MB_velocity"),
    ],
)
def test_there_is_a_velocity_where_there_is_a_track_and_nowhere_else(
    finished: Path, tracks: str, velocities: str
) -> None:
    drawn = open_store(finished / f"{tracks}.zarr", "tracks")["tracks"][:]
    stored = open_store(finished / f"{velocities}.zarr", "velocity")["velocity"]
    assert stored.dtype == np.float16
    assert stored.attrs["units"] == "mm/s"
    assert drawn.any()
    np.testing.assert_array_equal((stored[:] != 0).any(axis=1), drawn)


def test_bubbles_before_the_probe_move_as_their_velocities_say(finished: Path) -> None:
    """Turned with the volume, in training blocks and in the tiles of the phantom alike."""
    made = _parameters(finished / "training/synthetic_1/000_velocity.zarr")
    bubbles = open_store(finished / "trajectories/synthetic_1.zarr")
    placement = draw_placement(made, placement_generator(made, 0))
    placed = place_bubbles(made, placement, bubbles, 0, block_generator(made, 0))
    _assert_velocities_are_derivatives(placed.where_seen(placement), placed.velocity, made)
    made = _parameters(finished / "ground_truth/20MB_velocity.zarr")
    bubbles = open_store(finished / "trajectories/synthetic_3_20MB.zarr")
    present = block_bubbles(made, bubbles, mosaic_of(made), 1)
    _assert_velocities_are_derivatives(present.position, present.velocity, made)


def _parameters(store: Path) -> dict[str, Any]:
    made: dict[str, Any] = open_store(store).attrs["provenance"]["parameters"]
    return made


def _assert_velocities_are_derivatives(
    position: np.ndarray, velocity: np.ndarray, made: dict[str, Any]
) -> None:
    times = event_times(made).ravel()
    moved = np.diff(position.astype(np.float64), axis=0) / np.diff(times)[:, None, None]
    mean = (velocity[1:] + velocity[:-1]) / 2
    moving = np.isfinite(moved).all(axis=-1) & (np.linalg.norm(mean, axis=-1) > 0.4e-3)
    assert moving.sum() > 50
    error = np.linalg.norm(moved - mean, axis=-1)[moving] / np.linalg.norm(mean, axis=-1)[moving]
    assert np.median(error) < 0.02


def test_errors_are_counted_on_the_track_pixels_that_were_found(finished: Path) -> None:
    scores = json.loads((finished / "velocity/20MB_scores.json").read_text())
    true = open_store(finished / "ground_truth/20MB.zarr")["tracks"][:]
    assert scores["network_on_all_true_tracks"]["all"]["n_pixels"] == true.sum()
    found = scores["network"]["all"]["n_pixels"]
    assert 0 < found < true.sum()
    assert scores["network"]["fast"]["n_pixels"] + scores["network"]["slow"]["n_pixels"] == found
    assert scores["expert_tracks"]["all"]["n_pixels"] > 0
    with (finished / "velocity/20MB_scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["class"]) for row in rows[:2]] == [("network", "all"), ("network", "fast")]
    assert int(rows[0]["pixels"]) == found
    assert float(rows[0]["speed error (mm/s)"]) == pytest.approx(
        1e3 * scores["network"]["all"]["median_speed_error"], rel=1e-3
    )


def test_maps_show_the_inferred_velocities_of_the_blocks_with_a_track(finished: Path) -> None:
    maps = open_store(finished / "velocity/20MB.zarr", "density", "speed", "velocity_z", "velocity_x")
    score = open_store(finished / "detections/20MB_network.zarr")["score"][:]
    velocity = open_store(finished / "detections/20MB_velocity.zarr")["velocity"][:].astype(float) / 1e3
    shifts = json.loads((finished / "registration/20MB.json").read_text())["shifts_pixels"]
    moved = np.rint(-8 * np.array(shifts)).astype(int)
    tracks = np.stack(
        [np.roll(one >= POINT["threshold"], by, (0, 1)) for one, by in zip(score, moved, strict=True)]
    )
    velocity = np.stack([np.roll(one, by, (1, 2)) for one, by in zip(velocity, moved, strict=True)])
    inner = (slice(100, -100), slice(100, -100))  # what was rolled round is left out
    once = (tracks.sum(axis=0) == 1)[inner]
    np.testing.assert_array_equal(maps["density"][0][inner], tracks.sum(axis=0)[inner])
    assert once.sum() > 20
    for axis, name in enumerate(("velocity_z", "velocity_x")):
        expected = (velocity[:, axis] * tracks).sum(axis=0)[inner][once]
        np.testing.assert_allclose(maps[name][0][inner][once], expected, rtol=1e-4, atol=1e-9)
    assert np.isnan(maps["speed"][0][maps["density"][0] == 0]).all()
    for kind in ("speed", "direction"):
        assert (finished / f"velocity/20MB_{kind}.png").stat().st_size > 10_000


def test_the_training_leaves_weights_a_history_and_its_curves(finished: Path) -> None:
    with (finished / "model/velocity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    # drawn after every epoch, so the last time after the last one
    for name in ("velocity.csv", "velocity.png"):
        assert (finished / f"logs/train_{name}").read_bytes() == (finished / "model" / name).read_bytes()
    assert (finished / "model/velocity.png").stat().st_size > 5_000
    description = json.loads((finished / "model/velocity.json").read_text())
    assert "results/model/phase_2.safetensors" in description["provenance"]["inputs"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with velocities, without its computing."""
    folder = tmp_path_factory.mktemp("velocity_rules")
    prepare(folder)
    pretend(folder, SMALL, targets=TARGETS)
    return folder


class TestRules:
    """What Snakemake would run."""

    def test_nobody_pays_for_velocities_unasked(self, tmp_path: Path) -> None:
        prepare(tmp_path)
        assert not _rules(would_run(tmp_path, SMALL, targets=("everything",))) & STAGES
        assert _rules(would_run(tmp_path, SMALL, targets=TARGETS)) >= STAGES

    def test_other_epochs_of_velocities_train_nothing_else(self, run: Path) -> None:
        assert would_run(run, SMALL, targets=TARGETS) == set()
        again = would_run(run, SMALL | {"velocity": {"n_epochs": 3}}, targets=TARGETS)
        assert _rules(again) == {"train_velocity", "infer_velocity", "velocity_maps", "score_velocity"}

    def test_a_shipped_model_brings_its_velocities(self, tmp_path: Path) -> None:
        prepare(tmp_path)
        again = _rules(would_run(tmp_path, SMALL | {"model": "pretrained"}, targets=TARGETS))
        assert again >= STAGES - {"train_velocity", "velocity_targets"}
        assert not again & {"train", "operating_points", "training_blocks", "train_velocity"}

    def test_the_paper_s_network_is_refused_before_anything_runs(self, tmp_path: Path) -> None:
        prepare(tmp_path)
        paper = SMALL | {"network": {"name": "paper", "precision": "float32"}}
        with pytest.raises(
            SystemExit, match=r"network.name: 'paper' has no velocities; expected light, wide or complex"
        ):
            would_run(tmp_path, paper, targets=TARGETS)


def _rules(jobs: set[str]) -> set[str]:
    return {job.split(":")[0] for job in jobs}
