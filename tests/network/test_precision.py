"""In which precision a network computes when nobody says: as the device is made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ulmpipe.network import build_network, infer_field
from ulmpipe.network.devices import devices_of, multiplies_bfloat16, precision_of


def cpu_with(bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": bfloat16}, raising=False)


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_processor_is_given_bfloat16_if_it_multiplies_it(
    bfloat16: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_with(bfloat16, monkeypatch)
    assert precision_of(build_network("light", seed=0), "auto", "cpu") == precision


def test_where_torch_cannot_say_it_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch.cpu.get_capabilities", raising=False)
    assert not multiplies_bfloat16()


def test_3d_convolutions_are_float32_on_any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_with(True, monkeypatch)
    assert precision_of(build_network("paper", seed=0), "auto", "cpu") == "float32"


@pytest.mark.parametrize("name", ["light", "paper"])
@pytest.mark.parametrize(("ampere", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_is_given_bfloat16_if_it_multiplies_it(
    name: str, ampere: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: ampere)
    assert precision_of(build_network(name, seed=0), "auto", "cuda") == precision


@pytest.mark.parametrize("wanted", ["bfloat16", "float32"])
@pytest.mark.parametrize("bfloat16", [True, False])
def test_what_is_asked_for_is_done(wanted: str, bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_with(bfloat16, monkeypatch)
    assert precision_of(build_network("light", seed=0), wanted, "cpu") == wanted


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_trainings_and_inference_follow(
    bfloat16: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_with(bfloat16, monkeypatch)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    network = build_network("light", seed=0)
    with devices_of(network, "auto").autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, precision)
    field = np.random.default_rng(0).normal(size=(2, 16, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(
        infer_field(network, field), infer_field(network, field, precision=precision)
    )
