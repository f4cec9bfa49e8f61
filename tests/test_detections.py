"""Score maps of the network over a field."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.io.stores import write_json
from ulmpipe.network import build_network, save_weights
from ulmpipe.stages._detections import (
    blocks_at_once,
    network_maps,
    operating_points_of,
    read_scores,
    write_scores,
)
from ulmpipe.stages._expert import MAPS, expert_maps


@pytest.fixture
def model(tmp_path):
    save_weights(build_network("light", seed=3), tmp_path / "weights.safetensors", metadata={})
    return tmp_path / "weights.safetensors"


def parameters(*, mirrored):
    return {
        "network": {"name": "light", "input": "filtered", "precision": "float32"},
        "inference": {"mode": "whole_field", "tile": None, "mirrored": mirrored},
    }


def test_a_mirrored_field_has_the_mirrored_answer_when_both_are_averaged(model):
    maps = np.random.default_rng(0).normal(0, 0.3, (2, 2, 32, 16, 20)).astype(np.float16)
    averaged = list(network_maps(parameters(mirrored=True), model, maps, threads=1, trained_frames=32))
    of_mirrored = list(
        network_maps(parameters(mirrored=True), model, maps[..., ::-1], threads=2, trained_frames=32)
    )
    for one, other in zip(averaged, of_mirrored, strict=True):
        np.testing.assert_allclose(one, other[:, ::-1], rtol=0, atol=1e-7)
    once = list(network_maps(parameters(mirrored=False), model, maps, threads=1, trained_frames=32))
    once_mirrored = list(
        network_maps(parameters(mirrored=False), model, maps[..., ::-1], threads=1, trained_frames=32)
    )
    assert np.abs(once[0] - once_mirrored[0][:, ::-1]).max() > 1e-4
    for one, a, b in zip(averaged, once, once_mirrored, strict=True):
        np.testing.assert_allclose(one, (a + b[:, ::-1]) / 2, rtol=0, atol=1e-7)


@pytest.mark.parametrize("mode", ["whole_field", "sliding_window"])
def test_a_short_block_is_shown_to_the_network_forth_and_back(model, mode):
    maps = np.random.default_rng(0).normal(0, 0.3, (2, 2, 16, 32, 36)).astype(np.float16)
    longer = np.concatenate([maps, maps[:, :, ::-1]] * 2, axis=2)
    settings = parameters(mirrored=False)
    settings["inference"] |= {"mode": mode, "stride": 4, "crop": 32}
    found, expected, plain = (
        np.stack(list(network_maps(settings, model, each, threads=1, trained_frames=frames)))
        for each, frames in ((maps, 64), (longer, 64), (maps, 16))
    )
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - plain).max() > 1e-4


@pytest.mark.parametrize("trained_on", [{"input": "correlation"}, {}])
def test_weights_trained_on_other_maps_are_refused_in_one_line(model, trained_on):
    """Their shapes are the same: nothing else would notice."""
    made = {"parameters": {"network": {"name": "light"} | trained_on}}
    save_weights(build_network("light", seed=3), model, metadata=made)
    maps = np.zeros((1, 2, 32, 16, 20), np.float16)
    with pytest.raises(InputError, match=r"trained with network\.input: correlation; expected filtered"):
        next(network_maps(parameters(mirrored=False), model, maps, threads=1, trained_frames=32))


@pytest.mark.parametrize(
    ("name", "memory_mb", "tile", "at_once"),
    [
        ("light", None, 128, 16),
        ("light", 30_000, 128, 16),
        ("light", 4000, 128, 2),
        ("light", 4000, None, 1),
        ("light", 1, 128, 1),
        ("paper", 30_000, 128, 2),
    ],
)
def test_no_more_blocks_are_in_memory_than_fit(name, memory_mb, tile, at_once):
    """Of 512 x 400 pixels and 512 frames each: 0.4 GB, 0.2 of answers, and 0.7 (paper: 9.8) for a tile."""
    network = build_network(name, seed=0)
    maps = np.broadcast_to(np.float16(0), (3, 2, 512, 400, 512))
    settings = {"inference": {"tile": tile}, "targets": {"upsampling": 8}}
    for shown in (maps, maps[:, :, :128]):  # the shorter one four times
        found = blocks_at_once(network, settings, shown, threads=16, memory_mb=memory_mb, trained_frames=512)
        assert found == at_once


def test_a_block_that_is_shown_as_it_is_takes_its_own_memory():
    network, maps = build_network("light", seed=0), np.broadcast_to(np.float16(0), (3, 2, 256, 400, 512))
    settings = {"inference": {"tile": 128}, "targets": {"upsampling": 8}}
    shown = {"threads": 16, "memory_mb": 4000}
    assert blocks_at_once(network, settings, maps, trained_frames=512, **shown) == 4


PIXEL = {"z": 25e-6, "x": 25e-6}
FOLLOWED = {
    "sequence": {"frame_rate": 1000.0},
    "targets": {"upsampling": 8},
    "tracking": {
        "threshold": 0.5,
        "largest_speed": 20e-3,
        "largest_gap": 1,
        "minimum_length": 10,
        "memory": 0,
        "smoothing_window": 5,
    },
}


def spots(places, *, n_frames, brightness):
    """Correlation maps (2, frame, 20, 24) of round spots, each a function of the frame to its place or to None."""
    z, x = np.mgrid[:20, :24]
    maps = np.zeros((2, n_frames, 20, 24), np.float16)
    for frame in range(n_frames):
        for place, value in zip(places, brightness, strict=True):
            at = place(frame)
            if at is not None:
                maps[0, frame] += value * np.exp(-((z - at[0]) ** 2 + (x - at[1]) ** 2) / 2)
    return maps


def test_the_expert_has_tracks_where_bubbles_went_and_localizations_where_they_flashed_too():
    """One bubble along a line, one in a corner that is there for three frames and brighter."""
    moving, flashing = (lambda t: (5.0, 4 + 0.5 * t)), (lambda t: (15.0, 15.0) if t < 3 else None)
    maps = spots([moving, flashing], n_frames=30, brightness=[0.7, 0.9])
    found = expert_maps(maps, FOLLOWED, spacing=PIXEL)
    assert {name: image.shape for name, image in found.items()} == dict.fromkeys(MAPS, (160, 192))
    localized, tracked = (found[name] for name in MAPS)
    row, corner = int((5 + 0.5) * 8), int((15 + 0.5) * 8)
    assert localized[corner, corner] == pytest.approx(0.9, abs=1e-3)
    assert not tracked[corner - 8 : corner + 9, corner - 8 : corner + 9].any()
    # from the first frame's pixel to the last one's without a hole
    first, last = (int((x + 0.5) * 8) for x in (4, 18.5))
    crossed = np.flatnonzero(tracked[row - 2 : row + 3].any(axis=0))
    np.testing.assert_array_equal(crossed, np.arange(crossed[0], crossed[-1] + 1))
    assert abs(crossed[0] - first) <= 1
    assert abs(crossed[-1] - last) <= 1
    values = tracked[tracked > 0]
    assert np.ptp(values) == 0  # that of the track
    # a spot between two pixels is a little darker on them
    assert 0.6 < values[0] <= 0.7
    assert 0 < np.count_nonzero(localized[row - 2 : row + 3]) < 31 < len(values)


def test_an_operating_point_says_which_of_the_experts_maps_it_is_of(tmp_path):
    maps = FieldMaps()
    rng = np.random.default_rng(1)
    made = [{name: rng.uniform(0, 1, (16, 24)).astype(np.float16) for name in MAPS} for _ in range(2)]
    write_scores(tmp_path / "one.zarr", made, maps, names=MAPS, upsampling=2, units="|χ|", made={})
    point = {"radius": 0, "rise": 1}
    for name, given in (("tracked", {"map": "tracked"}), ("score", {"map": "score"}), ("score", {})):
        read = list(read_scores(tmp_path / "one.zarr", point | given))
        for block, scores in enumerate(read):
            np.testing.assert_array_equal(scores[:-1], made[block][name][1:])


class FieldMaps:
    """What `write_scores` asks of correlation maps."""

    shape = (2, 2, 512, 8, 12)
    attrs = {"spacing": PIXEL, "origin": {"z": 0.0, "x": 0.0}}  # noqa: RUF012


@pytest.mark.parametrize(("concentration", "threshold"), [(1.0, 0.4), (9.0, 0.4), (11.0, 0.6), (40.0, 0.6)])
def test_an_acquisition_has_the_thresholds_of_the_nearest_concentration_by_its_ratio(
    tmp_path, concentration, threshold
):
    points = [
        {"concentration_per_mm3": 5.0, "network": {"per_block": {"threshold": 0.4}}},
        {"concentration_per_mm3": 20.0, "network": {"per_block": {"threshold": 0.6}}},
    ]
    write_json(tmp_path / "points.json", {"operating_points": points})
    chosen = operating_points_of(tmp_path / "points.json", concentration_per_mm3=concentration)
    assert chosen["network"]["per_block"]["threshold"] == threshold
