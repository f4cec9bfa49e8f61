"""MATLAB files of both kinds behind one face: version 7.3 (HDF5, read in parts) and older ones (read by SciPy).

HDF5 has MATLAB's axes in reverse; here every array has the axes that MATLAB shows. An array of an older file is read
as a whole when some of it is wanted, and kept until another one is: memory is bounded by one variable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError

Index = tuple[slice | int, ...]
WHOLE = slice(None)


@dataclass(frozen=True, kw_only=True)
class LazyArray:
    """A numeric array of a file, with MATLAB's axes; `read(index)` gives part of it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[Index], NDArray[Any]]


class Structure(Protocol):
    """A struct or an array of them."""

    def __len__(self) -> int:
        """Number of elements."""

    def __contains__(self, field: str) -> bool:
        """Whether it has a field."""

    def get(self, field: str, element: int = 0) -> Any:
        """Value of a field: array (MATLAB's axes), str, Structure, or None where it is missing or empty."""


class MatFile(Protocol):
    """An open MATLAB file."""

    def names(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and class of its variables."""

    def structure(self, name: str) -> Structure | None:
        """A variable that is a struct; None if it is missing or something else."""

    def arrays(self, name: str) -> list[LazyArray]:
        """A numeric variable, or the numeric cells of a cell array; empty if it is missing or neither."""


@contextmanager
def open_mat(path: Path) -> Iterator[MatFile]:
    """Open a MATLAB file of either kind.

    Raises
    ------
    InputError
        Neither.
    """
    import h5py

    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            yield _Hdf5MatFile(file)
        return
    with path.open("rb") as raw:
        if not raw.read(6).startswith(b"MATLAB"):
            raise InputError(f"{path}: not a MATLAB file")
    yield _OldMatFile(path)


def number(structure: Structure | None, field: str, element: int = 0) -> float | None:
    """A scalar field; None if it is missing."""
    value = None if structure is None else structure.get(field, element)
    return None if value is None or isinstance(value, str) else float(np.asarray(value).ravel()[0])


def vector(structure: Structure | None, field: str, element: int = 0) -> NDArray[np.float64] | None:
    """A field as a flat array; None if it is missing."""
    value = None if structure is None else structure.get(field, element)
    return None if value is None else np.asarray(value, dtype=np.float64).ravel(order="F")


def numbers_of_all(structure: Structure, field: str, elements: range) -> list[float | None]:
    """A scalar field of several elements."""
    return [number(structure, field, element) for element in elements]


# ---------------------------------------------------------------- version 7.3
def _class(item: Any) -> str:
    name = item.attrs.get("MATLAB_class", b"")
    return name.decode() if isinstance(name, bytes) else str(name)


def _is_empty(item: Any) -> bool:
    return bool(item.attrs.get("MATLAB_empty", 0))


def _has_references(item: Any) -> bool:
    import h5py

    return isinstance(item, h5py.Dataset) and h5py.check_ref_dtype(item.dtype) is not None


def _as_complex(values: NDArray[Any]) -> NDArray[Any]:
    """MATLAB's complex numbers are a compound type."""
    if values.dtype.names == ("real", "imag"):
        return np.asarray(values["real"] + 1j * values["imag"])
    return values


def _type_name(dtype: Any) -> str:
    return f"complex {dtype['real']}" if dtype.names == ("real", "imag") else str(dtype)


class _Hdf5MatFile:
    def __init__(self, file: Any) -> None:
        self._file = file

    def names(self) -> dict[str, tuple[tuple[int, ...], str]]:
        found = {}
        for name, item in self._file.items():
            if not name.startswith("#"):
                shape = tuple(reversed(getattr(item, "shape", (1, 1))))
                found[name] = (shape, _class(item) or _type_name(getattr(item, "dtype", np.dtype(object))))
        return found

    def structure(self, name: str) -> Structure | None:
        import h5py

        item = self._file.get(name)
        return _Hdf5Structure(item) if isinstance(item, h5py.Group) else None

    def arrays(self, name: str) -> list[LazyArray]:
        import h5py

        item = self._file.get(name)
        if not isinstance(item, h5py.Dataset):
            return []
        cells = [self._file[cell] for cell in item[()].ravel() if cell] if _has_references(item) else [item]
        return [_lazy(cell) for cell in cells if isinstance(cell, h5py.Dataset) and not _is_empty(cell)]


def _lazy(dataset: Any) -> LazyArray:
    def read(index: Index) -> NDArray[Any]:
        return np.asarray(_as_complex(dataset[tuple(reversed(index))]).T)

    return LazyArray(shape=tuple(reversed(dataset.shape)), dtype=_type_name(dataset.dtype), read=read)


class _Hdf5Structure:
    def __init__(self, group: Any) -> None:
        self._group = group
        # Of the fields of a struct array, one for each element; arrays have thousands.
        self._references: dict[str, NDArray[Any] | None] = {}

    def _elements(self, field: str) -> NDArray[Any] | None:
        if field not in self._references:
            item = self._group[field]
            # A cell that is a field says that it is one; the elements' values of a struct array do not.
            is_array = _has_references(item) and _class(item) != "cell"
            self._references[field] = item[()].ravel() if is_array else None
        return self._references[field]

    def __len__(self) -> int:
        for field in self._group:
            elements = self._elements(field)
            if elements is not None:
                return int(elements.size)
        return 1

    def __contains__(self, field: str) -> bool:
        return field in self._group

    def get(self, field: str, element: int = 0) -> Any:
        if field not in self._group:
            return None
        elements = self._elements(field)
        if elements is None:
            return self._value(self._group[field])
        reference = elements[element]
        return self._value(self._group.file[reference]) if reference else None

    def _value(self, item: Any) -> Any:
        import h5py

        if isinstance(item, h5py.Group):
            return _Hdf5Structure(item)
        if _is_empty(item) or item.size == 0 or _has_references(item):
            return None
        values = _as_complex(item[()]).T
        return "".join(map(chr, values.ravel(order="F"))) if _class(item) == "char" else values


# ---------------------------------------------------------------- before 7.3
class _OldMatFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: tuple[str, Any] = ("", None)

    def names(self) -> dict[str, tuple[tuple[int, ...], str]]:
        from scipy.io import whosmat

        return {name: (tuple(shape), kind) for name, shape, kind in whosmat(self._path)}

    def _variable(self, name: str) -> Any:
        from scipy.io import loadmat

        if self._held[0] != name:
            self._held = ("", None)  # freed first
            self._held = (name, loadmat(self._path, variable_names=[name]).get(name))
        return self._held[1]

    def structure(self, name: str) -> Structure | None:
        if name not in self.names():
            return None
        value = self._variable(name)
        return _OldStructure(value) if value.dtype.names else None

    def arrays(self, name: str) -> list[LazyArray]:
        found = self.names().get(name)
        if found is None or found[1] in ("struct", "char", "function", "object"):
            return []
        if found[1] == "cell":
            cells = self._variable(name).ravel(order="F")
            return [
                self._lazy(name, cell.shape, str(cell.dtype), index)
                for index, cell in enumerate(cells)
                if cell.size and np.issubdtype(cell.dtype, np.number)
            ]
        return [self._lazy(name, found[0], found[1], None)]

    def _lazy(self, name: str, shape: tuple[int, ...], dtype: str, cell: int | None) -> LazyArray:
        def read(index: Index) -> NDArray[Any]:
            value = self._variable(name)
            return np.asarray((value if cell is None else value.ravel(order="F")[cell])[index])

        return LazyArray(shape=shape, dtype=dtype, read=read)


class _OldStructure:
    def __init__(self, records: NDArray[np.void]) -> None:
        self._records = records.ravel(order="F")

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, field: str) -> bool:
        return field in (self._records.dtype.names or ())

    def get(self, field: str, element: int = 0) -> Any:
        if field not in self:
            return None
        value = self._records[element][field]
        if not isinstance(value, np.ndarray) or value.size == 0 or value.dtype == object:
            return None
        if value.dtype.names:
            return _OldStructure(value)
        return str(value.ravel()[0]) if value.dtype.kind == "U" else value


def padded(array: LazyArray, n_axes: int) -> LazyArray:
    """The array with axes of length 1 after its own, which MATLAB drops."""
    lacking = n_axes - len(array.shape)
    if lacking <= 0:
        return array

    def read(index: Index) -> NDArray[Any]:
        own, rest = index[: len(array.shape)], index[len(array.shape) :]
        kept = sum(not isinstance(part, int) for part in rest)
        values = array.read(own)
        return values.reshape(*values.shape, *(1,) * kept)

    return LazyArray(shape=(*array.shape, *(1,) * lacking), dtype=array.dtype, read=read)
