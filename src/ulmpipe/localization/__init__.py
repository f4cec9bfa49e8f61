"""Conventional ULM, the expert that the network is measured against: bubbles as bright spots, followed one by one."""

from ulmpipe.localization.localize import (
    LOCALIZATION,
    brightness_map,
    localizations_to_map,
    localize,
)
from ulmpipe.localization.localizers import LOCALIZERS
from ulmpipe.localization.tracking import (
    TRACK,
    bright_tracks,
    track_brightness,
    track_localizations,
    tracks_to_table,
)

__all__ = [
    "LOCALIZATION",
    "LOCALIZERS",
    "TRACK",
    "bright_tracks",
    "brightness_map",
    "localizations_to_map",
    "localize",
    "track_brightness",
    "track_localizations",
    "tracks_to_table",
]
