"""The stages at their smallest, called as the rules call them: two vessels, 16 frames a block, 32 elements."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from dry_runs import commands, prepare

from ulmpipe.io.graph_store import write_graph
from ulmpipe.vessels.graph import ARTERY, VEIN, VesselGraph

SMALL: dict[str, Any] = {
    "volumes": {"train": ["synthetic_1"], "test": "synthetic_3"},
    "probe": {"n_elements": 32},
    "sequence": {"frames_per_block": 16},
    "tissue": {"density_per_mm3": 20.0, "n_states": 4},
    "training_set": {
        "blocks_per_volume": 4,
        "validation_blocks_per_volume": 1,
        "blocks_per_shard": 2,
        "blocks_per_rotation": 2,
    },
    "training": {"phase_1": {"n_epochs": 3, "batch_size": 2}},
    "acquisitions": {name: {"n_blocks": 2} for name in ("1MB", "5MB", "10MB", "20MB")},
    "phantom": {"mosaic": [1, 2], "reference_bubbles_per_mm3": 40.0},
}

# runs the stages given on standard input one after the other, as `python -m ulmpipe` would each
PROGRAM = """
import json, sys
from ulmpipe.__main__ import main
for arguments in json.load(sys.stdin):
    code = main(arguments)
    if code:
        raise SystemExit(code)
"""


def loop_of_vessels(side: float) -> VesselGraph:
    """Two vessels that part at one face of a cube and meet again at the other one."""
    places = [[-0.5, 0, 0], [-0.3, 0, 0], [0, 0.1, 0.25], [0, -0.1, -0.25], [0.3, 0, 0], [0.5, 0, 0]]
    return VesselGraph(
        positions=np.array(places) * side,
        edges=np.array([[0, 1], [1, 2], [1, 3], [2, 4], [3, 4], [4, 5]]),
        radius=np.array([9.0, 8.0, 6.0, 5.0, 8.0, 9.0]) * 1e-6,
        vessel_type=np.array([ARTERY, 0, 0, 0, 0, VEIN], dtype=np.int8),
        boundary=np.array([True, False, False, False, False, True]),
        dilation=2.0,
    )


def stage_arguments(folder: Path, changes: Mapping[str, Any] = SMALL) -> dict[str, list[str]]:
    """What each job of a run gives to `ulmpipe`; `folder` becomes its working directory, graphs and all."""
    if not (folder / "config").exists():
        prepare(folder)
        for volume in ("synthetic_1", "synthetic_3"):
            write_graph(folder / f"results/graphs/{volume}.h5", loop_of_vessels(1e-3), provenance={})
    calls = {}
    for name, command in commands(folder, changes).items():
        words = shlex.split(command.replace("$([ -z '' ] || echo --weights )", ""))
        calls[name] = words[words.index("ulmpipe") + 1 : words.index("2>&1")]
    return calls


def run_stages(
    folder: Path, calls: list[list[str]], *, threads: int = 1, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run stages in one process of their own, after the lines `before`."""
    for call in calls:
        call[call.index("--threads") + 1] = str(threads)
    return subprocess.run(
        [sys.executable, "-c", before + PROGRAM],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
