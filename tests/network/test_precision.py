"""In which precision a network computes when nobody says: as the device is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ulmpipe.network import build_network, devices, infer_field
from ulmpipe.network.dataset import TrackDataset
from ulmpipe.network.devices import devices_of, multiplies_bfloat16, precision_of
from ulmpipe.network.schedule import TrainingSettings
from ulmpipe.network.training import train


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Pretends to run on a processor with or without products of bfloat16."""

    def pretend(bfloat16: bool) -> None:
        told = tmp_path / "cpuinfo"
        told.write_text("flags\t\t: fpu avx2 avx512f" + (" avx512_bf16 amx_bf16" if bfloat16 else "") + "\n")
        monkeypatch.setattr(devices, "PROCESSORS", told)

    return pretend


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_processor_is_given_bfloat16_if_it_multiplies_it(
    bfloat16: bool, precision: str, processor: Callable[[bool], None]
) -> None:
    processor(bfloat16)
    assert precision_of(build_network("light", seed=0), "auto", "cpu") == precision


def test_where_nobody_says_it_is_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "PROCESSORS", tmp_path / "nothing")
    assert not multiplies_bfloat16()


def test_3d_convolutions_are_float32_on_any_processor(processor: Callable[[bool], None]) -> None:
    processor(True)
    network = build_network("paper", seed=0)
    assert precision_of(network, "auto", "cpu") == "float32"
    maps, tracks = np.zeros((1, 2, 16, 8, 8), np.float32), np.zeros((1, 64, 64), bool)
    tracks[:, 3] = True
    blocks = TrackDataset([maps], [tracks])
    settings = TrainingSettings(n_epochs=1, batch_size=1, loss="dice")
    assert train(network, blocks, blocks, settings=settings).history  # not refused, as bfloat16 would be


@pytest.mark.parametrize("name", ["light", "paper"])
@pytest.mark.parametrize(("ampere", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_is_given_bfloat16_if_it_multiplies_it(
    name: str, ampere: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: ampere)
    assert precision_of(build_network(name, seed=0), "auto", "cuda") == precision


@pytest.mark.parametrize("wanted", ["bfloat16", "float32"])
@pytest.mark.parametrize("bfloat16", [True, False])
def test_what_is_asked_for_is_done(wanted: str, bfloat16: bool, processor: Callable[[bool], None]) -> None:
    processor(bfloat16)
    assert precision_of(build_network("light", seed=0), wanted, "cpu") == wanted


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_trainings_and_inference_follow(
    bfloat16: bool, precision: str, processor: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(bfloat16)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    network = build_network("light", seed=0)
    with devices_of(network, "auto").autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, precision)
    field = np.random.default_rng(0).normal(size=(2, 16, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(
        infer_field(network, field), infer_field(network, field, precision=precision)
    )
