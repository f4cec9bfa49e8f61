"""Maps as microscopists' programs open them, to scale: OME-TIFF (Fiji, QuPath) and OME-Zarr (napari).

Both formats name the axes of a plane y (down) and x (to the right): the depth z of this package is written as y.
Lengths come in metres and are written in µm. Files appear whole or not at all, and carry their provenance.

References: OME-TIFF, https://docs.openmicroscopy.org/ome-model; OME-Zarr, https://ngff.openmicroscopy.org/0.5 (Moore et
al. 2021, DOI 10.1038/s41592-021-01326-w).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.stores import complete_or_absent, new_store

Reduction = Literal["mean", "max"]

DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")  # that OME-TIFF knows
SMALLEST_LEVEL = 256  # pixels of its longer side
TILE = 256  # of a TIFF, pixels a side
CHUNK = 1024  # of a zarr array, pixels a side


def write_ome_tiff(
    path: str | Path,
    image: NDArray[np.generic],
    *,
    pixel_size: tuple[float, float],
    origin: tuple[float, float] = (0.0, 0.0),
    channel_names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    pyramid: bool = False,
    reduction: Reduction = "max",
) -> None:
    """Write one file, ``….ome.tif``, that Fiji and QuPath open in micrometres.

    Parameters
    ----------
    path
        Of the file.
    image
        (z, x) or (channel, z, x); integers up to 32 bits, float32 or float64, or bool, which becomes 0 and 1 of uint8.
    pixel_size
        (z, x), m: physical size, and resolution for programs that read no OME-XML.
    origin
        (z, x), m: centre of the first pixel, written as the position of each plane.
    channel_names
        One a channel; ``channel 0``, … where not given.
    provenance
        Written as JSON into the description.
    pyramid
        Add the image at half its size, and half of that, until it is no longer than 256 pixels (SubIFDs).
    reduction
        How four pixels become one, see `halved`.

    Raises
    ------
    InputError
        Shape, dtype, sizes or names are not such.

    """
    import tifffile

    planes, names = _checked(image, pixel_size, origin, channel_names)
    step, corner = _micrometres(pixel_size), _micrometres(origin)
    n_planes = len(planes)
    description = json.dumps(dict(provenance or {}), sort_keys=True)
    identity = hashlib.sha256(planes.tobytes()).hexdigest()
    metadata = {
        "axes": "CYX",
        # by default a new one each time: the same image is to give the same bytes
        "UUID": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{identity} {description}")),
        "Name": _plain_name(path),
        "Description": description,
        "PhysicalSizeX": step[1],
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": step[0],
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": names},
        "Plane": {
            "PositionX": [corner[1]] * n_planes,
            "PositionXUnit": ["µm"] * n_planes,
            "PositionY": [corner[0]] * n_planes,
            "PositionYUnit": ["µm"] * n_planes,
        },
    }
    levels = list(_levels(planes, reduction)) if pyramid else [planes]
    layout: dict[str, Any] = {"photometric": "minisblack", "tile": (TILE, TILE), "compression": "zlib"}
    with complete_or_absent(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as file:
        for number, level in enumerate(levels):
            file.write(
                level,
                subifds=len(levels) - 1 if number == 0 else None,
                subfiletype=0 if number == 0 else 1,
                resolution=(1e4 / step[1] / 2**number, 1e4 / step[0] / 2**number),
                resolutionunit="CENTIMETER",
                metadata=metadata if number == 0 else None,
                **layout,
            )


def write_ome_zarr(
    path: str | Path,
    image: NDArray[np.generic],
    *,
    pixel_size: tuple[float, float],
    origin: tuple[float, float] = (0.0, 0.0),
    channel_names: Sequence[str] = (),
    colors: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    reduction: Reduction = "max",
) -> None:
    """Write a folder, ``….ome.zarr``, after OME-NGFF 0.5 (zarr v3): an image of axes c, y, x and its pyramid.

    Each level has half the size of the one before; the last is no longer than 256 pixels. It is a store of this
    package too: `ulmpipe.io.stores.open_store` opens it and refuses one that has lost a chunk.

    Parameters
    ----------
    path
        Of the folder.
    image
        (z, x) or (channel, z, x); dtypes of `write_ome_tiff`.
    pixel_size
        (z, x), m.
    origin
        (z, x), m: centre of the first pixel, of which each level has its own.
    channel_names
        One a channel; ``channel 0``, … where not given.
    colors
        One a channel, six hexadecimal digits, the colour of its brightest pixels; white where not given.
    provenance
        Becomes the attribute of that name.
    reduction
        How four pixels become one, see `halved`.

    Raises
    ------
    InputError
        Shape, dtype, sizes, names or colours are not such.

    """
    planes, names = _checked(image, pixel_size, origin, channel_names)
    shades = list(colors) or ["FFFFFF"] * len(names)
    if len(shades) != len(names) or not all(_is_color(shade) for shade in shades):
        raise InputError(
            f"colors: {shades}, expected six hexadecimal digits for each of {len(names)} channels"
        )
    datasets = []
    with new_store(path, provenance=dict(provenance or {})) as store:
        for number, level in enumerate(_levels(planes, reduction)):
            # a level's first pixel lies over the first 2^number ones of the image
            step = tuple(size * 2**number for size in pixel_size)
            first = tuple(
                start + (large - size) / 2
                for start, large, size in zip(origin, step, pixel_size, strict=True)
            )
            array = store.create_array(
                str(number),
                shape=level.shape,
                chunks=(1, min(CHUNK, level.shape[1]), min(CHUNK, level.shape[2])),
                dtype=level.dtype,
                dimension_names=("c", "y", "x"),
                fill_value=0,
                attributes={
                    "dims": ["c", "y", "x"],
                    "units": "",
                    "spacing": dict(zip("yx", step, strict=True)),
                    "origin": dict(zip("yx", first, strict=True)),
                },
            )
            array[:] = level
            datasets.append(
                {
                    "path": str(number),
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [1.0, *_micrometres(step)]},
                        {"type": "translation", "translation": [0.0, *_micrometres(first)]},
                    ],
                }
            )
        store.attrs["ome"] = {
            "version": "0.5",
            "multiscales": [
                {
                    "name": _plain_name(path),
                    "axes": [
                        {"name": "c", "type": "channel"},
                        {"name": "y", "type": "space", "unit": "micrometer"},
                        {"name": "x", "type": "space", "unit": "micrometer"},
                    ],
                    "datasets": datasets,
                    "type": reduction,
                    "metadata": {"method": "ulmpipe.io.pictures.halved", "kwargs": {"reduction": reduction}},
                }
            ],
            "omero": {
                "channels": [
                    {"label": name, "color": shade, "active": number == 0, "window": _window(plane)}
                    for number, (name, shade, plane) in enumerate(zip(names, shades, planes, strict=True))
                ]
            },
        }


def halved(image: NDArray[np.generic], reduction: Reduction) -> NDArray[np.generic]:
    """Every two by two pixels into one.

    Parameters
    ----------
    image
        (…, z, x). The last row or column of an odd number is taken with what there is of it.
    reduction
        ``max`` keeps thin vessels visible and is right for counts; ``mean`` is right for what has a sign or is an
        average, such as speeds and components of velocity (of integers it is rounded). NaN does not count; four NaN
        give NaN. Neither is right for angles: write the components.

    Returns
    -------
    Same dtype.

    Raises
    ------
    InputError
        An unknown reduction.

    """
    if reduction == "max":
        return _merged(image, np.fmax)
    if reduction == "mean":
        present = np.isfinite(image)
        total = _merged(np.where(present, image, 0).astype(np.float64), np.add)
        number = _merged(present.astype(np.float64), np.add)
        mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
        return (np.rint(mean) if image.dtype.kind in "iu" else mean).astype(image.dtype)
    raise InputError(f"reduction: {reduction!r}, expected 'mean' or 'max'")


def _merged(image: NDArray[Any], operation: np.ufunc) -> NDArray[Any]:
    for axis in (-2, -1):
        image = operation.reduceat(image, np.arange(0, image.shape[axis], 2), axis=axis)
    return image


def _levels(planes: NDArray[np.generic], reduction: Reduction) -> Iterator[NDArray[np.generic]]:
    """The image, then each level of its pyramid."""
    yield planes
    while max(planes.shape[1:]) > SMALLEST_LEVEL:
        planes = halved(planes, reduction)
        yield planes


def _checked(
    image: NDArray[np.generic],
    pixel_size: tuple[float, float],
    origin: tuple[float, float],
    channel_names: Sequence[str],
) -> tuple[NDArray[np.generic], list[str]]:
    """(channel, z, x) of a dtype both formats have, and a name of each channel."""
    planes = np.asarray(image)
    if planes.ndim not in (2, 3) or planes.size == 0:
        raise InputError(f"image: shape {planes.shape}, expected (z, x) or (channel, z, x), not empty")
    planes = planes.reshape(-1, *planes.shape[-2:])
    if planes.dtype == np.bool_:
        planes = planes.astype(np.uint8)
    if planes.dtype.name not in DTYPES:
        raise InputError(f"image: dtype {planes.dtype}, expected one of {', '.join(DTYPES)}, bool")
    if not (np.isfinite(pixel_size).all() and min(pixel_size) > 0):
        raise InputError(f"pixel_size: {pixel_size}, expected positive metres (z, x)")
    if not np.isfinite(origin).all():
        raise InputError(f"origin: {origin}, expected finite metres (z, x)")
    names = list(channel_names) or [f"channel {number}" for number in range(len(planes))]
    if len(names) != len(planes):
        raise InputError(f"channel_names: {len(names)} for {len(planes)} channels, expected as many")
    return planes, names


def _micrometres(lengths: Sequence[float]) -> list[float]:
    # to the femtometre, so that 3.125e-6 m is 3.125 µm and not 3.1249999999999996
    return [round(float(length) * 1e6, 9) for length in lengths]


def _plain_name(path: str | Path) -> str:
    return Path(path).name.split(".ome.")[0]


def _is_color(text: str) -> bool:
    return len(text) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in text)


def _window(plane: NDArray[Any]) -> dict[str, float]:
    """What a viewer shows at first: up to 99.5 % of what is not zero, so that one hot pixel dims nothing."""
    finite = plane[np.isfinite(plane)].astype(np.float64)
    if finite.size == 0:
        return {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0}
    lowest, highest = float(finite.min()), float(finite.max())
    shown = finite[finite != 0]
    end = float(np.percentile(shown, 99.5)) if shown.size else highest
    return {"min": lowest, "max": highest, "start": lowest, "end": max(end, lowest)}
