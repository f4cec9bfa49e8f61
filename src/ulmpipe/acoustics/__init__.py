"""Acoustics: the probe, its plane waves and the simulator of channel data."""

from ulmpipe.acoustics.named_probes import named_probe, probe_names
from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.simus import simulate_channel_data
from ulmpipe.acoustics.slice_thickness import apparent_depth, elevation_gain, lens_delay

__all__ = [
    "PlaneWaves",
    "Probe",
    "apparent_depth",
    "elevation_gain",
    "lens_delay",
    "named_probe",
    "probe_names",
    "simulate_channel_data",
]
