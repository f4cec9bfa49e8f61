"""A user's recording takes the place of the phantom's channel data, or of its images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dry_runs import ROOT, commands, prepare, would_run
from small_run import SMALL, run_stages, stage_arguments

from ulmpipe.configuration import load_configuration
from ulmpipe.correlation import as_channels, correlation_map, from_channels, unit_images
from ulmpipe.errors import InputError
from ulmpipe.io.stores import open_store
from ulmpipe.stages import beamform, correlate, recorded_channel_data, recorded_images

SCAN = {
    "kind": "channel_data",
    "axes": ["frame", "angle", "element", "time"],
    "samples": "complex",
    "units": {"length": "mm", "time": "us", "frequency": "MHz", "angle": "deg", "speed": "m/s"},
    "sampling_frequency": 15.625,
    "demodulation_frequency": 15.625,
    "angles": [-1.0, 0.0, 1.0],
    "pitch": 0.1,
    "speed_of_sound": 1540.0,
    "frame_rate": 1000.0,
}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks of a small phantom: channel data, images and correlation maps."""
    folder = tmp_path_factory.mktemp("phantom")
    calls = stage_arguments(folder)
    names = [
        "trajectories:synthetic_3_20MB",
        "point_spread",
        "channel_data:20MB",
        "beamform:20MB",
        "correlate:20MB",
    ]
    done = run_stages(folder, [calls[name] for name in names])
    assert done.returncode == 0, done.stderr
    return folder / "results"


