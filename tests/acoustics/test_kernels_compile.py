"""The CUDA sources compile for the GPUs in use, and the kernels keep their variables in registers; no GPU needed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ulmpipe.acoustics import PlaneWaves, Probe, composed_gpu, tiled_gpu
from ulmpipe.acoustics.elevation import count_rows, elevation_lattice
from ulmpipe.acoustics.kernel_tables import KernelTables, kernel_tables
from ulmpipe.acoustics.window import ReceiveWindow
from ulmpipe.beamforming import kernels_gpu as beamforming_gpu
from ulmpipe.beamforming.das import interpolation_filter
from ulmpipe.correlation import kernels_gpu as correlation_gpu

SPEED = 1540.0
TRANSMIT = PlaneWaves(angles=(-0.02, 0.0, 0.02), transmit_frequency=15e6, n_cycles=3)
SIZES = {  # n_elements, width in m, window's start in s, samples
    "default probe": (128, 0.08e-3, 9e-6, 96),
    "deep window, narrow elements": (128, 0.02e-3, 25e-6, 96),
    "shallow window, wide elements": (48, 0.1e-3, 5e-6, 200),
}
NVCC = shutil.which("nvcc")

pytestmark = pytest.mark.skipif(NVCC is None, reason="no nvcc on the PATH")


def acoustics_tables(n_elements: int, width: float, start_time: float, n_samples: int) -> KernelTables:
    probe = Probe(
        n_elements=n_elements,
        pitch=0.1e-3,
        width=width,
        height=1.5e-3,
        elevation_focus=8e-3,
        center_frequency=15.625e6,
        bandwidth=0.67,
    )
    window = ReceiveWindow(
        start_time=start_time,
        n_samples=n_samples,
        sampling_frequency=15.625e6,
        demodulation_frequency=15.625e6,
    )
    lattice = elevation_lattice(probe, TRANSMIT, window, n_elements, SPEED)
    assert lattice is not None
    return kernel_tables(
        count_rows(0.3e-3, lattice),
        lattice,
        probe,
        TRANSMIT,
        window,
        speed_of_sound=SPEED,
        attenuation=0.0,
        n_lanes=n_elements,
    )


def compile_report(source: str, architecture: str, folder: Path) -> str:
    """What ptxas says of each kernel, after a compilation to a cubin that must succeed."""
    (folder / "kernel.cu").write_text(source)
    assert NVCC is not None
    command = [NVCC, "--cubin", f"-arch={architecture}", "--std=c++14", "--ptxas-options=-v"]
    run = subprocess.run(
        [*command, "kernel.cu", "-o", "kernel.cubin"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (folder / "kernel.cubin").stat().st_size > 0
    return run.stderr


def assert_no_spills(source: str, report: str) -> None:
    kernels = re.findall(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(", source)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    registers = re.findall(r"Used (\d+) registers", report)
    print(f"kernels {kernels}, registers {registers}, spills {spills}")
    assert kernels
    assert len(registers) == len(kernels)
    assert all(spill == ("0", "0") for spill in spills)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(
    ("degrees", "most_powers"),
    [(None, 5), (None, 7), (None, 99), (composed_gpu.FEW_DEGREES, 9), (composed_gpu.MORE_DEGREES, 13)],
)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_the_simulators_sources_compile_without_spills(
    sizes: tuple[int, float, float, int],
    degrees: tuple[int, ...] | None,
    most_powers: int,
    architecture: str,
    tmp_path: Path,
) -> None:
    tables = acoustics_tables(*sizes)
    n_powers = min(most_powers, tables.elevation.shape[-1] // 2)
    if degrees is None:
        source = tiled_gpu.definitions(tables, n_powers) + tiled_gpu.SOURCE
    elif tables.series or tables.tile < len(tables.elements) or n_powers > degrees[-1] + 1:
        pytest.skip("not for these kernels")
    else:
        source = composed_gpu.definitions(tables, n_powers, degrees) + composed_gpu.SOURCE
    assert_no_spills(source, compile_report(source, architecture, tmp_path))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("oversampling", "side"), [(4, 32), (1, 16), (4, 4)])
def test_the_beamformers_source_compiles_without_spills(
    oversampling: int, side: int, architecture: str, tmp_path: Path
) -> None:
    taps = interpolation_filter(oversampling)
    source = beamforming_gpu.definitions(taps, side, n_raw=60) + beamforming_gpu.SOURCE
    assert_no_spills(source, compile_report(source, architecture, tmp_path))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_correlations_source_compiles_without_spills(architecture: str, tmp_path: Path) -> None:
    source = "#define HALF_Z 4\n#define HALF_X 4\n" + correlation_gpu.SOURCE
    assert_no_spills(source, compile_report(source, architecture, tmp_path))
