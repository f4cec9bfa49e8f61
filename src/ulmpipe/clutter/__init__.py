"""What is not a bubble taken out of a block: tissue by its singular components, slow and fast by slow time."""

from ulmpipe.clutter.components import SingularComponents, decompose, keep_components
from ulmpipe.clutter.criteria import (
    double_decay,
    n_above_noise,
    similarity_squares,
    slow_components,
    spatial_similarity,
)
from ulmpipe.clutter.filters import FilteredBlock, adaptive_svd_filter, svd_filter
from ulmpipe.clutter.slow_time import band_pass, doppler_frequency, split_directions, velocity_band_pass

__all__ = [
    "FilteredBlock",
    "SingularComponents",
    "adaptive_svd_filter",
    "band_pass",
    "decompose",
    "doppler_frequency",
    "double_decay",
    "keep_components",
    "n_above_noise",
    "similarity_squares",
    "slow_components",
    "spatial_similarity",
    "split_directions",
    "svd_filter",
    "velocity_band_pass",
]
