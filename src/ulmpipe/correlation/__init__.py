"""What is looked at: filtered images on one scale, and their correlation maps with the point spread function."""

from __future__ import annotations

from ulmpipe.correlation.maps import (
    as_channels,
    correlation_map,
    from_channels,
    remove_carrier,
    unit_images,
)

__all__ = ["as_channels", "correlation_map", "from_channels", "remove_carrier", "unit_images"]
