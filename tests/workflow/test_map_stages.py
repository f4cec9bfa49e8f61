"""Tracks, their maps, measures and pictures for other programs, from the stages at their smallest."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dry_runs import commands
from small_run import SMALL, run_stages, stage_arguments

from ulmpipe.io.stores import open_store, write_json
from ulmpipe.io.track_store import read_tracks
from ulmpipe.stages import track
from ulmpipe.track_maps import FineGrid, track_maps

POINT = {"map": "tracked", "threshold": 0.4, "radius": 0, "rise": 0, "dice": 0.0}
POINTS = [
    {
        "concentration_per_mm3": 20.0,
        **{method: {"per_block": POINT, "accumulated": POINT} for method in ("network", "expert")},
    }
]
CHANGES = SMALL | {
    "tracking": {"threshold": 0.4, "minimum_length": 4, "largest_gap": 2},
    "track_maps": {"minimum_points": 4},
    "tissue": {"reflectivity_db": None},
    "noise": {"snr_db": None},
    "measures": {
        "regions": {
            "all": [-1.0e-3, 1.0e-3, 7.5e-3, 8.5e-3],
            "left": [-1.0e-3, 0.0, 7.5e-3, 8.5e-3],
            "right": [0.0, 1.0e-3, 7.5e-3, 8.5e-3],
        },
        "tile": 0.5e-3,
        "least_tracks": 0.1,
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks of a phantom without tissue and noise, localized; the network says what the expert says."""
    folder = tmp_path_factory.mktemp("maps")
    stage_arguments(folder, CHANGES)
    targets = ("results/measures_20MB.json", "results/tracks/20MB.csv", "results/angio_20MB.ome.tif")
    calls = {
        name: _words(command)
        for name, command in commands(folder, CHANGES, targets).items()
        if "train" not in name
    }
    first = ["trajectories:synthetic_3_20MB", "point_spread"]
    first += [f"{rule}:20MB" for rule in ("channel_data", "beamform", "correlate", "register", "localize")]
    _succeed(folder, [calls[name] for name in first])
    results = folder / "results"
    (results / "detections/20MB_network.zarr").symlink_to(results / "detections/20MB_expert.zarr")
    write_json(results / "model/operating_points.json", {"operating_points": POINTS, "provenance": {}})
    rest = ("angiogram", "track", "track_table", "track_maps", "measure", "microscopy")
    _succeed(folder, [calls[f"{rule}:20MB"] for rule in rest])
    return results


def _words(command: str) -> list[str]:
    words = shlex.split(command)
    return words[words.index("ulmpipe") + 1 : words.index("2>&1")]


def _succeed(folder: Path, calls: list[list[str]]) -> None:
    done = run_stages(folder, calls)
    assert done.returncode == 0, done.stderr


def test_tracks_lie_where_bubbles_went(finished: Path) -> None:
    trajectories = open_store(finished / "trajectories/synthetic_3_20MB.zarr", "position", "rank")
    assert trajectories["position"].shape[0] == 4  # two volumes side by side in each of two blocks
    blocks = list(read_tracks(finished / "tracks/20MB.h5"))
    assert len(blocks) == 2
    together = np.concatenate(blocks)
    assert len(np.unique(blocks[0]["track"])) > 3
    # the field is 2 mm wide and 1 mm high around the elevation focus at 8 mm
    assert np.abs(together["x"]).max() < 1.05e-3
    assert np.abs(together["z"] - 8e-3).max() < 0.6e-3
    # by the law no bubble of these vessels is faster than a few mm/s; noise would be
    assert 0 < np.median(together["speed"]) < 6e-3


