"""Arrays of no particular layout, HDF5, .npy, .npz, zarr or .mat, with a small YAML file beside them that says all.

The YAML file is NAME.yaml, for a file NAME.h5, or recording.yaml in its folder. It says what nobody can guess:

    kind: channel_data            # or iq
    dataset: /acquisition/echoes  # not for .npy
    axes: [frame, angle, element, time]   # in the array's order; also block, and part (real, imaginary)
    samples: complex              # or rf: real radio-frequency samples
    units: {length: mm, time: us, frequency: MHz, angle: deg, speed: m/s}
    sampling_frequency: 15.625    # of the samples as stored
    ...

and for channel data demodulation_frequency, start_time, angles, pitch, speed_of_sound, frame_rate; for iq spacing,
origin, frame_rate. Its words count as the file's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings.baseband import decimation, phase, rf_to_baseband, widest_band
from ulmpipe.io.recordings.description import Description, ScanFacts, merge_facts, missing, read_description
from ulmpipe.io.recordings.recording import KINDS, Source

OPTIONS = ("kind", "dataset", "axes", "samples", "phase_reference")
NEEDED = {
    "channel_data": (
        "sampling_frequency",
        "demodulation_frequency",
        "start_time",
        "angles",
        "pitch",
        "speed_of_sound",
        "frame_rate",
    ),
    "iq": ("spacing_z", "spacing_x", "origin_z", "origin_x", "frame_rate"),
}
SUFFIXES = (".h5", ".hdf5", ".npy", ".npz", ".zarr", ".mat")
Index = tuple[slice | int, ...]


def sidecar_of(path: Path) -> Path | None:
    """The YAML file that goes with a file, if there is one."""
    candidates = (
        path.with_suffix(".yaml"),
        path.with_name(path.name + ".yaml"),
        path.with_name("recording.yaml"),
    )
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def lays_out(sidecar: Path | None) -> bool:
    """Whether a YAML file says where an array's axes are, and is not for something else."""
    if sidecar is None:
        return False
    words = _load(sidecar)
    return isinstance(words, Mapping) and "axes" in words


def open_file(path: Path, description: Description) -> Source:
    """What the YAML file and the description say, and how to read the frames.

    Description, beside the facts: `kind`, `dataset`, `axes`, `samples`, and `phase_reference`, "firing" (default) or
    "first_sample", from which the exp(-2πi f_d t) of complex channel data counts.

    Raises
    ------
    InputError
        Something that neither says, words that disagree, an array that is not as they say.
    """
    stored = _read_sidecar(path)
    words = _agreed_options(path, stored, description)
    kind, axes, samples = _layout(path, words)
    dataset = words.get("dataset")
    with _open_array(path, dataset) as array:
        shape = array.shape
    if len(shape) != len(axes):
        raise InputError(f"{path}: array of shape {shape}, expected the {len(axes)} axes {', '.join(axes)}")
    length = dict(zip(axes, shape, strict=True))
    if length.get("part", 2) != 2:
        raise InputError(f"{path}: axis part has length {length['part']}, expected 2, real and imaginary")
    facts = _facts(path, kind, stored.facts, description)
    if kind == "channel_data":
        facts = replace(facts, n_elements=facts.n_elements or length["element"])
    conversion = _conversion(path, kind, samples, words, facts, description)
    frame_shape = [length.get(axis, 1) for axis in KINDS[kind]]
    if conversion.step > 1:
        frame_shape[-1] = len(range(0, frame_shape[-1], conversion.step))
    in_block = length.get("frame", 1)

    def read(start: int, stop: int) -> NDArray[np.complex64]:
        with _open_array(path, dataset) as again:
            part = _take(again, axes, start, stop, in_block)
        return conversion.convert(_ordered(part, axes, kind))

    return Source(
        kind=kind,
        n_frames=in_block * length.get("block", 1),
        frame_shape=tuple(frame_shape),
        read=read,
        frames_in_block=in_block,
        facts=replace(facts, sampling_frequency=conversion.sampling_frequency),
    )


