"""What network and expert look at in a block: filtered images on one scale, correlation maps, or both."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ulmpipe.correlation import as_channels, correlation_map, unit_images
from ulmpipe.device import to_host
from ulmpipe.stages._parameters import Parameters


def maps_of(maps: Parameters, images: Any, point_spread_function: Any) -> dict[str, Any]:
    """Each of the `maps`, which have settings of their own, as (2, frame, z, x) float16 on the host.

    `images` are filtered, (frame, z, x) complex64; their carrier and that of the point spread function are removed.
    """

    def made(name: str, settings: Parameters) -> NDArray[Any]:
        if name == "filtered":
            return unit_images(images)
        return correlation_map(images, point_spread_function, **settings)

    return {name: to_host(as_channels(made(name, settings))) for name, settings in maps.items()}
