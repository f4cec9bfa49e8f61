"""What network and expert look at in a block: filtered images on one scale, correlation maps, or both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from ulmpipe.correlation import as_channels, correlation_map, from_channels, unit_images
from ulmpipe.device import to_host
from ulmpipe.io.stores import new_array
from ulmpipe.stages._parameters import Parameters


def new_maps(
    store: Any, maps: Parameters, shape: tuple[int, ...], **geometry: dict[str, float]
) -> dict[str, Any]:
    """Arrays for the `maps` of blocks, (block, frame, z, x), with real and imaginary parts."""
    n_blocks, *of_block = shape
    return {
        name: new_array(
            store,
            name,
            shape=(n_blocks, 2, *of_block),
            dtype="float16",
            dims=("block", "part", "frame", "z", "x"),
            units="1",
            compressed=False,
            **geometry,
        )
        for name in maps
    }


def maps_of(maps: Parameters, images: Any, point_spread_function: Any) -> Iterator[tuple[str, Any]]:
    """Names of the `maps`, which have settings of their own, and each as (2, frame, z, x) float16 on the host.

    `images` are filtered, (frame, z, x) complex64; their carrier and that of the point spread function are removed.
    """
    for name, settings in maps.items():
        if name == "filtered":
            made = unit_images(images, **settings)
        else:
            made = correlation_map(images, point_spread_function, **settings)
        yield name, to_host(as_channels(made))


def as_correlation(
    seen: str, channels: NDArray[Any], point_spread_function: Any, settings: Parameters
) -> NDArray[Any]:
    """What the expert looks at, of what a network sees; a block of one scale has the maps of any other scale."""
    if seen == "correlation":
        return channels
    chi = correlation_map(
        from_channels(channels), point_spread_function, regularization=settings["regularization"]
    )
    return as_channels(chi)