# ---------------------------------------------------------------- words
def _load(sidecar: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(sidecar.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{sidecar}: not valid YAML ({' '.join(str(error).split())})") from None


def _read_sidecar(path: Path) -> Description:
    sidecar = sidecar_of(path)
    if sidecar is None:
        return Description()
    words = _load(sidecar)
    if not isinstance(words, Mapping):
        raise InputError(f"{sidecar}: {type(words).__name__}, expected lines such as kind: channel_data")
    return read_description(words, source=str(sidecar), options=OPTIONS, units_needed=True)


def _agreed_options(path: Path, stored: Description, described: Description) -> dict[str, Any]:
    for name, value in described.options.items():
        if stored.options.get(name, value) != value:
            raise InputError(
                f"{path}: {name} is {stored.options[name]!r} in the file beside it and {value!r} in the description, "
                "expected the same"
            )
    return {**described.options, **stored.options}


def _layout(path: Path, words: Mapping[str, Any]) -> tuple[str, tuple[str, ...], str]:
    """Kind, axes and samples, checked."""
    where = f"{path}: {{}} is missing, expected it in a file {path.stem}.yaml beside it or in the description: {{}}"
    kind, axes, samples = words.get("kind"), words.get("axes"), words.get("samples", "complex")
    if kind is None:
        raise InputError(where.format("kind", " or ".join(KINDS)))
    if kind not in KINDS:
        raise InputError(f"{path}: kind is {kind!r}, expected one of {', '.join(KINDS)}")
    own = KINDS[kind]
    if axes is None:
        raise InputError(where.format("axes", f"the order of frame, {', '.join(own)}"))
    known, needed = {"block", "frame", "part", *own}, {axis for axis in own if axis != "angle"}
    if (
        not isinstance(axes, list | tuple)
        or len(set(axes)) != len(axes)
        or set(axes) - known
        or needed - set(axes)
    ):
        raise InputError(
            f"{path}: axes is {axes!r}, expected an order of some of block, frame, {', '.join(own)}, part"
        )
    if samples not in ("complex", "rf") or (samples == "rf" and (kind == "iq" or "part" in axes)):
        raise InputError(f"{path}: samples is {samples!r}, expected complex, or rf for real channel data")
    return kind, tuple(axes), samples


def _facts(path: Path, kind: str, stored: ScanFacts, description: Description) -> ScanFacts:
    """What the YAML file and the description say, once it is certain that they say all."""
    facts = merge_facts(stored, description.facts, str(path))
    for name in NEEDED[kind]:
        if getattr(facts, name) is None:
            sidecar = sidecar_of(path)
            raise missing(
                str(path), name, f"it in {path.stem + '.yaml' if sidecar is None else sidecar.name}"
            )
    if facts.start_time is not None:
        facts = replace(facts, start_time=facts.start_time + (description.time_offset or 0.0))
    return facts


# ---------------------------------------------------------------- samples
@dataclass(frozen=True, kw_only=True)
class _Conversion:
    """How samples as stored become baseband, and at which rate."""

    convert: Callable[[NDArray[Any]], NDArray[np.complex64]]
    sampling_frequency: float | None
    step: int = 1


def _conversion(
    path: Path,
    kind: str,
    samples: str,
    words: Mapping[str, Any],
    facts: ScanFacts,
    description: Description,
) -> _Conversion:
    rate, carrier, start = facts.sampling_frequency, facts.demodulation_frequency, facts.start_time
    reference = words.get("phase_reference", "firing")
    if reference not in ("firing", "first_sample"):
        raise InputError(f"{path}: phase_reference is {reference!r}, expected firing or first_sample")
    if samples == "rf":
        assert rate is not None
        assert carrier is not None
        assert start is not None
        band = widest_band(sampling_frequency=rate, demodulation_frequency=carrier)
        step = decimation(rate, min(band, description.bandwidth or band))

        def demodulated(values: NDArray[Any]) -> NDArray[np.complex64]:
            return rf_to_baseband(
                values,
                start_time=start,
                sampling_frequency=rate,
                demodulation_frequency=carrier,
                bandwidth=description.bandwidth,
            )[0]

        return _Conversion(convert=demodulated, sampling_frequency=rate / step, step=step)
    turn = np.complex64(1)
    if reference == "first_sample" and kind == "channel_data":
        assert carrier is not None
        assert start is not None
        turn = phase(-carrier * start)

    def turned(values: NDArray[Any]) -> NDArray[np.complex64]:
        return np.asarray(values, dtype=np.complex64) * turn

    return _Conversion(convert=turned, sampling_frequency=rate)


def _take(array: Any, axes: tuple[str, ...], start: int, stop: int, in_block: int) -> NDArray[Any]:
    """Frames [start, stop), which lie within one block, with all axes of the array."""
    block, first = divmod(start, in_block)
    part = {"block": slice(block, block + 1), "frame": slice(first, first + stop - start)}
    return np.asarray(array[tuple(part.get(axis, slice(None)) for axis in axes)])


def _ordered(part: NDArray[Any], axes: tuple[str, ...], kind: str) -> NDArray[Any]:
    """Axes (frame, …of the kind), the parts joined to complex numbers."""
    wanted = ("frame", *KINDS[kind])
    present = [axis for axis in ("block", *wanted, "part") if axis in axes]
    values = part.transpose([axes.index(axis) for axis in present])
    if "part" in axes:
        values = values[..., 0] + 1j * values[..., 1].astype(np.float32)
        present.remove("part")
    shape = dict(zip(present, values.shape, strict=True))
    return values.reshape([shape.get(axis, 1) for axis in wanted])


@contextmanager
def _open_array(path: Path, dataset: str | None) -> Iterator[Any]:
    """Something with a shape that is read by slicing."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        yield np.load(path, mmap_mode="r")
    elif suffix == ".npz":
        with np.load(path) as archive:
            yield archive[_named(path, dataset, list(archive))]
    elif suffix == ".zarr" or path.is_dir():
        import zarr

        store = zarr.open(path, mode="r")
        if isinstance(store, zarr.Array):
            yield store
        else:
            yield store[_named(path, dataset, [name for name, _ in store.arrays()])]
    elif suffix == ".mat":
        with _open_mat_array(path, dataset) as array:
            yield array
    else:
        import h5py

        with h5py.File(path, "r") as file:
            found: list[str] = []
            file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            yield file[_named(path, dataset, found)]


@contextmanager
def _open_mat_array(path: Path, dataset: str | None) -> Iterator[Any]:
    from ulmpipe.io.recordings.matlab import LazyArray, open_mat

    class Sliced:
        def __init__(self, array: LazyArray) -> None:
            self.shape, self._array = array.shape, array

        def __getitem__(self, index: Index) -> NDArray[Any]:
            return self._array.read(index)

    with open_mat(path) as file:
        yield Sliced(file.arrays(_named(path, dataset, list(file.names())))[0])


def _named(path: Path, dataset: str | None, found: list[str]) -> str:
    if dataset is None and len(found) == 1:
        return found[0]
    if dataset is None or dataset.strip("/") not in found:
        some = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
        raise InputError(
            f"{path}: dataset is {dataset!r}, expected one of {some or 'none: the file has no array'}"
        )
    return dataset.strip("/")
