"""A first look at a recording: what is in its files, in words, and one image of it. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.io.recordings.description import PLAUSIBLE
from ulmpipe.io.recordings.matlab import open_mat
from ulmpipe.io.recordings.recording import Recording

MOST_LINES = 40
WEAK_END = 1.0  # per cent of the samples that are weaker than the bottom of the dynamic range
FLOOR_DB = -120.0  # of an image, for pixels without any signal


def dynamic_range(samples: NDArray[np.generic]) -> float:
    """From the first percentile of the moduli that are above 0 to the largest, dB; 0 where there is no signal."""
    moduli = np.abs(samples[np.isfinite(samples)])
    moduli = moduli[moduli > 0]
    if moduli.size == 0:
        return 0.0
    return float(20 * np.log10(moduli.max() / np.percentile(moduli, WEAK_END)))


def quick_look(recording: Recording, index: int = 0) -> NDArray[np.float32]:
    """One image of a block, in dB below its largest value (0 and less, not under `FLOOR_DB`).

    Parameters
    ----------
    recording
        Any.
    index
        Of the block.

    Returns
    -------
    (z, x) float32, the mean power over the frames, of "iq"; (time, element), the mean power of the least steered wave
    over the frames, of "channel_data".
    """
    samples = recording.read_block(index)
    if recording.kind == "channel_data":
        angles = recording.scan.angles
        middle = 0 if angles is None else int(np.argmin(np.abs(angles)))
        samples = samples[:, middle].swapaxes(-1, -2)
    power = np.zeros(samples.shape[1:], dtype=np.float64)
    for frame in samples:
        power += np.nan_to_num(frame.real.astype(np.float64) ** 2 + frame.imag.astype(np.float64) ** 2)
    if power.max() == 0:
        return np.full(power.shape, FLOOR_DB, dtype=np.float32)
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(power / power.max())
    return np.maximum(decibels, FLOOR_DB).astype(np.float32)


def list_arrays(path: Path) -> Iterator[str]:
    """A line for each array of a file: name, shape, type."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = np.load(path, mmap_mode="r")
        yield f"{array.shape} {array.dtype}"
    elif suffix == ".npz":
        with np.load(path) as archive:
            yield from (f"{name} {array.shape} {array.dtype}" for name, array in archive.items())
    elif suffix == ".zarr" or path.is_dir():
        import zarr

        store = zarr.open(path, mode="r")
        arrays = [("", store)] if isinstance(store, zarr.Array) else store.arrays()
        yield from (f"{name} {array.shape} {array.dtype}".strip() for name, array in arrays)
    elif is_mat(path):
        with open_mat(path) as file:
            for name, (shape, kind) in file.names().items():
                cells = file.arrays(name) if kind == "cell" else []
                yield f"{name} {shape} {kind}"
                yield from (f"{name}{{{i + 1}}} {cell.shape} {cell.dtype}" for i, cell in enumerate(cells))
    else:
        yield from _list_hdf5(path)


def _list_hdf5(path: Path) -> Iterator[str]:
    import h5py

    lines: list[str] = []

    def note(name: str, item: object) -> bool | None:
        if isinstance(item, h5py.Dataset) and item.size > 1:
            lines.append(f"{name} {item.shape} {item.dtype}")
        return True if len(lines) > MOST_LINES else None  # stops: sets of thousands of blocks

    with h5py.File(path, "r") as file:
        file.visititems(note)
    yield from lines


def is_mat(path: Path) -> bool:
    """Whether a file begins as MATLAB's do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(6) == b"MATLAB"


def describe_recording(recording: Recording) -> list[str]:
    """Lines on blocks, rates and the first block's dynamic range."""
    axes = "frame, angle, element, time" if recording.kind == "channel_data" else "frame, z, x"
    lines = [f"{recording.n_blocks} blocks of {recording.kind} ({axes}): {recording.block_shape}"]
    for name, value in recording.scan.known().items():
        unit = PLAUSIBLE[name][2]
        if name == "angles":
            shown = ", ".join(f"{np.rad2deg(angle):.3g}" for angle in value)
            unit = "degrees"
        else:
            shown = f"{value:.7g}"
        lines.append(f"  {name}: {shown}" + ("" if name == "n_elements" else f" {unit}"))
    lines.append(f"dynamic range of block 0: {dynamic_range(recording.read_block(0)):.1f} dB")
    return lines
