"""Tissue that breathes within blocks, found and taken out by the stages; and a recording before the bubbles came."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from dry_runs import ROOT, commands
from small_run import SMALL, run_stages, stage_arguments

from ulmpipe.configuration import load_configuration
from ulmpipe.io.stores import open_store
from ulmpipe.phantom import motion_path
from ulmpipe.stages._mosaic import motion_of
from ulmpipe.stages._parameters import event_times

CHANGES = SMALL | {
    "acquisitions": {
        "20MB": {"concentration_per_mm3": 20.0, "n_blocks": 2},
        "none": {"concentration_per_mm3": 0.0, "n_blocks": 2},
    },
    "tissue": {"density_per_mm3": 200.0, "n_states": 6},
    "phantom": SMALL["phantom"]
    | {"breathing": {"amplitude": 20.0e-6, "frequency": 31.0}, "largest_drift": 30.0e-6},
    "motion": {"within_blocks": "rigid", "frames_together": 1},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moving")
    stage_arguments(folder, CHANGES)
    wanted = ("registration/{}.csv", "ground_truth/{}.zarr")
    targets = tuple(f"results/{path.format(name)}" for path in wanted for name in ("20MB", "none"))
    calls = []
    for name, command in commands(folder, CHANGES, targets).items():
        words = shlex.split(command)
        if not name.startswith("vessel_graph"):
            calls.append(words[words.index("ulmpipe") + 1 : words.index("2>&1")])
    done = run_stages(folder, calls)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_tissues_path_is_found(finished: Path) -> None:
    settings = load_configuration(ROOT / "config/config.yaml", finished / "changes.yaml").model_dump(
        mode="json"
    )
    settings |= {"name": "synthetic_3"}
    times = event_times(settings)[:, 1]
    motion = motion_of(settings)
    found = open_store(finished / "results/correlation/none.zarr", "motion")["motion"][:]
    for block in range(2):
        path = motion_path(motion, block * settings["phantom"]["block_interval"] + times)
        true = (
            (path - path[len(path) // 2])[:, None] * motion.direction[::-1] / settings["beamforming"]["pixel"]
        )
        assert np.ptp(true, axis=0).max() > 0.4  # pixels
        error = np.sqrt(np.mean((found[block] - true) ** 2, axis=0))
        assert error[0] < 0.02
        assert error[1] < 0.1


def test_the_drift_is_that_of_the_middle_frames(finished: Path) -> None:
    for name in ("20MB", "none"):
        found = np.array(
            json.loads((finished / f"results/registration/{name}.json").read_text())["shifts_pixels"]
        )
        true = open_store(finished / f"results/ground_truth/{name}.zarr", "drift")["drift"][:] / 25e-6
        assert np.abs(true[1]).max() > 0.4
        np.testing.assert_allclose(found, true, atol=0.1)


def test_without_bubbles_there_is_no_track_but_a_reference(finished: Path) -> None:
    truth = open_store(finished / "results/ground_truth/none.zarr", "tracks", "reference")
    assert not truth["tracks"][:].any()
    assert truth["reference"][:].any()  # that of the vessels
    assert truth.attrs["fractions"]["visible"] == 0
