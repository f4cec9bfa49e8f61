"""A stand-in for CuPy where there is no GPU: arrays are NumPy's, and CUDA sources are compiled for the host.

A kernel's threads become coroutines of one thread of the host, which `__syncthreads` hands on from one to the next;
thread blocks run one after the other. So the very text of the kernels and the very code that launches them are tested.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
import types
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

SHIM = r"""
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <stdlib.h>
#include <ucontext.h>
#include <algorithm>
#include <functional>
#include <vector>
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static
struct Index { unsigned x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;
struct float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
static inline float2 make_float2(float x, float y) { float2 v = {x, y}; return v; }
static inline void sine_cosine(float x, float *s, float *c) { *s = sinf(x); *c = cosf(x); }
#define __sincosf sine_cosine
#define __expf expf
#define __ldcg(from) (*(from))
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline int atomicAdd(int *to, int value) { int old = *to; *to += value; return old; }
static inline int atomicMax(int *to, int value) { int old = *to; if (value > old) *to = value; return old; }
static inline int __float_as_int(float x) { int i; memcpy(&i, &x, sizeof i); return i; }
static inline float __int_as_float(int i) { float x; memcpy(&x, &i, sizeof x); return x; }
static inline void __threadfence() {}

static float4 dynamic_shared_memory[16384];
static ucontext_t scheduler;
static std::vector<ucontext_t> threads;
static std::vector<char> finished;
static std::vector<std::vector<char>> stacks;
static std::function<void()> body;
static void __syncthreads() { swapcontext(&threads[threadIdx.x], &scheduler); }
static inline void __syncwarp() { __syncthreads(); } /* every thread of a block comes to each */
static void enter() { body(); finished[threadIdx.x] = 1; swapcontext(&threads[threadIdx.x], &scheduler); }

static void run_grid(const unsigned *grid, unsigned n_threads, std::function<void()> kernel)
{
    body = kernel;
    gridDim.x = grid[0]; gridDim.y = grid[1]; gridDim.z = grid[2];
    blockDim.x = n_threads; blockDim.y = blockDim.z = 1;
    threads.resize(n_threads); stacks.resize(n_threads);
    for (auto &stack : stacks) stack.resize(1 << 16);
    for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x) {
        memset(dynamic_shared_memory, 0xff, sizeof dynamic_shared_memory); /* NaN */
        finished.assign(n_threads, 0);
        for (unsigned t = 0; t < n_threads; ++t) {
            getcontext(&threads[t]);
            threads[t].uc_stack.ss_sp = stacks[t].data();
            threads[t].uc_stack.ss_size = stacks[t].size();
            threads[t].uc_link = NULL;
            makecontext(&threads[t], enter, 0);
        }
        for (bool running = true; running;) {
            running = false;
            for (unsigned t = 0; t < n_threads; ++t)
                if (!finished[t]) { threadIdx.x = t; swapcontext(&scheduler, &threads[t]); running = true; }
        }
    }
}
"""

LAUNCHER = """
extern "C" void launch_{name}(const unsigned *grid, unsigned n_threads, {parameters})
{{
    run_grid(grid, n_threads, [=] {{ {name}({names}); }});
}}
"""
KERNEL = r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(([^)]*)\)"
NATIVE = {np.int32: ctypes.c_int, np.int64: ctypes.c_longlong, np.float32: ctypes.c_float}


@lru_cache(maxsize=64)
def compiled_for_the_host(source: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """A CUDA source as a library with a function launch_NAME(grid, threads, arguments) for each kernel."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or clang++) to compile CUDA sources for the host")
    launchers = []
    for name, parameters in re.findall(KERNEL, source):
        names = ", ".join(re.findall(r"(\w+)\s*(?:,|$)", parameters))
        launchers.append(LAUNCHER.format(name=name, parameters=parameters, names=names))
    folder = Path(tempfile.mkdtemp(prefix="host_cuda"))
    kernel = re.sub(r"extern __shared__ (\w+) (\w+)\[\];", r"\1 *\2 = (\1 *)dynamic_shared_memory;", source)
    (folder / "kernel.cpp").write_text(SHIM + kernel + "".join(launchers))
    macros = [option for option in options if option.startswith("-D")]
    warnings = ["-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-variable"]  # pragmas use variables
    command = [compiler, "-O1", "-std=c++14", *warnings, "-shared", "-fPIC", *macros]
    try:
        subprocess.run([*command, "kernel.cpp", "-o", "kernel.so"], cwd=folder, check=True)
        return ctypes.CDLL(str(folder / "kernel.so"))
    finally:
        shutil.rmtree(folder)


