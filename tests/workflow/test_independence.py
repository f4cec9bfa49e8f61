"""The same arrays, bit for bit, whatever the number of threads and the size of the shards."""

from __future__ import annotations

import numpy as np
import pytest
from small_run import SMALL, run_stages, stage_arguments

from ulmpipe.io.stores import open_store

STORES = {
    "point_spread": ("point_spread",),
    "trajectories/synthetic_1": ("position", "velocity", "rank"),
    "training/synthetic_1/validation": ("filtered", "tracks", "timed_tracks"),
    "channel_data/20MB": ("samples",),
    "iq/20MB": ("iq",),
    "correlation/20MB": ("correlation", "filtered", "power_doppler", "tissue"),
    "detections/20MB_expert": ("score",),
    "detections/20MB_network": ("score",),
    "ground_truth/20MB": ("tracks", "reference"),
}
RANDOM_WEIGHTS = """
import pathlib
from ulmpipe.network.architectures import build_network
from ulmpipe.network.inference import save_weights
pathlib.Path("results/model").mkdir()
save_weights(build_network("light", seed=5), pathlib.Path("results/model/phase_2.safetensors"), metadata={})
"""
MADE_HERE = ("trajectories", "point_spread", "training_blocks", "channel_data", "beamform", "correlate")
MADE_HERE += ("localize", "infer", "ground_truth")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run twice: two shards of two blocks on one thread, and one shard of four on two threads.

    With all that is drawn at random: sizes of bubbles too, and noise that is transformed.
    """
    drawn = {"bubbles": {"reflectivity": "size_distribution"}, "noise": {"band": "probe"}}
    folders = []
    for threads, blocks_per_shard in ((1, 2), (2, 4)):
        folder = tmp_path_factory.mktemp(f"threads_{threads}")
        training_set = SMALL["training_set"] | {"blocks_per_shard": blocks_per_shard}
        calls = stage_arguments(folder, SMALL | drawn | {"training_set": training_set})
        wanted = [call for name, call in calls.items() if name.split(":")[0] in MADE_HERE]
        answer = run_stages(folder, wanted, threads=threads, before=RANDOM_WEIGHTS)
        assert answer.returncode == 0, answer.stderr
        folders.append(folder / "results")
    return folders


def same_bits(a, b) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("store", STORES)
def test_threads_change_no_bit(runs, store):
    one, two = (open_store(folder / f"{store}.zarr") for folder in runs)
    for name in STORES[store]:
        assert np.any(one[name][:] != 0), f"{name} is all zeros: this test would see nothing"
        assert same_bits(one[name][:], two[name][:]), name


@pytest.mark.parametrize("name", ["filtered", "tracks", "timed_tracks"])
def test_shards_change_no_bit(runs, name):
    in_two, in_one = (sorted((folder / "training/synthetic_1").glob("0*.zarr")) for folder in runs)
    assert (len(in_two), len(in_one)) == (2, 1)
    blocks = np.concatenate([open_store(shard)[name][:] for shard in in_two])
    assert len(blocks) == 4
    assert same_bits(blocks, open_store(in_one[0])[name][:])
