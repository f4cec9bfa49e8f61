"""A recording of 20 blocks that is killed, damaged, or meets a full disk: the right angiogram or one clear line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from dry_runs import ROOT, prepare

from ulmpipe.configuration import load_configuration
from ulmpipe.configuration.models import read_model
from ulmpipe.errors import InputError
from ulmpipe.io.stores import open_store, read_json
from ulmpipe.stages import (
    _recording,
    angiogram,
    beamform,
    correlate,
    infer,
    localize,
    recorded_channel_data,
    register,
)

# in 16 frames the network sees next to nothing; no multiple of them, as recordings may be
N_BLOCKS, N_FRAMES, N_ELEMENTS, N_SAMPLES = 20, 40, 16, 64
SPEED_OF_SOUND, CARRIER, PITCH, DEPTH = 1540.0, 15.625e6, 0.1e-3, 8e-3
START_TIME = 2 * 7.5e-3 / SPEED_OF_SOUND
ANGLES = (-1.0, 0.0, 1.0)
WORDS = {
    "kind": "channel_data",
    "axes": ["frame", "angle", "element", "time"],
    "units": {"length": "m", "time": "s", "frequency": "Hz", "angle": "deg", "speed": "m/s"},
    "sampling_frequency": CARRIER,
    "demodulation_frequency": CARRIER,
    "start_time": START_TIME,
    "angles": list(ANGLES),
    "pitch": PITCH,
    "speed_of_sound": SPEED_OF_SOUND,
    "frame_rate": 1000.0,
}
MINE = {
    "model": "pretrained",
    "probe": {"n_elements": N_ELEMENTS},
    "sequence": {"frames_per_block": N_FRAMES},
    "acquisitions": {
        "mine": {
            "recording": "data/block_*",
            "field": {"width": 0.8e-3, "height": 0.8e-3, "depth": DEPTH},
            "concentration_per_mm3": 10.0,
        }
    },
}
ANGIOGRAM = "results/angio_mine.zarr"
# waits in a stage, before its eighth block, until the test ends it
HALTING = """
import os, pathlib, sys, time
stage = os.environ.get("HALT_IN")
if stage and sys.orig_argv[1:4] == ["-m", "ulmpipe", stage]:
    from ulmpipe import progress as module
    whole = module.progress
    def halting(*arguments, **options):
        for number, item in enumerate(whole(*arguments, **options)):
            if number == 7:
                pathlib.Path("halted").touch()
                time.sleep(60)
            yield item
    module.progress = halting
"""


# ---------------------------------------------------------------- a recording and its angiogram
def echoes(x: np.ndarray, z: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Baseband (frame, angle, element, time) of point scatterers at x, z (frame, scatterer)."""
    elements = (np.arange(N_ELEMENTS) - (N_ELEMENTS - 1) / 2) * PITCH
    times = START_TIME + np.arange(N_SAMPLES) / CARRIER
    back = np.hypot(z[..., None], x[..., None] - elements)
    waves = []
    for angle in np.deg2rad(ANGLES):
        forth = z * np.cos(angle) + x * np.sin(angle) - (elements * np.sin(angle)).min()
        delay = (forth[..., None] + back) / SPEED_OF_SOUND
        envelope = np.exp(-(((times - delay[..., None]) / 0.1e-6) ** 2))
        carrier = strength[:, None] * np.exp(-2j * np.pi * CARRIER * delay)
        waves.append((carrier[..., None] * envelope).sum(axis=1))
    return np.stack(waves, axis=1)


def record_blocks() -> Iterator[np.ndarray]:
    """Bubbles that move through tissue that drifts."""
    rng = np.random.default_rng(1)
    tissue = rng.uniform(-0.6e-3, 0.6e-3, (2, 40))
    strength = np.concatenate([rng.normal(0, 5, 40), np.ones(4)])
    frames = np.arange(N_FRAMES)[:, None]
    for block in range(N_BLOCKS):
        bubbles, velocity = rng.uniform(-0.35e-3, 0.35e-3, (2, 4)), rng.uniform(-3e-6, 3e-6, (2, 4))
        still = np.broadcast_to(tissue[:, None], (2, N_FRAMES, 40))
        x, z = np.concatenate([still, bubbles[:, None] + velocity[:, None] * frames], axis=2)
        clean = echoes(x + 1e-6 * block, DEPTH + z + 2e-6 * block, strength)
        noise = rng.normal(0, 0.05, (2, *clean.shape))
        yield (clean + noise[0] + 1j * noise[1]).astype(np.complex64)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sound recording."""
    folder = tmp_path_factory.mktemp("recorded")
    for number, block in enumerate(record_blocks(), start=1):
        np.save(folder / f"block_{number}.npy", block)
    (folder / "recording.yaml").write_text(yaml.safe_dump(WORDS))
    return folder


def command(*targets: str) -> list[str]:
    """A user's command."""
    return [
        *("snakemake", "--cores", "1", "--snakefile", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(ROOT / "profiles/default"), *(targets or (ANGIOGRAM,))),
        *("--configfile", "mine.yaml"),
    ]


