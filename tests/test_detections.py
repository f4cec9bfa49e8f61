"""Score maps of the network over a field."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.io.stores import write_json
from ulmpipe.network import build_network, save_weights
from ulmpipe.stages._detections import blocks_at_once, network_maps, operating_points_of


@pytest.fixture
def model(tmp_path):
    save_weights(build_network("light", seed=3), tmp_path / "weights.safetensors", metadata={})
    return tmp_path / "weights.safetensors"


def parameters(*, mirrored):
    return {
        "network": {"name": "light", "input": "filtered", "precision": "float32"},
        "inference": {"mode": "whole_field", "tile": None, "mirrored": mirrored},
    }


def test_a_mirrored_field_has_the_mirrored_answer_when_both_are_averaged(model):
    maps = np.random.default_rng(0).normal(0, 0.3, (2, 2, 32, 16, 20)).astype(np.float16)
    averaged = list(network_maps(parameters(mirrored=True), model, maps, threads=1))
    of_mirrored = list(network_maps(parameters(mirrored=True), model, maps[..., ::-1], threads=2))
    for one, other in zip(averaged, of_mirrored, strict=True):
        np.testing.assert_allclose(one, other[:, ::-1], rtol=0, atol=1e-7)
    once = list(network_maps(parameters(mirrored=False), model, maps, threads=1))
    once_mirrored = list(network_maps(parameters(mirrored=False), model, maps[..., ::-1], threads=1))
    assert np.abs(once[0] - once_mirrored[0][:, ::-1]).max() > 1e-4
    for one, a, b in zip(averaged, once, once_mirrored, strict=True):
        np.testing.assert_allclose(one, (a + b[:, ::-1]) / 2, rtol=0, atol=1e-7)


@pytest.mark.parametrize("trained_on", [{"input": "correlation"}, {}])
def test_weights_trained_on_other_maps_are_refused_in_one_line(model, trained_on):
    """Their shapes are the same: nothing else would notice."""
    made = {"parameters": {"network": {"name": "light"} | trained_on}}
    save_weights(build_network("light", seed=3), model, metadata=made)
    maps = np.zeros((1, 2, 32, 16, 20), np.float16)
    with pytest.raises(InputError, match=r"trained with network\.input: correlation; expected filtered"):
        next(network_maps(parameters(mirrored=False), model, maps, threads=1))


@pytest.mark.parametrize(
    ("name", "memory_mb", "tile", "at_once"),
    [
        ("light", None, 128, 16),
        ("light", 30_000, 128, 16),
        ("light", 4000, 128, 2),
        ("light", 4000, None, 1),
        ("light", 1, 128, 1),
        ("paper", 30_000, 128, 2),
    ],
)
def test_no_more_blocks_are_in_memory_than_fit(name, memory_mb, tile, at_once):
    """Of 512 x 400 pixels and 512 frames each: 0.4 GB, 0.2 of answers, and 0.7 (paper: 9.8) for a tile."""
    network = build_network(name, seed=0)
    maps = np.broadcast_to(np.float16(0), (3, 2, 512, 400, 512))
    settings = {"inference": {"tile": tile}, "targets": {"upsampling": 8}}
    assert blocks_at_once(network, settings, maps, threads=16, memory_mb=memory_mb) == at_once


@pytest.mark.parametrize(("concentration", "threshold"), [(1.0, 0.4), (9.0, 0.4), (11.0, 0.6), (40.0, 0.6)])
def test_an_acquisition_has_the_thresholds_of_the_nearest_concentration_by_its_ratio(
    tmp_path, concentration, threshold
):
    points = [
        {"concentration_per_mm3": 5.0, "network": {"per_block": {"threshold": 0.4}}},
        {"concentration_per_mm3": 20.0, "network": {"per_block": {"threshold": 0.6}}},
    ]
    write_json(tmp_path / "points.json", {"operating_points": points})
    chosen = operating_points_of(tmp_path / "points.json", concentration_per_mm3=concentration)
    assert chosen["network"]["per_block"]["threshold"] == threshold
