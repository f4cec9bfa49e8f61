"""Score maps of the network over a field."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.network import build_network, save_weights
from ulmpipe.stages._detections import network_maps


@pytest.fixture
def model(tmp_path):
    save_weights(build_network("light", seed=3), tmp_path / "weights.safetensors", metadata={})
    return tmp_path / "weights.safetensors"


def parameters(*, mirrored):
    return {
        "network": {"name": "light", "precision": "float32"},
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
