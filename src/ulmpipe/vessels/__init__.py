"""Vascular graphs: read from a file or grown, cut to a cube, dilated and measured."""

from ulmpipe.vessels.branches import join_open_ends, resample
from ulmpipe.vessels.cleaning import CleaningStep, clean_graph
from ulmpipe.vessels.cortex_statistics import CortexStatistics
from ulmpipe.vessels.graph import VesselGraph, check_graph, cut_cube, dilate
from ulmpipe.vessels.readers import read_graph
from ulmpipe.vessels.synthetic import synthetic_cortex

__all__ = [
    "CleaningStep",
    "CortexStatistics",
    "VesselGraph",
    "check_graph",
    "clean_graph",
    "cut_cube",
    "dilate",
    "join_open_ends",
    "read_graph",
    "resample",
    "synthetic_cortex",
]
