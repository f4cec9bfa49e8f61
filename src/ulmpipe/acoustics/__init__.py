"""Acoustics: the probe, its plane waves and the simulator of channel data."""

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus import simulate_channel_data

__all__ = ["PlaneWaves", "Probe", "simulate_channel_data"]