def snakemake(folder: Path, *targets: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """What the terminal shows is in `stdout`, errors included."""
    return subprocess.run(
        [*before, *command(*targets)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def last_line(answer: subprocess.CompletedProcess[str]) -> str:
    """Of a run that failed as it should."""
    assert answer.returncode != 0
    assert "Traceback" not in answer.stdout
    return answer.stdout.strip().splitlines()[-1]


def work_in(folder: Path, data: Path, **entry: Any) -> None:
    """Make `folder` a working directory with a configuration for the recording."""
    if not (folder / "config").exists():
        prepare(folder)
        (folder / "data").symlink_to(data)
    mine = MINE["acquisitions"]["mine"] | entry
    (folder / "mine.yaml").write_text(yaml.safe_dump(MINE | {"acquisitions": {"mine": mine}}))


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command has run from beginning to end."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    work_in(folder, data)
    answer = snakemake(folder)
    assert answer.returncode == 0, answer.stdout
    return folder


@pytest.fixture
def begun(data: Path, uninterrupted: Path, tmp_path: Path) -> Path:
    """Where only the point spread function is there, which has nothing to do with the recording."""
    work_in(tmp_path, data)
    shutil.copytree(uninterrupted / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    shutil.copytree(uninterrupted / "results/point_spread.zarr", tmp_path / "results/point_spread.zarr")
    return tmp_path


def arrays_of(store: Path) -> dict[str, np.ndarray]:
    return {name: array[:] for name, array in open_store(store).arrays()}


def check_same_angiogram(found: Path, expected: Path, *, n_blocks: int) -> None:
    """Bit for bit, and something is in it."""
    arrays = arrays_of(expected)
    assert np.count_nonzero(arrays["expert"]) > 100
    assert np.count_nonzero(arrays["network"]) > 1000
    for name, array in arrays_of(found).items():
        np.testing.assert_array_equal(array, arrays[name], strict=True, err_msg=name)
    assert open_store(found).attrs["n_blocks"] == open_store(expected).attrs["n_blocks"] == n_blocks


def hidden(folder: Path) -> list[str]:
    """Half-written outputs and locks."""
    names = (path.name for path in folder.rglob(".*"))
    return [name for name in names if name != ".snakemake_timestamp"]


# ---------------------------------------------------------------- killed
def halt(folder: Path, stage: str) -> subprocess.Popen[bytes]:
    """A run that stands still in the eighth block of a stage."""
    (folder / "sitecustomize.py").write_text(HALTING)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    run = subprocess.Popen(
        command(),
        cwd=folder,
        env=os.environ | {"HALT_IN": stage, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    while not (folder / "halted").exists():
        assert run.poll() is None
        time.sleep(0.05)
    (folder / "halted").unlink()
    return run


def check_half_written(store: Path) -> None:
    """Seven blocks of an output are there, and nobody takes them for it."""
    assert not store.exists()
    (partial,) = store.parent.glob(f".{store.stem}.partial-*{store.suffix}")
    for name, array in arrays_without_check(partial).items():
        assert sum(bool(block.any()) for block in array) == (0 if name == "motion" else 7), name
    with pytest.raises(InputError, match="incomplete, its writing was interrupted"):
        open_store(partial)


def arrays_without_check(store: Path) -> dict[str, np.ndarray]:
    import zarr

    return {name: array[:] for name, array in zarr.open_group(store, mode="r").arrays()}


def test_a_run_that_is_killed_twice_ends_in_the_same_angiogram(begun: Path, uninterrupted: Path) -> None:
    results = begun / "results"
    importing = halt(begun, "recorded_channel_data")
    refused = last_line(snakemake(begun))  # somebody else's run, or one's own in another terminal
    os.killpg(importing.pid, signal.SIGKILL)
    assert importing.wait() == -signal.SIGKILL
    assert refused.startswith("error: another run is at work in results (results/run: process ")
    check_half_written(results / "channel_data/mine.zarr")

    correlating = halt(begun, "correlate")
    os.killpg(correlating.pid, signal.SIGKILL)
    assert correlating.wait() == -signal.SIGKILL
    check_half_written(results / "correlation/mine.zarr")
    finished = [results / "point_spread.zarr", results / "iq/mine.zarr"]
    times = [path.stat().st_mtime_ns for path in finished]

    again = snakemake(begun)
    assert again.returncode == 0, again.stdout
    assert [path.stat().st_mtime_ns for path in finished] == times
    assert hidden(results) == []
    check_same_angiogram(begun / ANGIOGRAM, uninterrupted / ANGIOGRAM, n_blocks=N_BLOCKS)


# ---------------------------------------------------------------- one corrupted block
def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def shorten(path: Path) -> None:
    np.save(path, np.load(path)[:-3])


def one_nan(path: Path) -> None:
    block = np.load(path)
    block[5, 1, 3, 20] = np.nan
    np.save(path, block)


def as_hdf5(path: Path, *, compression: str | None = None) -> tuple[Path, int, int]:
    """The block as an HDF5 file instead, and where in it the samples of its sixth frame begin and end."""
    block = np.load(path)
    path.unlink()
    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "echoes",
            data=block,
            compression=compression,
            chunks=(1, *block.shape[1:]) if compression else None,
        )
        if compression:
            chunk = dataset.id.get_chunk_info(5)
            return path, chunk.byte_offset, chunk.byte_offset + chunk.size
        start = dataset.id.get_offset() + 5 * block[0].nbytes
    return path, start, start + block[0].nbytes


def overwrite(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def zeros_in_hdf5(path: Path) -> None:
    path, start, _ = as_hdf5(path)
    overwrite(path, start + 4096, bytes(4096))


def garbage_in_hdf5(path: Path) -> None:
    path, start, _ = as_hdf5(path)
    overwrite(path, start + 4096, np.random.default_rng(0).bytes(4096))


def garbage_in_compressed_hdf5(path: Path) -> None:
    path, start, stop = as_hdf5(path, compression="gzip")
    overwrite(path, (start + stop) // 2, np.random.default_rng(0).bytes(1000))


DAMAGES: dict[Callable[[Path], None], str] = {
    truncate: "cannot be read",
    empty: "cannot be read",
    shorten: f"{N_FRAMES - 3} frames",
    one_nan: "samples are not finite",
    zeros_in_hdf5: "1 frames with holes of zeros, the first is 5",
    garbage_in_hdf5: "samples are not finite|absurd",
    garbage_in_compressed_hdf5: "cannot be read",
}


def settings(data: Path, **entry: Any) -> dict[str, Any]:
    """What the stages are given for a recording in some folder."""
    mine = MINE["acquisitions"]["mine"] | {"recording": str(data / "block_*")} | entry
    path = data / "mine.yaml"
    path.write_text(yaml.safe_dump(MINE | {"acquisitions": {"mine": mine}}))
    content = load_configuration(ROOT / "config/config.yaml", path).model_dump(mode="json")
    return {
        **content,
        "acquisition": content["acquisitions"]["mine"],
        "concentration_per_mm3": 10.0,
        "block_interval": 1.0,
        "maps": {"filtered": {"window": 48}, "correlation": {"regularization": 1.0}},
    }


@pytest.fixture(scope="module")
def sound(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the sound recording."""
    store = tmp_path_factory.mktemp("sound") / "mine.zarr"
    recorded_channel_data.run(settings(data), channel_data=store)
    return store


@pytest.mark.parametrize("index", [0, 7])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_corrupted_block_is_refused_by_name_or_left_out(
    data: Path,
    sound: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    index: int,
) -> None:
    mine, store = tmp_path / "data", tmp_path / "mine.zarr"
    shutil.copytree(data, mine)
    damage(mine / f"block_{index + 1}.npy")
    with pytest.raises(InputError, match=rf"block_{index + 1}\.(npy|h5): .*({DAMAGES[damage]})") as caught:
        recorded_channel_data.run(settings(mine), channel_data=store)
    assert len(str(caught.value).splitlines()) == 1
    if index:
        assert f"block {index}" in str(caught.value)
        assert "faulty_blocks: skip" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]

    capsys.readouterr()
    recorded_channel_data.run(settings(mine, faulty_blocks="skip"), channel_data=store)
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out: ")]
    assert f"block_{index + 1}." in told
    assert f"block {index}" in told
    found, whole = open_store(store), open_store(sound)
    others = [block for block in range(N_BLOCKS) if block != index]
    assert found.attrs["blocks"] == others
    assert found.attrs["scan"] == whole.attrs["scan"]
    np.testing.assert_array_equal(found["samples"][:], whole["samples"][:][others])
    assert found["samples"].attrs["scale"] == [whole["samples"].attrs["scale"][block] for block in others]


def chain(parameters: dict[str, Any], folder: Path, point_spread: Path) -> Path:
    """From the recording to the angiogram, stage after stage."""
    model = ROOT / "models/cortex"
    described = read_model(model)
    network = {**parameters["network"], "name": described["network"], "input": described["input"]}
    at = {name: folder / f"{name}.zarr" for name in ("samples", "iq", "correlation", "network", "expert")}
    shifts = folder / "shifts.json"
    folder.mkdir()
    recorded_channel_data.run(parameters, channel_data=at["samples"])
    beamform.run(parameters, channel_data=at["samples"], iq=at["iq"])
    correlation = at["correlation"]
    correlate.run(parameters, iq=at["iq"], point_spread=point_spread, correlation=correlation)
    register.run(parameters, images=correlation, shifts=shifts, table=folder / "shifts.csv")
    infer.run(
        {
            **parameters,
            "network": network,
            "trained_frames": described["made_for"]["sequence"]["frames_per_block"],
        },
        correlation=correlation,
        model=model / "weights.safetensors",
        detections=at["network"],
        threads=1,
    )
    localize.run(parameters, correlation=correlation, detections=at["expert"])
    angiogram.run(
        parameters,
        network=at["network"],
        expert=at["expert"],
        correlation=correlation,
        shifts=shifts,
        operating_points=model / "operating_points.json",
        angiogram=folder / "angio.zarr",
    )
    return folder


def test_without_its_corrupted_first_block_a_recording_gives_what_the_others_alone_give(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """The first block is what shapes and the registration are held against."""
    mine, alone = tmp_path / "mine", tmp_path / "alone"
    shutil.copytree(data, mine)
    truncate(mine / "block_1.npy")
    shutil.copytree(data, alone)
    (alone / "block_1.npy").unlink()
    point_spread = uninterrupted / "results/point_spread.zarr"
    found = chain(settings(mine, faulty_blocks="skip"), tmp_path / "found", point_spread)
    expected = chain(settings(alone), tmp_path / "expected", point_spread)
    check_same_angiogram(found / "angio.zarr", expected / "angio.zarr", n_blocks=N_BLOCKS - 1)
    for store in ("network.zarr", "expert.zarr"):  # the scores of every block
        for name, array in arrays_of(expected / store).items():
            assert len(array) == N_BLOCKS - 1
            np.testing.assert_array_equal(arrays_of(found / store)[name], array, strict=True)
    shifts = [read_json(folder / "shifts.json")["shifts_pixels"] for folder in (found, expected)]
    assert shifts[0] == shifts[1]


def test_through_snakemake_the_corrupted_block_is_the_last_line_and_nothing_is_left(
    begun: Path, data: Path
) -> None:
    (begun / "data").unlink()
    shutil.copytree(data, begun / "data")
    truncate(begun / "data/block_8.npy")
    refused = last_line(snakemake(begun))
    assert refused.startswith("error in recorded_channel_data: data/block_8.npy: block 7 cannot be read (")
    made = {path.name for path in (begun / "results").iterdir() if any(path.rglob("*.zarr"))}
    assert made == set()
    assert not (begun / ANGIOGRAM).exists()
    assert hidden(begun / "results") == []


# ---------------------------------------------------------------- disk full
FULL_DISK = """
mount -t tmpfs -o size=16m none results || exit 77
cp -rp point_spread.zarr results
mkdir -p results/benchmarks results/logs/recorded_channel_data results/benchmarks/recorded_channel_data
head --bytes 16m /dev/zero >results/film 2>/dev/null
"$@" >full 2>&1 && exit 1
truncate --size -1m results/film
"$@" >nearly_full 2>&1 && exit 1
find results -name "*mine*.zarr*" >left
rm results/film
"$@" >room 2>&1 && cp -r results/angio_mine.zarr .
"""


def test_a_full_disk_is_one_line_and_with_room_the_same_command_ends_well(
    begun: Path, uninterrupted: Path
) -> None:
    """Results on a file system of their own, of 16 MB, which somebody's film fills."""
    shutil.move(begun / "results/point_spread.zarr", begun)
    answer = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "bash", "-c", FULL_DISK, "full_disk", *command()],
        cwd=begun,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode in (1, 77) and not (begun / "full").exists():
        pytest.skip(f"no file system can be mounted here: {answer.stderr.strip()}")
    said = {name: (begun / name).read_text() for name in ("full", "nearly_full", "room")}
    assert answer.returncode == 0, said["room"]
    assert "Traceback" not in "".join(said.values())
    assert said["full"].strip().splitlines()[-1].endswith("no space left on the disk")
    assert said["nearly_full"].strip().splitlines()[-1] == (
        "error in recorded_channel_data: no space left on the disk for results/channel_data/mine.zarr; "
        "nothing half-written was kept"
    )
    assert (begun / "left").read_text() == ""
    check_same_angiogram(begun / "angio_mine.zarr", uninterrupted / ANGIOGRAM, n_blocks=N_BLOCKS)


# ---------------------------------------------------------------- what is taken away, or not allowed
@pytest.mark.parametrize("faulty_blocks", ["refuse", "skip"])
def test_files_taken_away_during_the_import_are_no_faulty_blocks(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faulty_blocks: str
) -> None:
    """A drive that is pulled out must not leave an angiogram of what was read by then."""
    mine = tmp_path / "data"
    shutil.copytree(data, mine)
    parameters = settings(mine, faulty_blocks=faulty_blocks)

    def pulled_out(items: range, description: str) -> Iterator[int]:
        for item in items:
            if item == 7:
                shutil.rmtree(mine)
            yield item

    monkeypatch.setattr(_recording, "progress", pulled_out)
    with pytest.raises(
        InputError, match=r"block_1\.npy: was removed while the recording was being imported$"
    ):
        recorded_channel_data.run(parameters, channel_data=tmp_path / "mine.zarr")
    assert not list(tmp_path.iterdir())


def test_images_removed_while_they_are_correlated_are_not_read_as_zeros(
    data: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "iq.zarr"
    shutil.copytree(uninterrupted / "results/iq/mine.zarr", images)

    def removed(items: range, description: str) -> Iterator[int]:
        for item in items:
            if item == 7:
                shutil.rmtree(images)
            yield item

    monkeypatch.setattr(correlate, "progress", removed)
    with pytest.raises(InputError, match=r"iq\.zarr/iq: block 7 cannot be read"):
        correlate.run(
            settings(data),
            iq=images,
            point_spread=uninterrupted / "results/point_spread.zarr",
            correlation=tmp_path / "correlation.zarr",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "mode", "message"),
    [
        ("data/block_8.npy", 0o000, "acquisitions.mine.recording: data/block_8.npy: no right to read it"),
        ("data", 0o000, "acquisitions.mine.recording: data/block_*: no right to look into data"),
        ("results", 0o555, "error: nothing can be written in results ([Errno 13] Permission denied: "),
        (".", 0o555, "error: nothing can be written in "),
    ],
)
def test_what_may_not_be_read_or_written_is_one_line(
    data: Path, tmp_path: Path, path: str, mode: int, message: str
) -> None:
    work_in(tmp_path, data)
    (tmp_path / "data").unlink()
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "results").mkdir()
    (tmp_path / path).chmod(mode)
    # root is one for whom no mode counts, unless it lays that right down
    plain = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    try:
        refused = last_line(snakemake(tmp_path, "results/channel_data/mine.zarr", before=plain))
    finally:
        (tmp_path / path).chmod(0o755)
    assert refused.startswith(message)