class HostArray(np.ndarray):
    """What of a CuPy array the package uses beyond NumPy's."""

    def get(self) -> np.ndarray:
        return np.array(self)


HostArray.__module__ = "cupy"  # `device.on_gpu` goes by it


class RawKernel:
    """As CuPy's: called with grid, block and arguments."""

    def __init__(self, code, name, options=()):
        self.launch = getattr(compiled_for_the_host(code, tuple(options)), f"launch_{name}")

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        assert shared_mem <= 16384 * 16
        sizes = (ctypes.c_uint * 3)(*grid, *(1,) * (3 - len(grid)))
        native = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                assert isinstance(argument, HostArray), "a kernel was given an array of the host"
                assert argument.flags.c_contiguous
                native.append(ctypes.c_void_p(argument.ctypes.data))
            else:
                native.append(NATIVE[type(argument)](argument))
        self.launch(sizes, ctypes.c_uint(block[0]), *native)


class RawModule:
    def __init__(self, *, code, options=()):
        self.code, self.options = code, options

    def get_function(self, name):
        return RawKernel(self.code, name, self.options)


class Plan1d:
    """cuFFT's plan: unscaled, in place."""

    def __init__(self, length, kind, batch):
        self.shape = (batch, length)

    def fft(self, source, target, direction):
        rows = np.asarray(source).reshape(self.shape)
        target[...] = np.fft.ifft(rows, norm="forward").astype(np.complex64).reshape(target.shape)


class Stream:
    """Everything happens at once here: nothing to wait for."""

    def __init__(self, *, non_blocking=False):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def record(self):
        return None

    def wait_event(self, event):
        pass


def _poisoned(shape, dtype=float):
    made = np.empty(shape, dtype)
    made.view(np.uint8)[...] = 0xFF  # NaN
    return made.view(HostArray)


NUMPY_FUNCTIONS = """abs arange ascontiguousarray cos hypot isfinite maximum minimum ones rint sin stack subtract
tensordot where zeros""".split()  # noqa: SIM905


def host_cupy() -> types.ModuleType:
    """A module that can stand in for CuPy: NumPy's functions on `HostArray`."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray = HostArray
    cupy.RawKernel, cupy.RawModule = RawKernel, RawModule
    cupy.cuda = types.SimpleNamespace(
        Stream=Stream,
        get_current_stream=Stream,
        cufft=types.SimpleNamespace(Plan1d=Plan1d, CUFFT_C2C=0x29, CUFFT_INVERSE=1),
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 1),
    )
    cupy.asarray = lambda array: np.array(array, order="C", copy=None).view(HostArray)
    cupy.empty = _poisoned
    cupy.empty_like = lambda array: _poisoned(array.shape, array.dtype)

    def of_numpy(name):
        function = getattr(np, name)

        def call(*arguments, **options):
            answer = function(*arguments, **options)
            return answer.view(HostArray) if isinstance(answer, np.ndarray) else answer

        return call

    for name in NUMPY_FUNCTIONS:
        setattr(cupy, name, of_numpy(name))
    cupy.linalg = types.SimpleNamespace(eigh=np.linalg.eigh)
    return cupy


def forget_compiled() -> None:
    """Empty the caches in which the package keeps what it made with one CuPy or the other."""
    from ulmpipe import device
    from ulmpipe.acoustics import common_gpu, composed_gpu, tiled_gpu, transform_gpu
    from ulmpipe.beamforming import kernels_gpu as beamforming
    from ulmpipe.correlation import kernels_gpu as correlation

    for module in (device, common_gpu, composed_gpu, tiled_gpu, transform_gpu, beamforming, correlation):
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Put the stand-in into the place of CuPy for a test."""
    cupy = host_cupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    forget_compiled()
    return cupy
