"""Conventional ULM, the expert that the network is measured against: bubbles as bright spots, one by one."""

from ulmpipe.localization.localize import (
    LOCALIZATION,
    brightness_map,
    localizations_to_map,
    localize,
)

__all__ = ["LOCALIZATION", "brightness_map", "localizations_to_map", "localize"]
