"""The table of bubbles for people's viewers: what it says is what the store holds."""

from __future__ import annotations

import csv

import numpy as np
from PIL import Image
from small_run import run_stages, stage_arguments

from ulmpipe.io.graph_store import load_graph
from ulmpipe.io.stores import open_store


def test_every_bubble_and_frame_has_its_row_and_every_life_its_track(tmp_path):
    calls = stage_arguments(tmp_path)
    run = run_stages(tmp_path, [calls["trajectories:synthetic_1"]])
    assert run.returncode == 0, run.stderr
    graph, trajectories = "results/graphs/synthetic_1.h5", "results/trajectories/synthetic_1.zarr"
    parameters = calls["trajectories:synthetic_1"][
        calls["trajectories:synthetic_1"].index("--parameters") + 1
    ]
    call = ["bubble_table", "--parameters", parameters, "--threads", "1"]
    run = run_stages(tmp_path, [[*call, "--trajectories", trajectories, "--table", "bubbles.csv"]])
    assert run.returncode == 0, run.stderr

    with (tmp_path / "bubbles.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    store = open_store(tmp_path / trajectories, "position")
    position, vessel, life = (store[name][0][1::3] for name in ("position", "vessel", "life"))
    there = np.flatnonzero(vessel[0] >= 0)
    assert len(rows) == 16 * len(there)
    assert len({row["track"] for row in rows}) == len(there) + int(
        (np.diff(life[:, there], axis=0) != 0).sum()
    )
    found = np.array([[row[f"{axis}_um"] for axis in "xyz"] for row in rows]).reshape(len(there), 16, 3)
    np.testing.assert_allclose(found, 1e6 * position[:, there].swapaxes(0, 1), atol=1e-3)
    assert [row["frame"] for row in rows[:16]] == list(range(16))
    assert rows[1]["time_s"] == np.round(1e-3 + 1 / 3000, 9)
    network = load_graph(tmp_path / graph)
    widest = 2e6 * network.radius.max() / network.dilation
    assert 0 < max(row["diameter_um"] for row in rows) <= widest
    steps = np.linalg.norm(np.diff(found, axis=1), axis=-1)  # µm a millisecond, mm/s
    speed = np.array([row["speed_mm_s"] for row in rows]).reshape(len(there), 16)
    assert np.median(np.abs(steps - speed[:, :-1])) < 1e-3


def test_the_film_is_as_long_as_the_block(tmp_path):
    calls = stage_arguments(tmp_path)
    call = calls["trajectories:synthetic_1"]
    run = run_stages(tmp_path, [call])
    assert run.returncode == 0, run.stderr
    with Image.open(tmp_path / call[call.index("--film") + 1]) as film:
        assert film.n_frames == 16
        assert film.info["loop"] == 0
