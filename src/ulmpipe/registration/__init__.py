"""Rigid motion between blocks, found on their images, and taken out of their maps.

Blocks are about a second apart and the tissue under the probe has moved by then: the blocks are registered before they
are summed into an angiogram. Tissue images serve best (`measure_drift`); where the tissue is masked or missing, images
of bubbles do (`measure_drift_jointly`). Motion within a block: `ulmpipe.motion`.
"""

from ulmpipe.registration.drift import Drift, drift_rows, interpolate_outliers, no_drift
from ulmpipe.registration.jointly import measure_drift_jointly
from ulmpipe.registration.pairwise import estimate_shift, measure_drift, peak_correlation
from ulmpipe.registration.shifting import Scalar, overlap, shift_map

__all__ = [
    "Drift",
    "Scalar",
    "drift_rows",
    "estimate_shift",
    "interpolate_outliers",
    "measure_drift",
    "measure_drift_jointly",
    "no_drift",
    "overlap",
    "peak_correlation",
    "shift_map",
]
