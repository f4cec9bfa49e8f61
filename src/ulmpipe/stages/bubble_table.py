"""Bubbles of a volume's first block as a table, for ParaView, napari or a spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ulmpipe.io.stores import complete_or_absent, open_store, read_block
from ulmpipe.stages._parameters import Parameters, event_times

COLUMNS = (
    *("track", "frame", "z_um", "y_um", "x_um", "time_s"),
    *("velocity_z_mm_s", "velocity_y_mm_s", "velocity_x_mm_s", "speed_mm_s"),
    *("vessel", "diameter_um"),
)
DECIMALS = 4


def run(parameters: Parameters, *, trajectories: Path, table: Path) -> None:
    """Write a row for each bubble and frame, at the frame's middle plane wave, ordered by track and frame.

    A bubble that leaves ends its track, and the one that takes its place begins another. The first five columns are
    those of a track in napari. Places are of the dilated graph; the diameter is the vessel's native one.
    """
    names = ("position", "velocity", "vessel", "diameter", "life")
    store = open_store(trajectories, *names)
    times = event_times(parameters)
    n_angles = times.shape[1]
    middle = slice(n_angles // 2, None, n_angles)
    position, velocity, vessel, diameter, life = (read_block(store[name], 0)[middle] for name in names)
    rows = []
    n_tracks = 0
    for bubble in np.flatnonzero(vessel[0] >= 0):
        starts = np.diff(life[:, bubble], prepend=life[0, bubble]) != 0
        track = n_tracks + np.cumsum(starts)
        n_tracks = int(track[-1]) + 1
        backwards = (slice(None), bubble, slice(None, None, -1))  # z, y, x
        place, speed = 1e6 * position[backwards].astype(float), 1e3 * velocity[backwards].astype(float)
        for frame in range(len(times)):
            rows.append(
                [
                    int(track[frame]),
                    frame,
                    *np.round(place[frame], DECIMALS).tolist(),
                    round(float(times[frame, n_angles // 2]), 9),
                    *np.round(speed[frame], DECIMALS).tolist(),
                    round(float(np.linalg.norm(speed[frame])), DECIMALS),
                    int(vessel[frame, bubble]),
                    round(1e6 * float(diameter[frame, bubble]), DECIMALS),
                ]
            )
    with complete_or_absent(table) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
