"""Outputs that are whole or absent: zarr and JSON stores with provenance.

Every stage writes through this module. A store is written under a temporary name in the same folder and renamed when
it is whole; the last things written into a zarr store are a count of its chunks and the attribute ``complete: true``.
Readers refuse a store without them, or with chunks cut short or lost: zarr itself would read a lost chunk as zeros.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import math
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from ulmpipe.errors import InputError, is_disk_full

FORMAT_VERSION = 1
MOST_PENDING = 4  # blocks that wait to be written


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def complete_or_absent(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, remove it when it does not.

    Parameters
    ----------
    path : str or Path
        The file or folder to be written. What stands there already is replaced only at the end; what a killed
        writer left behind is removed.

    Raises
    ------
    InputError
        If another process is writing the same path, if the disk is full, or if somebody removes the folder meanwhile.
    """
    path = Path(path)
    # Of this process alone: whoever removes a folder of results may not know that a stage still writes there.
    # The suffix is kept: writers such as matplotlib choose the format by it.
    temporary = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    with alone(path) as still_alone:
        for left_over in path.parent.glob(f".{glob.escape(path.stem)}.partial-*{path.suffix}"):
            _remove(left_over)
        try:
            yield temporary
            if not still_alone():
                raise FileNotFoundError(temporary)
            if path.is_dir():
                _remove(path)
            os.replace(temporary, path)
        except BaseException as error:
            _remove(temporary)
            if isinstance(error, Exception) and not still_alone():
                raise InputError(f"{path}: its folder was removed while it was being written") from error
            if is_disk_full(error):
                raise InputError(
                    f"no space left on the disk for {path}; nothing half-written was kept"
                ) from error
            raise


@contextmanager
def alone(path: Path) -> Iterator[Callable[[], bool]]:
    """Hold the lock of an output: a run that was killed may have left a stage behind that still writes it.

    The system takes the lock from a process that ends, however it ends.

    Yields
    ------
    still_alone : callable
        Whether the lock is still there; somebody may have removed its folder.

    Raises
    ------
    InputError
        If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)

    def still_alone() -> bool:
        return os.fstat(descriptor).st_nlink > 0

    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not still_alone():  # its last holder has just removed it
                raise BlockingIOError
        except BlockingIOError:
            writer = os.read(descriptor, 32).decode().strip()
            raise InputError(
                f"{path}: process {writer} is writing it, perhaps of a run that was stopped; let it end, or end it"
            ) from None
        except OSError:  # a file system without locks
            pass
        try:
            with suppress(OSError):  # a full disk: the lock holds without its holder's name
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
            yield still_alone
        finally:
            if still_alone():  # another's lock may stand there
                lock.unlink(missing_ok=True)  # while it is held: the next writer makes its own
    finally:
        os.close(descriptor)


def check_nobody_writes(folder: str | Path) -> None:
    """Refuse a folder in which a stage is at work, such as one that outlived its run.

    Raises
    ------
    InputError
        Naming the output and the process that is writing it.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(".zarr")]  # of very many files
        for name in names:
            if name.startswith(".") and name.endswith(".lock"):
                with alone(Path(place, name.removeprefix(".").removesuffix(".lock"))):
                    pass


