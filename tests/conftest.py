"""Fixtures that several folders of tests share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

import host_cuda


@pytest.fixture(autouse=True)
def _processor_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests without the mark `gpu` tell what a processor does, on a machine with a GPU too."""
    if request.node.get_closest_marker("gpu") is None:
        # for programs that they start, and for a torch that is imported later
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        if "torch" in sys.modules:
            monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def host_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A GPU that the host plays: see `host_cuda`."""
    yield host_cuda.install(monkeypatch)
    monkeypatch.undo()
    host_cuda.forget_compiled()


@pytest.fixture(params=["host", pytest.param("device", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest) -> ModuleType:
    """CuPy twice: the stand-in, and, where there is a GPU, the real one."""
    if request.param == "host":
        return request.getfixturevalue("host_gpu")
    from ulmpipe.device import gpu_available

    if importlib.util.find_spec("cupy") is None or not gpu_available():
        pytest.skip("no CuPy or no CUDA device")
    import cupy

    return cupy
