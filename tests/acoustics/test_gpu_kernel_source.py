"""The CUDA kernel: its source compiled for the host against the reference, and the real one where possible."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, kernels_gpu, named_probe, simulate_channel_data
from ulmpipe.acoustics.baseband import to_samples
from ulmpipe.acoustics.elevation import count_rows, elevation_lattice
from ulmpipe.acoustics.kernel_tables import KernelTables, kernel_tables
from ulmpipe.acoustics.window import ReceiveWindow

SPEED = 1540.0
PROBE = named_probe("L22-14v", n_elements=40)
TRANSMIT = PlaneWaves(angles=(-0.02, 0.0, 0.1), transmit_frequency=15e6, n_cycles=3)
WINDOW = {
    "start_time": 9e-6,
    "n_samples": 72,
    "sampling_frequency": 15.625e6,
    "demodulation_frequency": 15.625e6,
}

# A shim over the CUDA built-ins: the threads of a block are threads of the host, blocks run one by one.
SHIM = r"""
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <thread>
#include <vector>
#define __device__
#define __global__
#define __shared__
struct Index { unsigned x, y, z; };
static thread_local Index threadIdx, blockIdx;
static Index blockDim;
static pthread_barrier_t barrier;
static void __syncthreads() { pthread_barrier_wait(&barrier); }
static void sincospif(float x, float *s, float *c) { *s = sinf((float)M_PI * x); *c = cosf((float)M_PI * x); }
"""
LAUNCH = r"""
Geometry geometry[4096];
extern "C" void launch(unsigned blocks_x, unsigned blocks_y, unsigned threads,
    const double *a, const Complex *b, const double *c, const Complex *d, const Complex *e, const float *f,
    const float *g, const int *h, const double *i, const double *j, const double *k, const double *l,
    int m, int n, int o, int p, int q, int r, int s, int u, Complex *output)
{
    blockDim.x = threads;
    pthread_barrier_init(&barrier, NULL, threads);
    for (unsigned y = 0; y < blocks_y; ++y)
        for (unsigned x = 0; x < blocks_x; ++x) {
            std::vector<std::thread> block;
            for (unsigned t = 0; t < threads; ++t)
                block.emplace_back([=] {
                    threadIdx.x = t; blockIdx.x = x; blockIdx.y = y;
                    simulate(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, u, output);
                });
            for (auto &thread : block) thread.join();
        }
    pthread_barrier_destroy(&barrier);
}
"""


def scene(n_angles: int) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of four bubbles that move between the angles; one is absent, one behind the probe."""
    rng = np.random.default_rng(4)
    positions = rng.uniform(-0.5e-3, 0.5e-3, (2, n_angles, 4, 3)) + np.array([0, 0, 8e-3])
    positions[0, :, 1] = np.nan
    positions[1, 0, 2, 2] = -1e-3
    return positions, rng.uniform(0.5, 1.5, (2, 4))


def tables_of(attenuation: float, start_time: float = 9e-6) -> KernelTables:
    window = ReceiveWindow(**{**WINDOW, "start_time": start_time})
    lattice = elevation_lattice(PROBE, TRANSMIT, window, 48, SPEED)
    assert lattice is not None
    return kernel_tables(
        count_rows(0.5e-3, lattice),
        lattice,
        PROBE,
        TRANSMIT,
        window,
        speed_of_sound=SPEED,
        attenuation=attenuation,
        n_lanes=48,
    )


def host_library(folder: Path, tables: KernelTables) -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or clang++) to compile the kernel for the host")
    source, library = folder / "kernel.cpp", folder / "kernel.so"
    kernel = kernels_gpu.SOURCE.replace(
        "extern __shared__ Geometry geometry[];", "extern Geometry geometry[];"
    )
    source.write_text(SHIM + kernel + LAUNCH)
    options = ["-O1", "-std=c++14", "-shared", "-fPIC", "-pthread", *kernels_gpu.macros(tables)]
    subprocess.run([compiler, *options, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize(("attenuation", "threads"), [(0.0, 96), (0.5, 32)])
def test_the_kernel_compiled_for_the_host_agrees_with_the_reference(
    tmp_path: Path, attenuation: float, threads: int
) -> None:
    tables = tables_of(attenuation)
    positions, reflectivity = scene(3)
    strengths = reflectivity.astype(np.complex64)
    arguments = kernels_gpu.kernel_arguments(positions, strengths, tables)
    output = np.zeros((2, 3, PROBE.n_elements, WINDOW["n_samples"]), dtype=np.complex64)
    launch = host_library(tmp_path, tables).launch
    launch.restype = None
    blocks_y = math.ceil(WINDOW["n_samples"] / threads)
    launch(
        *(ctypes.c_uint(size) for size in (6, blocks_y, threads)),
        *(
            ctypes.c_void_p(argument.ctypes.data)
            if isinstance(argument, np.ndarray)
            else ctypes.c_int(argument)
            for argument in arguments
        ),
        ctypes.c_void_p(output.ctypes.data),
    )
    expected = simulate_channel_data(
        positions,
        reflectivity,
        PROBE,
        TRANSMIT,
        **WINDOW,
        speed_of_sound=SPEED,
        attenuation=attenuation,
        backend="reference",
    )
    found = to_samples(output, 1, workers=1)
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_reference() -> None:
    if not kernels_gpu.device_available():
        pytest.skip("no CuPy or no CUDA device")
    positions, reflectivity = scene(3)
    settings = {**WINDOW, "speed_of_sound": SPEED, "oversampling": 2}
    expected = simulate_channel_data(
        positions, reflectivity, PROBE, TRANSMIT, **settings, backend="reference"
    )
    found = simulate_channel_data(positions, reflectivity, PROBE, TRANSMIT, **settings, backend="gpu")
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)