@cache
def _commit() -> str:
    """Commit of the source tree the package runs from, or "unknown" for an installed package."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def provenance(stage: str, parameters: Mapping[str, Any], *inputs: str | Path) -> dict[str, Any]:
    """What an output carries about its making.

    Program, version, commit, stage, parameters (the seed among them), and of each input the identity: what it was made
    by, back to the first stage, or its bytes if nobody said.
    """
    from ulmpipe import __version__

    return {
        "program": "ulmpipe",
        "version": __version__,
        "commit": _commit(),
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "parameters": without_infinity(dict(parameters)),
        "inputs": {str(path): identity(path) for path in inputs},
    }


def identity(path: str | Path) -> str:
    """A hash of how a file or store came to be: stage, parameters and identities of its inputs; of its bytes otherwise.

    Version and commit do not count: the parameters hold a fingerprint of the source that made it.
    """
    path = Path(path)
    made: Any = None
    if path.is_dir():
        made = open_store(path).attrs.get("provenance")
    elif path.suffix == ".json":
        made = read_json(path).get("provenance")
    elif path.suffix == ".h5":
        from ulmpipe.io.hdf5 import file_provenance

        made = file_provenance(path)
    return bytes_identity(path) if made is None else identity_of(made)


def identity_of(made: Mapping[str, Any]) -> str:
    """A hash of a provenance without what does not matter to the result, see `identity`."""
    content = {name: value for name, value in made.items() if name not in ("program", "version", "commit")}
    content["inputs"] = sorted(made.get("inputs", {}).values())
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def bytes_identity(path: str | Path) -> str:
    """A hash of what is in a file, or of names and contents of all files in a folder."""
    path = Path(path)
    if not path.is_dir():
        return _hash_of_file(path).hexdigest()[:16]
    total = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        total.update(str(file.relative_to(path)).encode() + _hash_of_file(file).digest())
    return total.hexdigest()[:16]


def _hash_of_file(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


@contextmanager
def new_store(path: str | Path, *, provenance: Mapping[str, Any]) -> Iterator[Any]:
    """Create a zarr v3 group that appears at `path` only when the block ends well.

    Yields
    ------
    zarr.Group
        The open group; fill it with `new_array`.
    """
    import zarr

    # blocks of zeros are written too, so that a lost one is not taken for them
    with complete_or_absent(path) as temporary, zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(temporary, mode="w", zarr_format=3)
        group.attrs["provenance"] = dict(provenance)
        yield group
        contents = {}
        for name, array in group.arrays():
            contents[name] = _files(temporary / name)
            if contents[name]["files"] != array.nchunks:
                raise RuntimeError(
                    f"{path}: array {name}: {contents[name]['files']} of {array.nchunks} chunks written"
                )
        group.attrs.update({"contents": contents, "complete": True})


def _files(array: Path) -> dict[str, int]:
    """How many chunk files an array has, and their bytes."""
    chunks = array / "c"
    sizes = [
        os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(chunks) for name in names
    ]
    return {"files": len(sizes), "bytes": sum(sizes)}


def new_array(
    group: Any,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: str,
    dims: tuple[str, ...],
    units: str,
    compressed: bool = True,
    spacing: Mapping[str, float] | None = None,
    origin: Mapping[str, float] | None = None,
    **attributes: Any,
) -> Any:
    """Add an array of which one chunk is one item of the first axis (a block).

    Parameters
    ----------
    group : zarr.Group
        From `new_store`.
    dims, units, spacing, origin
        What the axes are; spacing and origin in SI units, by axis name.
    compressed : bool
        False for what does not compress (noise), where compressing only costs time.
    """
    if len(dims) != len(shape):
        raise ValueError(f"array {name}: {len(dims)} dims for {len(shape)} axes")
    return group.create_array(
        name,
        shape=shape,
        chunks=(1, *shape[1:]),
        dtype=dtype,
        dimension_names=dims,
        compressors="auto" if compressed else None,
        attributes={
            "dims": list(dims),
            "units": units,
            "spacing": dict(spacing or {}),
            "origin": dict(origin or {}),
            **attributes,
        },
    )


def add_image(
    group: Any,
    name: str,
    image: Any,
    *,
    units: str,
    spacing: Mapping[str, float],
    origin: Mapping[str, float],
) -> None:
    """Add one image (z, x) of a whole acquisition, as an array (1, z, x)."""
    array = new_array(
        group,
        name,
        shape=(1, *image.shape),
        dtype=image.dtype.name,
        dims=("one", "z", "x"),
        units=units,
        spacing=spacing,
        origin=origin,
    )
    array[0] = image


@contextmanager
def writing_behind() -> Iterator[Callable[[Any, int, Any], None]]:
    """Write blocks while the next ones are made.

    Yields
    ------
    write : callable
        ``write(array, index, block)``; the block must not be changed afterwards. It waits where a few blocks are still
        to be written, and raises what went wrong with one of them; when the block of code ends, all are written.
    """
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Future[None]] = deque()

        def write(array: Any, index: int, block: Any) -> None:
            pending.append(pool.submit(array.__setitem__, index, block))
            while len(pending) > MOST_PENDING or (pending and pending[0].done()):
                pending.popleft().result()

        yield write
        while pending:
            pending.popleft().result()


def open_store(path: str | Path, *arrays: str) -> Any:
    """Open a whole store for reading.

    Raises
    ------
    InputError
        If there is none, if it is not whole, or if it lacks one of `arrays`.
    """
    import zarr

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such store; make it with: snakemake --cores all {path}")
    try:
        group = zarr.open_group(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: not a readable zarr group ({error}); delete it and make it again"
        ) from error
    if group.attrs.get("complete") is not True:
        raise InputError(f"{path}: incomplete, its writing was interrupted; delete it and make it again")
    for name in arrays:
        if name not in group:
            raise InputError(f"{path}: array '{name}' is missing; expected {', '.join(arrays)}")
    contents: Any = group.attrs.get("contents")
    if not isinstance(contents, dict):
        raise InputError(
            f"{path}: no list of its contents, made by another version; delete it and make it again"
        )
    for name, expected in contents.items():
        found = _files(path / name)
        if found != expected:
            raise InputError(
                f"{path}: array '{name}' has {found['files']} chunk files of {found['bytes']} bytes in all, expected "
                f"{expected['files']} of {expected['bytes']}: truncated or damaged; delete the store and make it again"
            )
    return group


def read_block(array: Any, index: int) -> Any:
    """One block of an array, refusing a truncated store in one line."""
    try:
        block = array[index]
        if hasattr(array, "store"):
            # after reading it, so that a store removed meanwhile is not read as zeros
            os.stat(_chunk_of(array, index))
        return block
    except Exception as error:  # codecs raise many kinds: all mean the chunk on disk is damaged
        raise InputError(
            f"{array.store_path}: block {index} cannot be read ({type(error).__name__}: {error}); "
            "the file is truncated or damaged: delete the store and make it again"
        ) from error


def _chunk_of(array: Any, index: int) -> Path:
    """The file of a block."""
    place = (index, *(0,) * (len(array.shape) - 1))
    return Path(array.store.root, array.path, array.metadata.encode_chunk_key(place))


def read_blocks(array: Any) -> Iterator[Any]:
    """All blocks of an array, one after the other."""
    return (read_block(array, index) for index in range(array.shape[0]))


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    with complete_or_absent(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def without_infinity(content: Any) -> Any:
    """The same content, with "inf" for a number that JSON lacks: a probe in two dimensions is infinitely high."""
    if isinstance(content, Mapping):
        return {name: without_infinity(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_infinity(value) for value in content]
    return str(content) if isinstance(content, float) and math.isinf(content) else content


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file; a missing or damaged one is an `InputError`."""
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    return content
