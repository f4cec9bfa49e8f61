"""Tracks as a table, for a spreadsheet or another program."""

from __future__ import annotations

import csv
from pathlib import Path

from ulmpipe.io.stores import complete_or_absent
from ulmpipe.io.track_store import read_tracks, track_frame_rate
from ulmpipe.localization.tracking import TABLE_COLUMNS, tracks_to_table
from ulmpipe.stages._parameters import Parameters


def run(parameters: Parameters, *, tracks: Path, table: Path) -> None:
    """Write a row for each track and frame, block after block; track numbers are those of the block."""
    del parameters  # nothing can be chosen
    rate = track_frame_rate(tracks)
    with complete_or_absent(table) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("block", *TABLE_COLUMNS))
        for block, records in enumerate(read_tracks(tracks)):
            writer.writerows((block, *row) for row in tracks_to_table(records, frame_rate=rate))