def test_the_tracks_of_the_table_are_those_that_the_experts_map_is_made_of(
    finished: Path, tmp_path: Path
) -> None:
    """Nothing is moved here, so that both are on the same pixels."""
    made = open_store(finished / "detections/20MB_expert.zarr", "tracked")
    shown = made["tracked"][:].astype(np.float32)
    threshold = float(np.median(shown[shown > 0]))
    of_tracks = {"map": "tracked", "threshold": threshold, "radius": 0, "rise": 0}
    points = [{"concentration_per_mm3": 20.0, "expert": {"per_block": of_tracks}}]
    write_json(tmp_path / "points.json", {"operating_points": points})
    write_json(tmp_path / "shifts.json", {"shifts_pixels": [[0.0, 0.0]] * 2})
    settings = dict(made.attrs["provenance"]["parameters"]) | {"concentration_per_mm3": 20.0}
    track.run(
        settings,
        correlation=finished / "correlation/20MB.zarr",
        shifts=tmp_path / "shifts.json",
        operating_points=tmp_path / "points.json",
        tracks=tmp_path / "tracks.h5",
    )
    geometry = made["tracked"].attrs
    grid = FineGrid(
        shape=made["tracked"].shape[1:],
        spacing=(geometry["spacing"]["z"], geometry["spacing"]["x"]),
        origin=(geometry["origin"]["z"], geometry["origin"]["x"]),
    )
    drawn = np.stack(
        [track_maps([tracks], grid).density > 0 for tracks in read_tracks(tmp_path / "tracks.h5")]
    )
    assert 20 < drawn.sum() < np.count_nonzero(shown)
    certain = np.abs(shown - threshold) > 1e-3  # the map is of half precision
    np.testing.assert_array_equal(drawn[certain], (shown >= threshold)[certain])


def test_the_table_has_a_row_for_every_record(finished: Path) -> None:
    with (finished / "tracks/20MB.csv").open() as file:
        rows = list(csv.DictReader(file))
    blocks = list(read_tracks(finished / "tracks/20MB.h5"))
    assert [sum(row["block"] == str(block) for row in rows) for block in (0, 1)] == [
        len(block) for block in blocks
    ]
    assert float(rows[0]["z_um"]) == pytest.approx(1e6 * blocks[0]["z"][0], abs=1e-3)
    assert float(rows[-1]["speed_mm_s"]) == pytest.approx(1e3 * blocks[1]["speed"][-1], abs=1e-3)


def test_maps_count_the_tracks_where_they_are(finished: Path) -> None:
    maps = open_store(finished / "maps/20MB.zarr", "density", "speed", "velocity_z", "velocity_x")
    density, attributes = maps["density"][0], maps["density"].attrs
    drawn = np.zeros(density.shape, bool)
    for block in read_tracks(finished / "tracks/20MB.h5"):
        row = np.rint((block["z"] - attributes["origin"]["z"]) / attributes["spacing"]["z"]).astype(int)
        column = np.rint((block["x"] - attributes["origin"]["x"]) / attributes["spacing"]["x"]).astype(int)
        inside = (row >= 0) & (row < density.shape[0]) & (column >= 0) & (column < density.shape[1])
        drawn[row[inside], column[inside]] = True
    assert (density[drawn] > 0).mean() > 0.99  # a record on a border counts for either side
    assert np.isnan(maps["speed"][0][density == 0]).all()
    assert (np.hypot(maps["velocity_z"][0], maps["velocity_x"][0]) <= maps["speed"][0] * 1.0001)[
        density > 0
    ].all()
    for kind in ("density", "speed", "direction", "flux"):
        assert (finished / f"maps/20MB_{kind}.png").stat().st_size > 10_000


def test_flux_is_the_net_number_of_tracks_over_the_recorded_time(finished: Path) -> None:
    maps = open_store(finished / "maps/20MB.zarr", "downward", "upward", "flux")
    duration = 2 * 16 / 1000.0  # two blocks of 16 frames; the second between them is a pause
    assert maps.attrs["duration"] == pytest.approx(duration)
    assert maps["flux"].attrs["units"] == "1/s"
    net = maps["downward"][0] - maps["upward"][0]
    assert net.any()
    np.testing.assert_allclose(maps["flux"][0], net / duration, rtol=1e-6)


def test_measures_are_numbers_or_say_why_not(finished: Path) -> None:
    measures = json.loads((finished / "measures_20MB.json").read_text())
    for method in ("network", "expert", "tracks"):
        said = f"resolution of {method}" in measures["left_out"]
        assert said or measures["resolution"][method]["splits"] == 10
    # two blocks are too few for a curve of filling
    assert "expected two of at least 3 values" in measures["left_out"]["saturation of network"]
    # the network has the expert's detections here
    assert measures["resolution"].get("network") == measures["resolution"].get("expert")
    assert measures["widths"].get("network") == measures["widths"].get("expert")
    assert (finished / "measures/20MB_resolution.png").exists()