def settings(entry: dict[str, Any], changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the stages are given for an acquisition of one's own."""
    merged = {name: value for name, value in SMALL.items() if name in ("probe", "sequence")}
    path = Path(entry["recording"]).parent / "mine.yaml.of_configuration"
    path.write_text(yaml.safe_dump({**merged, **(changes or {}), "acquisitions": {"mine": entry}}))
    content = load_configuration(ROOT / "config/config.yaml", path).model_dump(mode="json")
    return {
        **content,
        "acquisition": content["acquisitions"]["mine"],
        "maps": {"filtered": {"window": 48}, "correlation": {"regularization": 1.0}},
    }


def write_blocks(folder: Path, blocks: list[np.ndarray], words: dict[str, Any]) -> str:
    """Block after block as .npy, with the file that describes them; the pattern that means them all."""
    folder.mkdir()
    for number, block in enumerate(blocks, start=9):  # 9 comes before 10
        np.save(folder / f"block_{number}.npy", block)
    (folder / "recording.yaml").write_text(yaml.safe_dump(words))
    return str(folder / "block_*.npy")


def exported(phantom: Path) -> tuple[list[np.ndarray], dict[str, Any], dict[str, float]]:
    """The phantom's channel data as complex blocks, the words of their file, and the field."""
    store = open_store(phantom / "channel_data/20MB.zarr", "samples")
    integers = store["samples"][:].astype(np.float32)
    blocks = list((integers * store["samples"].attrs["scale"]).view(np.complex64)[..., 0])
    return (
        blocks,
        SCAN | {"start_time": 1e6 * store.attrs["scan"]["start_time"]},
        store.attrs["scan"]["field"],
    )


def test_a_phantom_that_is_recorded_gives_the_phantoms_images(phantom: Path, tmp_path: Path) -> None:
    blocks, words, field = exported(phantom)
    pattern = write_blocks(tmp_path / "mine", blocks, words)
    parameters = settings({"recording": pattern, "field": field})
    recorded_channel_data.run(parameters, channel_data=tmp_path / "channel_data.zarr")
    beamform.run(parameters, channel_data=tmp_path / "channel_data.zarr", iq=tmp_path / "iq.zarr")
    found = open_store(tmp_path / "iq.zarr", "iq")["iq"]
    expected = open_store(phantom / "iq/20MB.zarr", "iq")["iq"]
    assert dict(found.attrs["origin"]) == pytest.approx(dict(expected.attrs["origin"]))
    # whole numbers of another scale: the same images but for their rounding
    error = np.abs(found[:] - expected[:]).max() / np.abs(expected[:]).max()
    assert error < 1e-3
    assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize("carrier", [True, False])
def test_images_enter_behind_the_beamformer(phantom: Path, tmp_path: Path, carrier: bool) -> None:
    images = open_store(phantom / "iq/20MB.zarr", "iq")["iq"]
    origin, spacing = images.attrs["origin"], images.attrs["spacing"]
    blocks = list(images[:])
    psf = open_store(phantom / "point_spread.zarr", "point_spread")["point_spread"]
    if not carrier:  # as a scanner may deliver them
        depths = origin["z"] + np.arange(blocks[0].shape[1]) * spacing["z"]
        turning = np.exp(-2j * psf.attrs["wavenumber"] * depths)[:, None]
        blocks = [(block * turning).astype(np.complex64) for block in blocks]
    words = {
        "kind": "iq",
        "axes": ["frame", "z", "x"],
        "samples": "complex",
        "units": {"length": "um"},
        "spacing": {axis: 1e6 * spacing[axis] for axis in "zx"},
        "origin": {axis: 1e6 * origin[axis] for axis in "zx"},
        "frame_rate": 1000.0,
    }
    pattern = write_blocks(tmp_path / "mine", blocks, words)
    parameters = settings({"recording": pattern, "kind": "iq", "carrier": carrier})
    recorded_images.run(parameters, iq=tmp_path / "iq.zarr")
    parameters["maps"]["filtered"]["window"] = 1000  # one scale for all of the field
    correlate.run(
        parameters,
        iq=tmp_path / "iq.zarr",
        point_spread=phantom / "point_spread.zarr",
        correlation=tmp_path / "correlation.zarr",
    )
    found = open_store(tmp_path / "correlation.zarr", "correlation", "filtered")
    expected = open_store(phantom / "correlation/20MB.zarr", "correlation", "filtered")
    np.testing.assert_allclose(
        found["correlation"][:], expected["correlation"][:], atol=2e-3
    )  # half precision
    # what a correlation map is made of, but for its scale
    for block in range(found["filtered"].shape[0]):
        filtered = from_channels(found["filtered"][block])
        assert np.mean(np.abs(filtered) ** 2) == pytest.approx(1, rel=1e-3)
        again = as_channels(correlation_map(filtered, psf[0], regularization=1.0))
        np.testing.assert_allclose(again, found["correlation"][block], atol=2e-3)
        filtered = as_channels(unit_images(filtered, window=48))
        largest = np.abs(filtered.astype(np.float32)).max()
        np.testing.assert_allclose(filtered, expected["filtered"][block], atol=2e-3 * largest)


def test_a_faulty_block_is_refused_by_name_or_left_out(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks, words, field = exported(phantom)
    lost = blocks[0].copy()
    lost[3] = 0
    pattern = write_blocks(tmp_path / "mine", [lost, blocks[1], blocks[0] * np.nan], words)
    with pytest.raises(InputError, match=r"block 0: 1 empty frames, the first is 3, expected a sound block"):
        recorded_channel_data.run(
            settings({"recording": pattern, "field": field}), channel_data=tmp_path / "mine.zarr"
        )
    assert not (tmp_path / "mine.zarr").exists()
    entry = {"recording": pattern, "field": field, "faulty_blocks": "skip"}
    recorded_channel_data.run(settings(entry), channel_data=tmp_path / "mine.zarr")
    store = open_store(tmp_path / "mine.zarr", "samples")
    assert store["samples"].shape[0] == 1
    assert store.attrs["blocks"] == [1]
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out")]
    assert [line.partition("block ")[2].partition(":")[0] for line in told] == ["0", "2"]
    assert "1e+02 % of the samples are not finite" in told[1]


def test_a_recording_without_a_sound_block_leaves_nothing(phantom: Path, tmp_path: Path) -> None:
    blocks, words, field = exported(phantom)
    pattern = write_blocks(tmp_path / "mine", [block * np.nan for block in blocks], words)
    entry = {"recording": pattern, "field": field, "faulty_blocks": "skip"}
    with pytest.raises(InputError, match="none of 2 blocks is sound"):
        recorded_channel_data.run(settings(entry), channel_data=tmp_path / "mine.zarr")
    assert not (tmp_path / "mine.zarr").exists()


@pytest.mark.parametrize(
    ("words", "entry", "changes", "message"),
    [
        ({"pitch": 0.2}, {}, {}, r"pitch is 0.0002, expected 0.0001 as probe.pitch says"),
        ({"speed_of_sound": 1480.0}, {}, {}, r"speed_of_sound is 1480.0, expected 1540.0 as medium.speed"),
        ({"angles": [-2.0, 0.0, 2.0]}, {}, {}, r"as sequence.angles_deg says"),
        ({"frame_rate": 500.0}, {}, {}, r"frame_rate is 500.0, expected 1000.0"),
        ({}, {}, {"sequence": {"frames_per_block": 32}}, r"blocks of 16 frames, expected .* \(32\)"),
        ({}, {"description": {"pitch": 0.3e-3}}, {}, r"pitch is 0.0001 in the file and 0.0003"),
        ({}, {"format": "zea"}, {}, r"block_9.npy"),
    ],
)
def test_a_scan_unlike_the_configuration_is_refused_in_one_line(
    phantom: Path,
    tmp_path: Path,
    words: dict[str, Any],
    entry: dict[str, Any],
    changes: dict[str, Any],
    message: str,
) -> None:
    blocks, own, field = exported(phantom)
    pattern = write_blocks(tmp_path / "mine", blocks, own | words)
    parameters = settings({"recording": pattern, "field": field, **entry}, changes)
    with pytest.raises(InputError, match=message) as caught:
        recorded_channel_data.run(parameters, channel_data=tmp_path / "mine.zarr")
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_imaged_of_channel_data_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"acquisitions.mine.field: missing: expected width, height and depth"
    ):
        settings({"recording": str(tmp_path / "block.npy")})
    field = {"width": 1e-3, "height": 1e-3, "depth": 8e-3}
    with pytest.raises(InputError, match=r"acquisitions.mine.field: expected none for kind iq"):
        settings({"recording": str(tmp_path / "block.npy"), "kind": "iq", "field": field})
    with pytest.raises(InputError, match=r"acquisitions.mine.feild: unknown key"):
        settings({"recording": str(tmp_path / "block.npy"), "feild": field})


def test_a_recording_may_have_a_probe_and_a_sequence_of_its_own(phantom: Path, tmp_path: Path) -> None:
    blocks, words, field = exported(phantom)
    own = {
        "probe": {"name": "L22-14v", **SMALL["probe"]},
        "sequence": {"frame_rate": 1000.0, **SMALL["sequence"]},
    }
    entry = {"recording": write_blocks(tmp_path / "mine", blocks, words), "field": field, **own}
    shared = {name: value for name, value in SMALL.items() if name not in own}
    changes = shared | {
        "probe": {"name": "L11-5v"},
        "sequence": {"frame_rate": 250.0},
        "model": "pretrained",
        "acquisitions": {"mine": entry},
    }
    prepare(tmp_path)
    calls = []
    for command in commands(tmp_path, changes, ("results/correlation/mine.zarr",)).values():
        arguments = shlex.split(command)
        calls.append(arguments[arguments.index("ulmpipe") + 1 : arguments.index("2>&1")])
    done = run_stages(tmp_path, calls)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "results").glob("point_spread*")) == [
        "point_spread_mine.zarr"
    ]
    found = open_store(tmp_path / "results/correlation/mine.zarr", "correlation")["correlation"][:]
    expected = open_store(phantom / "correlation/20MB.zarr", "correlation")["correlation"][:]
    np.testing.assert_allclose(found, expected, atol=5e-3)  # whole numbers of another scale


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            {"sequence": {"frame_rate": -1.0}},
            r"mine\.sequence\.frame_rate: -1\.0: expected a value greater",
        ),
        ({"sequence": {"frame_rte": 500.0}}, r"acquisitions\.mine\.sequence\.frame_rte: 500\.0: "),
        ({"probe": {"name": "L99"}}, r"acquisitions\.mine\.probe.*L99"),
    ],
)
def test_what_is_wrong_in_a_recording_s_own_sections_is_named(
    own: dict[str, Any], message: str, tmp_path: Path
) -> None:
    field = {"width": 1e-3, "height": 1e-3, "depth": 8e-3}
    with pytest.raises(InputError, match=message) as raised:
        settings({"recording": str(tmp_path / "block.npy"), "field": field, **own})
    assert "\n" not in str(raised.value)


def test_a_recording_needs_no_truth_and_no_bubbles(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "block_1.npy").touch()
    entry = {"recording": "block_*.npy", "field": {"width": 1e-3, "height": 1e-3, "depth": 8e-3}}
    images = {"recording": "block_*.npy", "kind": "iq"}
    changes = SMALL | {"model": "pretrained", "acquisitions": {"mine": entry, "theirs": images}}
    jobs = would_run(tmp_path, changes, targets=("results/angio_mine.png", "results/angio_theirs.png"))
    assert jobs == {
        "point_spread",
        "recorded_channel_data:mine",
        "recorded_images:theirs",
        "beamform:mine",
        *(
            f"{rule}:{name}"
            for rule in ("correlate", "register", "infer", "localize", "angiogram", "render")
            for name in ("mine", "theirs")
        ),
    }
    drawn = commands(tmp_path, changes, ("results/angio_mine.png",))["render:mine"]
    assert "[ -z '' ]" in drawn
