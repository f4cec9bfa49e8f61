"""The GPU kernels: the same source compiled for the host behind a stand-in for CuPy, and the real thing."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe
from ulmpipe.beamforming import Grid, delay_and_sum, kernels_gpu

SHIM = """
struct Index { unsigned x, y, z; };
static Index blockIdx, threadIdx, blockDim;
struct float2 { float x, y; };
static inline float2 make_float2(float x, float y) { float2 v; v.x = x; v.y = y; return v; }
#define __global__
"""

LAUNCHER = """
extern "C" void launch_{name}(unsigned grid_x, unsigned grid_y, unsigned threads, {parameters})
{{
    blockDim.x = threads; blockDim.y = 1;
    for (blockIdx.y = 0; blockIdx.y < grid_y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid_x; ++blockIdx.x)
            for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) {name}({names});
}}
"""

RECORD = {
    "start_time": 9e-6,
    "sampling_frequency": 15.625e6,
    "demodulation_frequency": 15.625e6,
    "speed_of_sound": 1540.0,
}


class HostArray(np.ndarray):
    """What of a CuPy array the beamformer uses."""

    def get(self) -> np.ndarray:
        return np.asarray(self)


def poisoned(shape, dtype):
    return np.full(shape, np.nan, dtype=dtype).view(HostArray)


def compiled_for_the_host(source, folder):
    """The kernels of a CUDA source as functions (grid, block, arguments), every thread run in turn."""
    launchers = []
    for name, parameters in re.findall(r"__global__ void (\w+)\(([^)]*)\)", source):
        names = ", ".join(re.findall(r"(\w+)\s*(?:,|$)", parameters))
        launchers.append(LAUNCHER.format(name=name, parameters=parameters, names=names))
    (folder / "kernels.cpp").write_text(SHIM + source + "".join(launchers))
    library = folder / "kernels.so"
    command = ["g++", "-O2", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-shared", "-fPIC", "-o", library]
    subprocess.run([*command, folder / "kernels.cpp"], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture
def host_cupy(tmp_path, monkeypatch):
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the CUDA source for the host")

    class RawModule:
        def __init__(self, *, code):
            self.library = compiled_for_the_host(code, tmp_path)

        def get_function(self, name):
            function = getattr(self.library, f"launch_{name}")
            kinds = {np.int32: ctypes.c_int, np.int64: ctypes.c_longlong}

            def launch(grid, block, arguments):
                native = [
                    ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else kinds[type(a)](a)
                    for a in arguments
                ]
                function(grid[0], grid[1] if len(grid) > 1 else 1, block[0], *native)

            return launch

    cupy = types.ModuleType("cupy")
    cupy.RawModule, cupy.empty = RawModule, poisoned
    cupy.asarray = lambda array: np.array(array, order="C").view(HostArray)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    kernels_gpu._compiled.cache_clear()
    yield
    kernels_gpu._compiled.cache_clear()


def assert_twins_agree(*, f_number, oversampling, n_frames, **settings):
    rng = np.random.default_rng(3)
    probe = named_probe("L22-14v", n_elements=22)
    transmit = PlaneWaves(angles=(-0.1, 0.05), transmit_frequency=15e6, n_cycles=3)
    data = rng.standard_normal((n_frames, 2, 22, 40, 2), dtype=np.float32).view(np.complex64)[..., 0]
    # wider and deeper than what the record holds, so that some delays fall outside it
    grid = Grid(x=np.linspace(-2e-3, 2e-3, 37), z=np.linspace(6.5e-3, 9.2e-3, 13))
    settings |= {"f_number": f_number, "oversampling": oversampling} | RECORD
    expected = delay_and_sum(data, grid, probe, transmit, backend="cpu", **settings)
    found = delay_and_sum(data, grid, probe, transmit, backend="gpu", **settings)
    assert np.abs(expected).max() > 1
    assert (expected == 0).any()
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


CASES = [(0.0, 4, 11), (1.5, 4, 1), (3.0, 1, 8), (0.0, 3, 70)]


@pytest.mark.parametrize(("f_number", "oversampling", "n_frames"), CASES)
@pytest.mark.usefixtures("host_cupy")
def test_the_gpu_source_compiled_for_the_host_equals_the_cpu_kernel(f_number, oversampling, n_frames):
    assert_twins_agree(f_number=f_number, oversampling=oversampling, n_frames=n_frames)


@pytest.mark.parametrize("f_number", [0.0, 1.5])
@pytest.mark.parametrize(
    "settings", [{"apodization": "hann"}, {"apodization": "tukey", "lens_correction": True}]
)
@pytest.mark.usefixtures("host_cupy")
def test_so_it_does_with_apodization_and_the_lens_corrected(f_number, settings):
    assert_twins_agree(f_number=f_number, oversampling=4, n_frames=5, **settings)


@pytest.mark.gpu
@pytest.mark.skipif(not kernels_gpu.is_available(), reason="no CUDA device with CuPy")
@pytest.mark.parametrize(("f_number", "oversampling", "n_frames"), CASES)
def test_the_gpu_kernel_equals_the_cpu_kernel(f_number, oversampling, n_frames):
    assert_twins_agree(f_number=f_number, oversampling=oversampling, n_frames=n_frames)


def test_the_source_and_its_launcher_agree_on_the_frames_of_a_thread():
    assert re.search(r"#define FRAMES (\d+)", kernels_gpu.SOURCE)[1] == str(kernels_gpu.FRAMES_PER_THREAD)
