"""Correlation of IQ images with the point spread function: the maps that the network and the expert look at."""

from __future__ import annotations

from ulmpipe.correlation.maps import as_channels, correlation_map, from_channels, remove_carrier

__all__ = ["as_channels", "correlation_map", "from_channels", "remove_carrier"]
