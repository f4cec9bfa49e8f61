"""The clutter filter that the configuration asks for, the same for training blocks and acquisitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ulmpipe.clutter import (
    FilteredBlock,
    adaptive_svd_filter,
    split_directions,
    svd_filter,
    velocity_band_pass,
)
from ulmpipe.device import to_host
from ulmpipe.stages._parameters import Parameters


def filter_clutter(parameters: Parameters, iq: Any, rng: np.random.Generator) -> FilteredBlock:
    """A block (frame, z, x) without tissue, and perhaps without noise, some speeds or one direction."""
    wanted, sequence = parameters["clutter_filter"], parameters["sequence"]
    n_frames = iq.shape[0]
    if isinstance(wanted["n_removed"], int):
        images = svd_filter(iq, n_removed=wanted["n_removed"], method=wanted["method"], generator=rng)
        filtered = FilteredBlock(images, wanted["n_removed"], n_frames - wanted["n_removed"])
    else:
        filtered = adaptive_svd_filter(
            to_host(iq),
            criterion=wanted["n_removed"],
            cut_noise=wanted["cut_noise"],
            pulse_repetition_frequency=sequence["frame_rate"],
            cutoff_frequency=wanted["tissue_frequency"],
        )
    images = filtered.images
    if wanted["slowest"] is not None or wanted["fastest"] is not None:
        images = velocity_band_pass(
            to_host(images),
            center_frequency=sequence["transmit_frequency"],
            pulse_repetition_frequency=sequence["frame_rate"],
            speed_of_sound=parameters["medium"]["speed_of_sound"],
            slowest=wanted["slowest"],
            fastest=wanted["fastest"],
        )
    if wanted["direction"] != "both":
        images = split_directions(to_host(images))[int(wanted["direction"] == "away")]
    return FilteredBlock(images, filtered.n_removed, filtered.n_kept)
