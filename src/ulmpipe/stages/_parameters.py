"""What every stage is given: its own sections of the configuration, and the times they imply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Parameters = Mapping[str, Any]


def event_times(parameters: Parameters) -> NDArray[np.float64]:
    """Times of the transmissions of a block, (frame, angle), s."""
    sequence = parameters["sequence"]
    frames = np.arange(sequence["frames_per_block"]) / sequence["frame_rate"]
    angles = np.arange(len(sequence["angles_deg"])) / sequence["pulse_repetition_frequency"]
    return frames[:, None] + angles
