"""The chain through `profiles/slurm` on a SLURM that answers here: pytest -m slurm.

Where the nodes do not share /tmp, add `--basetemp` and a folder that they all see.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dry_runs import ROOT, prepare

PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
SUBMITTED = r"submitted with SLURM jobid (\d+)"

pytestmark = pytest.mark.slurm


def ask(*command: str) -> str:
    """What a command of SLURM says; nothing where there is none, or no controller behind it."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


@pytest.fixture(scope="module", autouse=True)
def partitions() -> set[str]:
    names = {line.strip(" *") for line in ask("sinfo", "--noheader", "--format", "%P").splitlines()}
    if not names:
        pytest.skip("no SLURM: sinfo does not answer")
    return names


def run(folder: Path, target: str, *options: str) -> tuple[int, str]:
    """Make a target of the smallest configuration in `folder` through the profile."""
    command = [sys.executable, "-m", "snakemake", target, "--snakefile", str(ROOT / "Snakefile")]
    command += ["--workflow-profile", str(ROOT / "profiles/slurm"), "--directory", str(folder), *options]
    command += ["--configfile", str(ROOT / "config/tiny.yaml"), *map(str, folder.glob("own.yaml"))]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    answer = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return answer.returncode, answer.stdout


def asked_of_slurm(text: str) -> list[dict[str, str]]:
    """What SLURM knows about each job that a run submitted."""
    jobs = [ask("scontrol", "--oneliner", "show", "job", number) for number in re.findall(SUBMITTED, text)]
    return [dict(word.split("=", 1) for word in job.split() if "=" in word) for job in jobs]


def test_slurm_runs_the_whole_chain_to_the_picture_and_a_second_call_does_nothing(tmp_path):
    prepare(tmp_path)
    code, text = run(tmp_path, "results/tiny/angio_20MB.png")
    assert code == 0, text
    assert (tmp_path / "results/tiny/angio_20MB.png").stat().st_size > 10_000
    jobs = asked_of_slurm(text)
    steps = int(re.findall(r"\d+ of (\d+) steps \(100%\) done", text)[-1])
    assert len(jobs) == steps - 2  # all but the graphs of two volumes
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}

    code, text = run(tmp_path, "results/tiny/angio_20MB.png")
    assert code == 0, text
    assert "Nothing to be done" in text
    assert not re.findall(SUBMITTED, text)


def test_a_job_asks_for_its_memory_and_time_and_for_no_more_cores_than_the_profile_allows(tmp_path):
    prepare(tmp_path)
    code, text = run(tmp_path, "results/tiny/point_spread.zarr", "--set-threads", "point_spread=999")
    assert code == 0, text
    (job,) = asked_of_slurm(text)
    assert f"slurm_partition={job['Partition']}" in PROFILE["default-resources"]
    assert int(job["NumCPUs"]) == PROFILE["max-threads"]
    assert job["MinMemoryNode"] == "1000M"
    assert job["TimeLimit"] == "00:05:00"


def test_a_gpu_is_asked_for_by_an_option(tmp_path, partitions):
    if "gpu" not in partitions:
        pytest.skip("no partition of the name gpu")
    prepare(tmp_path)
    options = ["--set-resources", "point_spread:gpu=1", "point_spread:slurm_partition=gpu"]
    code, text = run(tmp_path, "results/tiny/point_spread.zarr", *options)
    assert code == 0, text
    (job,) = asked_of_slurm(text)
    assert job["Partition"] == "gpu"
    assert job["TresPerJob"].endswith("gpu:1")


def test_a_failing_job_shows_why_in_the_last_line(tmp_path):
    prepare(tmp_path)
    graphs = tmp_path / "results/tiny/graphs"
    graphs.mkdir(parents=True)
    for ending in ("h5", "json", "png"):
        (graphs / f"synthetic_1.{ending}").write_text("no graph")
    code, text = run(tmp_path, "results/tiny/trajectories/synthetic_1.zarr")
    assert code != 0
    (job,) = asked_of_slurm(text)
    assert job["JobState"] == "FAILED"
    last = text.splitlines()[-1]
    assert last.startswith("error in trajectories: "), text
    assert "synthetic_1.h5" in last


def test_a_faulty_file_leaves_the_last_good_graph_in_place(tmp_path):
    """Snakemake's `update` keeps nothing in a job of SLURM, where two more Snakemakes run around the stage."""
    prepare(tmp_path)
    graph = {"source": "file", "path": "mine.swc", "voxel_size": [1e-6, 1e-6, 1e-6]}
    own_settings = {"graphs": {"mine": graph}, "volumes": {"train": ["mine"]}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own_settings))
    good = "1 1 -300 0 0 8 -1\n2 1 0 0 0 8 1\n3 1 200 100 0 6 2\n4 1 200 -100 0 6 2\n"
    (tmp_path / "mine.swc").write_text(good)
    code, text = run(tmp_path, "results/tiny/graphs/mine.h5")
    assert code == 0, text
    before = (tmp_path / "results/tiny/graphs/mine.h5").read_bytes()

    (tmp_path / "mine.swc").write_text(good.replace("100 0 6", "100 0 0"))
    code, text = run(tmp_path, "results/tiny/graphs/mine.h5")
    assert code != 0
    assert "radius" in text.splitlines()[-1], text
    assert (tmp_path / "results/tiny/graphs/mine.h5").read_bytes() == before
