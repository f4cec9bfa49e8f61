"""The stages that simulate, beamform and correlate, on a GPU (played by the host) as on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from small_run import SMALL, run_stages, stage_arguments

TESTS = Path(__file__).parents[1]
WITH_GPU = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import host_cuda
sys.modules["cupy"] = host_cuda.host_cupy()
"""
CHANGES = {
    **SMALL,
    "clutter_filter": {"n_removed": 1},
    "training_set": {**SMALL["training_set"], "blocks_per_volume": 2},
}


def test_training_blocks_and_acquisitions_agree(tmp_path):
    calls = stage_arguments(tmp_path, CHANGES)
    wanted = (
        "point_spread",
        "trajectories:synthetic_1",
        "trajectories:synthetic_3_20MB",
        "channel_data:20MB",
    )
    wanted += ("training_blocks:synthetic_1,000", "beamform:20MB", "correlate:20MB")
    found = []
    for program in ("", WITH_GPU):
        run = run_stages(tmp_path, [calls[name] for name in wanted], before=program)
        assert run.returncode == 0, run.stderr
        training = zarr.open_group(tmp_path / "results/training/synthetic_1/000.zarr", mode="r")
        acquired = zarr.open_group(tmp_path / "results/correlation/20MB.zarr", mode="r")
        found.append(
            [
                training["tracks"][:],
                training["filtered"][:],
                acquired["filtered"][:],
                acquired["correlation"][:],
            ]
        )
    (tracks, *maps), (tracks_gpu, *maps_gpu) = found
    assert (tracks == tracks_gpu).all()
    for cpu, gpu in zip(maps, maps_gpu, strict=True):
        assert np.abs(cpu).max() > 0.1
        # of the largest value: maps stay below one, images over their root mean square do not
        scale = np.abs(cpu).max()
        np.testing.assert_allclose(gpu.astype(np.float32) / scale, cpu.astype(np.float32) / scale, atol=3e-3)
