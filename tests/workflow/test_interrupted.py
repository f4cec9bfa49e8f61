"""A run that was killed, or found the disk full, goes on where it was: nothing half-written counts as done."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dry_runs import ROOT, prepare, pretend, would_run
from small_run import SMALL, run_stages, stage_arguments

from ulmpipe.io.stores import alone, check_nobody_writes, open_store

# ends the process, without a word, when the first block is written
KILLED_IN_A_BLOCK = """
import importlib, os, signal, sys
module = importlib.import_module("ulmpipe.stages.{stage}")
def first_only(items, *arguments, **options):
    for number, item in enumerate(items):
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item
module.progress = first_only
"""
KILLED_AFTER_AN_EPOCH = """
import os, signal, sys
from ulmpipe.errors import InputError
from ulmpipe.io.stores import check_nobody_writes
from ulmpipe.network import checkpoint
save = checkpoint.TrainingState.save
def save_and_end(*arguments):
    save(*arguments)
    try:
        check_nobody_writes("results")
    except InputError as error:
        print(error, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
checkpoint.TrainingState.save = save_and_end
"""


@pytest.fixture(scope="module")
def half_way(tmp_path_factory):
    """A folder with trajectories and point spread function, and the calls of all jobs."""
    folder = tmp_path_factory.mktemp("half_way")
    calls = stage_arguments(folder)
    first = ("trajectories:synthetic_1", "trajectories:synthetic_3_20MB", "point_spread")
    answer = run_stages(folder, [calls[name] for name in first])
    assert answer.returncode == 0, answer.stderr
    return folder, calls


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.mark.parametrize(
    ("job", "output"),
    [
        ("training_blocks:synthetic_1,000", "training/synthetic_1/000.zarr"),
        ("channel_data:20MB", "channel_data/20MB.zarr"),
    ],
)
def test_a_stage_killed_between_two_blocks_leaves_no_store_and_starts_again(half_way, job, output):
    folder, calls = half_way
    path = folder / "results" / output
    killed = run_stages(folder, [calls[job]], before=KILLED_IN_A_BLOCK.format(stage=job.split(":")[0]))
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert list(path.parent.glob(f".{path.stem}.partial-*{path.suffix}"))
    again = run_stages(folder, [calls[job]])
    assert again.returncode == 0, again.stderr
    open_store(path)
    assert {name for name in names(path.parent) if name.startswith(".")} == set()


def test_a_training_that_was_killed_goes_on_with_the_next_epoch_and_ends_the_same(half_way):
    folder, calls = half_way
    shards = [call for name, call in calls.items() if name.startswith("training_blocks:")]
    assert run_stages(folder, shards).returncode == 0
    train, model = calls["train:phase_1"], folder / "results/model"

    killed = run_stages(folder, [train], before=KILLED_AFTER_AN_EPOCH)
    assert killed.returncode == -signal.SIGKILL
    assert names(model) == set()
    so_far = folder / "results/logs/train/phase_1.csv"  # what is left to look at
    assert len(so_far.read_text().splitlines()) == 1 + 1
    assert so_far.with_suffix(".png").stat().st_size > 0
    assert " is writing it, perhaps of a run that was stopped" in killed.stderr  # a next run would not begin
    check_nobody_writes(folder / "results")  # now it does
    resumed = run_stages(folder, [train])
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after epoch 1" in resumed.stderr
    weights, history = ((model / name).read_bytes() for name in ("phase_1.safetensors", "phase_1.csv"))
    assert so_far.read_bytes() == history

    shutil.rmtree(folder / "results/checkpoints")
    anew = run_stages(folder, [train])
    assert anew.returncode == 0
    assert "training starts anew" not in anew.stderr  # there is nothing it could have gone on from
    assert (model / "phase_1.safetensors").read_bytes() == weights
    (checkpoint,) = (folder / "results/checkpoints").iterdir()
    other = checkpoint.rename(checkpoint.with_name("phase_1_of_other_settings.pt"))
    said = run_stages(folder, [train]).stderr
    assert "phase_1: the checkpoints in results/checkpoints are of other settings, data or code" in said
    assert other.exists()
    assert len(history.splitlines()) == 1 + SMALL["training"]["phase_1"]["n_epochs"]


def test_finished_shards_are_not_made_again(tmp_path):
    """What is left when a run was killed while it made the second shard."""
    prepare(tmp_path)
    pretend(tmp_path, SMALL)
    results = tmp_path / "results"
    for made_later in ("model", "detections", "angio_20MB.zarr"):
        shutil.rmtree(results / made_later)
    for made_later in ("angio_20MB.png", "scores_20MB.json"):
        (results / made_later).unlink()
    shutil.move(results / "training/synthetic_1/001.zarr", results / "training/synthetic_1/.001.partial.zarr")
    again = would_run(tmp_path, SMALL)
    assert {name for name in again if name.startswith("training_blocks")} == {
        "training_blocks:synthetic_1,001"
    }
    assert {name.split(":")[0] for name in again} == (
        {"training_blocks", "train", "operating_points", "localize", "infer", "angiogram", "score", "render"}
    )


@pytest.mark.parametrize(
    ("job", "output"),
    [
        ("training_blocks:synthetic_1,001", "training/synthetic_1"),
        ("train:phase_1", "model"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(half_way, tmp_path, job, output):
    """On a file system of its own, of 64 kB."""
    folder, calls = half_way
    shards = [call for name, call in calls.items() if name.startswith("training_blocks:")]
    if job.startswith("train:"):
        assert run_stages(folder, shards).returncode == 0
    disk, listing = tmp_path / "disk", tmp_path / "listing"
    disk.mkdir()
    call = [
        word.replace(f"results/{output}", str(disk)).replace("results/checkpoints", str(disk))
        for word in calls[job]
    ]
    script = 'mount -t tmpfs -o size=64k none "$disk" || exit 77; "$@"; code=$?; ls -A "$disk" >"$listing"; exit $code'
    command = ["unshare", "--mount", "--map-root-user", "bash", "-c", script, "full_disk"]
    answer = subprocess.run(
        [*command, sys.executable, "-m", "ulmpipe", *call],
        cwd=folder,
        env=os.environ | {"disk": str(disk), "listing": str(listing)},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode in (1, 77) and "ulmpipe" not in answer.stderr:
        pytest.skip(f"no file system can be mounted here: {answer.stderr.strip()}")
    assert answer.returncode == 2, answer.stderr
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error in {job.split(':')[0]}: no space left on the disk")
    assert str(disk) in last
    assert "Traceback" not in answer.stderr
    assert listing.read_text() == ""


@pytest.mark.parametrize("at_work", ["run", "iq/20MB.zarr"], ids=["a run", "a stage that outlived its run"])
def test_a_second_run_in_the_same_folder_is_refused_in_one_line(tmp_path, at_work):
    prepare(tmp_path)
    command = [
        "snakemake",
        "--cores",
        "1",
        "--nolock",
        "--snakefile",
        ROOT / "Snakefile",
        "results/point_spread.zarr",
    ]
    with alone(tmp_path / "results" / at_work):
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert second.stderr.strip().splitlines()[-1] == (
        f"error: another run is at work in results (results/{at_work}: "
        f"process {os.getpid()} is writing it, perhaps of a run that was stopped; let it end, or end it)"
    )
    assert not (tmp_path / "results/point_spread.zarr").exists()


@pytest.mark.long
def test_a_whole_run_that_was_killed_is_ended_by_the_same_command(tmp_path):
    prepare(tmp_path)
    for name in ("Snakefile", "workflow", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = ["snakemake", "--cores", "all", "--configfile", "config/tiny.yaml"]
    run = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    training = tmp_path / "results/tiny/training/synthetic_1"
    while not any(name.endswith(".zarr") and not name.startswith(".") for name in names(training)):
        assert run.poll() is None
        time.sleep(0.2)
    os.killpg(run.pid, signal.SIGKILL)
    stores = ("point_spread", "trajectories/synthetic_1", "trajectories/synthetic_3_20MB")
    finished = {
        path: path.stat().st_mtime for path in (tmp_path / f"results/tiny/{store}.zarr" for store in stores)
    }
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "results/tiny/angio_20MB.png").stat().st_size > 10_000
    assert {path: path.stat().st_mtime for path in finished} == finished
