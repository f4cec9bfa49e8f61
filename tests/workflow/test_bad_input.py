"""What a user gives wrongly ends with one line naming file, field and value, and overwrites nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from dry_runs import ROOT, prepare
from small_run import run_stages, stage_arguments

from ulmpipe import __main__ as command_line

MICROMETRES = "[1.0e-6, 1.0e-6, 1.0e-6]"
SWC = ["0 1 -300 0 0 8 -1", "1 1 0 0 0 8 0", "2 1 200 100 0 6 1", "3 1 200 -100 0 6 1"]


def write_swc(path: Path, *changes: tuple[int, str]) -> Path:
    lines = dict(enumerate(SWC)) | dict(changes)
    path.write_text("# id type x y z radius parent\n" + "\n".join(lines.values()) + "\n")
    return path


def write_tpm(path: Path, *, edges: list[list[int]], diameter: list[float], x: float = 0.0) -> Path:
    """A square of vessels in the manner of two-photon angiographies, edges counted from 1."""
    places = np.array([[x, 0.0, 0.0], [200.0, 0, 0], [200.0, 200, 0], [0, 200.0, 0]])
    fields = {
        "nodePos_um": places,
        "nodeEdges": np.array(edges, dtype=np.uint16),
        "nodeDiam": np.array(diameter),
        "nodeSegN": np.array([[1], [1], [1], [1]], dtype=np.uint16),
        "segVesType": np.array([[1]]),
    }
    scipy.io.savemat(path, {"im2": fields})
    return path


SQUARE = [[1, 2], [2, 3], [3, 4], [4, 1]]
GRAPHS = {
    "a parent that does not exist": (
        lambda folder: write_swc(folder / "mine.swc", (3, "3 1 200 -100 0 6 77")),
        ["mine.swc", "parent", "77"],
    ),
    "a radius of 0": (
        lambda folder: write_swc(folder / "mine.swc", (2, "2 1 200 100 0 0 1")),
        ["mine.swc", "radius", "0"],
    ),
    "a number that is none": (
        lambda folder: write_swc(folder / "mine.swc", (1, "1 1 0 nan 0 8 0")),
        ["mine.swc", "nan"],
    ),
    "a graph with NaN": (
        lambda folder: write_tpm(folder / "mine.mat", edges=SQUARE, diameter=[5, 5, 5, 5], x=np.nan),
        ["mine.mat", "position", "nan"],
    ),
    "a diameter of 0": (
        lambda folder: write_tpm(folder / "mine.mat", edges=SQUARE, diameter=[5, 5, 0, 5]),
        ["mine.mat", "radius", "0"],
    ),
    "a graph in two pieces": (
        lambda folder: write_tpm(folder / "mine.mat", edges=[[1, 2], [3, 4]], diameter=[5, 5, 5, 5]),
        ["mine.mat", "2", "connected"],
    ),
    "no MATLAB file": (lambda folder: _text(folder / "mine.mat"), ["mine.mat"]),
}


def _text(path: Path) -> Path:
    path.write_text("not what the name says")
    return path


def configuration(folder: Path, graph: Path) -> Path:
    path = folder / "mine.yaml"
    path.write_text(
        "volumes: {test: mine}\n"
        f"graphs: {{mine: {{source: file, path: {graph.name}, voxel_size: {MICROMETRES}}}}}\n"
    )
    return path


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A user's run: what the terminal shows is in `stdout`, errors included."""
    command = ["snakemake", "--cores", "1", "--snakefile", ROOT / "Snakefile", *arguments]
    return subprocess.run(
        [*command, "--workflow-profile", ROOT / "profiles/default"],
        cwd=folder,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("case", GRAPHS)
def test_a_faulty_graph_is_one_line(tmp_path, monkeypatch, capsys, case):
    make, words = GRAPHS[case]
    path = make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "_limit_threads", lambda threads: None)
    parameters = (
        f'{{"seed": 1, "name": "mine", "cube": 0.0005, "dilation": 2.0, "source": "", '
        f'"graph": {{"source": "file", "path": "{path.name}", "voxel_size": {MICROMETRES}}}, '
        f'"cleaning": {{"least_share": 0.9, "spur_radii": 1.0, "longest_edge": null}}}}'
    )
    outputs = [f"--{name}={name}" for name in ("graph", "morphometry", "picture")]
    assert command_line.main(["vessel_graph", "--parameters", parameters, *outputs]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error in vessel_graph: ")
    assert said.count("\n") == 1, said
    for word in words:
        assert word in said
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_through_snakemake_the_line_comes_last_and_the_earlier_graph_stays(tmp_path):
    prepare(tmp_path)
    good = write_swc(tmp_path / "mine.swc")
    arguments = ("results/graphs/mine.h5", "--configfile", str(configuration(tmp_path, good)))
    first = snakemake(tmp_path, *arguments)
    assert first.returncode == 0, first.stdout
    outputs = {path: path.read_bytes() for path in (tmp_path / "results/graphs").glob("mine.*")}
    assert len(outputs) == 3

    write_swc(good, (3, "3 1 200 -100 0 6 77"))
    second = snakemake(tmp_path, *arguments)
    assert second.returncode != 0
    assert "Traceback" not in second.stdout
    last = second.stdout.strip().splitlines()[-1]
    assert last.startswith("error in vessel_graph: mine.swc, line 5: parent")
    assert "77" in last
    assert {path: path.read_bytes() for path in outputs} == outputs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "beamforming: {f_numbr: 2.0}",
            "mine.yaml: beamforming.f_numbr: unknown key (value 2.0); did you mean",
        ),
        (
            "graphs: {synthetic_3: {source: file, path: nowhere.swc, voxel_size: [1.0, 1.0, 1.0], seed: null}}",
            "graphs.synthetic_3",
        ),
    ],
    ids=["misspelt key", "graph of two kinds"],
)
def test_a_faulty_configuration_stops_snakemake_before_anything_is_made(tmp_path, text, message):
    prepare(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    answer = snakemake(tmp_path, "--configfile", "mine.yaml")
    assert answer.returncode != 0
    assert "Traceback" not in answer.stdout
    assert message in answer.stdout.strip().splitlines()[-1]
    assert not (tmp_path / "results").exists()


def test_a_missing_graph_file_stops_snakemake_before_anything_is_made(tmp_path):
    prepare(tmp_path)
    answer = snakemake(tmp_path, "--configfile", str(configuration(tmp_path, Path("nowhere.swc"))))
    assert answer.returncode != 0
    last = answer.stdout.strip().splitlines()[-1]
    assert last.endswith("mine.yaml: graphs.mine.path: 'nowhere.swc': no such file")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda chunk: chunk.write_bytes(chunk.read_bytes()[:-3]), "truncated or damaged"),
        (lambda chunk: chunk.unlink(), "truncated or damaged"),
        (lambda chunk: (chunk.parents[5] / "zarr.json").unlink(), "not a readable zarr group"),
    ],
    ids=["a chunk cut short", "a chunk lost", "no metadata"],
)
def test_a_truncated_store_is_one_line(tmp_path, damage, words):
    calls = stage_arguments(tmp_path)
    assert run_stages(tmp_path, [calls["trajectories:synthetic_3_20MB"]]).returncode == 0
    store = tmp_path / "results/trajectories/synthetic_3_20MB.zarr"
    damage(store / "position/c/1/0/0/0")
    answer = run_stages(tmp_path, [calls["channel_data:20MB"]])
    assert answer.returncode == 2
    assert answer.stderr.startswith("error in channel_data: results/trajectories/synthetic_3_20MB.zarr: ")
    assert words in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "results/channel_data").exists()