def test_a_region_is_measured_as_the_field_is(finished: Path) -> None:
    measures = json.loads((finished / "measures_20MB.json").read_text())
    regions = measures["regions"]
    assert regions["left"]["rectangle"] == [-1.0e-3, 0.0, 7.5e-3, 8.5e-3]
    assert measures["widths"]["expert"]["sites"] > 0
    for method in ("network", "expert", "tracks"):
        assert regions["all"]["resolution"].get(method) == measures["resolution"].get(method)
        widths = {name: each["widths"][method] for name, each in regions.items()}
        # the field's count what was left out, too
        assert widths["all"].items() <= measures["widths"][method].items()
        assert widths["left"]["sites"] + widths["right"]["sites"] == widths["all"]["sites"]
    assert regions["left"]["resolution"]["expert"] != regions["right"]["resolution"]["expert"]
    assert "expected two of at least 3 values" in measures["left_out"]["saturation of expert in left"]


def test_tiles_have_a_resolution_where_there_are_tracks_enough(finished: Path) -> None:
    local = json.loads((finished / "measures_20MB.json").read_text())["local_resolution"]["expert"]
    assert local["side"] == pytest.approx(0.5e-3)
    # 2 × 1 mm from (-1, 7.5) mm: centres a quarter of a millimetre apart
    np.testing.assert_allclose(local["x"], -0.75e-3 + 0.25e-3 * np.arange(7), atol=1e-9)
    np.testing.assert_allclose(local["z"], 7.75e-3 + 0.25e-3 * np.arange(3), atol=1e-9)
    counts = open_store(finished / "angio_20MB.zarr", "expert")["expert"][0]
    tracks = [
        [counts[top : top + 160, left : left + 160].sum() / 160 for left in 80 * np.arange(7)]
        for top in 80 * np.arange(3)
    ]
    np.testing.assert_allclose(local["tracks"], tracks)
    assert 5 < np.sum(np.array(tracks) < 0.1) < 15
    for row, numbers in enumerate(local["half_bit"]):
        assert all(size is None for size, n in zip(numbers, tracks[row], strict=True) if n < 0.1)
    assert any(size is not None for row in local["one_seventh"] for size in row)
    assert (finished / "measures/20MB_local.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("rectangle", "expected"),
    [
        ([0.5e-3, 1.2e-3, 7.6e-3, 8.4e-3], "within the field, [-0.001, 0.001, 0.0075, 0.0085]"),
        ([0.0, 0.5e-3, 8.0e-3, 8.05e-3], "16 × 160 fine pixels, expected at least 32 a side"),
    ],
)
def test_a_region_that_cannot_be_measured_ends_with_one_line(
    finished: Path, rectangle: list[float], expected: str
) -> None:
    # the second one would end the run before it began: here the stage is called by itself
    changes = CHANGES | {"measures": {"regions": {"cortex": [-0.5e-3, 0.5e-3, 7.6e-3, 8.4e-3]}}}
    call = _words(commands(finished.parent, changes, ("results/measures_20MB.json",))["measure:20MB"])
    place = call.index("--parameters") + 1
    parameters = json.loads(call[place])
    parameters["measures"]["regions"]["cortex"] = rectangle
    call[place] = json.dumps(parameters)
    before = (finished / "measures_20MB.json").read_bytes()
    done = run_stages(finished.parent, [call])
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error in measure: measures.regions.cortex: ")
    assert expected in done.stderr.splitlines()[-1]
    assert (finished / "measures_20MB.json").read_bytes() == before


def test_other_programs_find_the_image_to_scale(finished: Path) -> None:
    counts = open_store(finished / "angio_20MB.zarr", "network", "expert")
    with tifffile.TiffFile(finished / "angio_20MB.ome.tif") as file:
        pixels = file.series[0].levels[0].asarray()
        metadata = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    np.testing.assert_array_equal(pixels, np.stack([counts["network"][0], counts["expert"][0]]))
    assert float(metadata["PhysicalSizeX"]) == pytest.approx(3.125)
    assert metadata["PhysicalSizeXUnit"] == "µm"
    image = open_store(finished / "angio_20MB.ome.zarr", "0", "1")
    np.testing.assert_array_equal(image["0"][:], pixels)
